"""Landmarks of a rendered portrait, by the networks that the live tracker uses, so that a persona's points are
where the tracker would see them: an offset between the two would shift brows and eyes on every wearer.

Convention: picture coordinates, centre of the top left pixel is (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.synth.assets import Bytes, Floats
from livecam.config import RunConfig
from livecam.store import Store
from livecam.track._landmarks import MediaPipeLandmarker
from livecam.types import Detection

PASSES = 3
"""Looks at a portrait, each through the region that the one before found."""


@dataclass(frozen=True, slots=True)
class Found:
    """points (478, 3) float32: 468 of the mesh, 468..472 the subject's right iris, 473..477 the
    left (centre, then 4 of its edge); score 0..1 that this is a face."""

    points: Floats
    score: float


class Landmarker:
    """Both networks, compiled for one CPU thread; fetched when they are not there."""

    def __init__(self, store: Store | None = None) -> None:
        """Raises ModelFileError."""
        self._networks = MediaPipeLandmarker(store or Store(RunConfig().cache_dir), 1)

    def find(self, image: Bytes, box: NDArray[np.floating]) -> Found:
        """Landmarks in a BGR picture near a face box (4,) x0, y0, x1, y1."""
        region = self._networks.seed(Detection(np.asarray(box, np.float32), 1.0, None))
        for _ in range(PASSES):
            found = self._networks.find(image, region, -1)
            region = found.region
        return Found(found.points_px.astype(np.float32), found.score)
