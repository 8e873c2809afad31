"""Tracker `insightface`: 106 points by insightface's 2d106det, from the user's own packs (non-commercial research only). No mesh, gaze or lids.

The network gives no score: a track lives on the detector's word and ends at the first search that does not find its face.

Convention:
    The network takes (1, 3, 192, 192) float32 RGB 0..255 and gives 106 x (x, y) in -1..1 of the crop: crop = (v + 1) * 96, pixel-centre units.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from livecam import _insightface, geometry, runtimes
from livecam.config import TrackConfig
from livecam.errors import ModelShapeError
from livecam.runtimes import _gate
from livecam.store import Store
from livecam.track import _points, _region, _smooth
from livecam.track._follow import Follower
from livecam.track._landmarks import Landmarks
from livecam.track._region import Region
from livecam.types import F64, U8, Detection, Face

FILES = ("2d106det.onnx",)
SIDE_PX = 192
POINTS = 106
MARGIN = 1.5
"""Side of the region over the box (insightface's own)."""
FIVE = (38, 88, 86, 52, 61)
"""Eyes, nose tip and mouth corners among the 106, image-left first."""
STABLE = np.array([*range(33, 43), *range(87, 97), *range(72, 87)])
"""Eyes and nose."""
LEAST_SPREAD = 0.02
"""Points of a face fill their crop; all within so small a share of it are none."""


class Points106:
    """2d106det. Called from one thread."""

    def __init__(self, path: Path, threads: int) -> None:
        self._network = runtimes.load("onnx", _gate.admit(path).data, threads, None, {"name": str(path)})
        taken = [spec.shape for spec in self._network.inputs]
        given = [spec.shape for spec in self._network.outputs]
        if len(taken) != 1 or len(taken[0]) != 4 or taken[0][2] not in (-1, SIDE_PX) or len(given) != 1 or given[0][-1] not in (-1, 2 * POINTS):
            wanted = f"take (1, 3, {SIDE_PX}, {SIDE_PX}) and give (1, {2 * POINTS})"
            raise ModelShapeError(f"insightface: {path} should {wanted}; found {taken} and {given}")
        self._input, self._output = self._network.inputs[0].name, self._network.outputs[0].name

    def seed(self, detection: Detection) -> Region:
        """Around the detector's box, turned by its eyes."""
        x0, y0, x1, y1 = detection.box_px.astype(np.float64).tolist()
        axis = np.array([1.0, 0.0]) if detection.five_px is None else (detection.five_px[1] - detection.five_px[0]).astype(np.float64)
        turn = math.degrees(math.atan2(axis[1], axis[0]))
        return Region((x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0) * MARGIN, turn)

    def find(self, image: U8, region: Region, track_id: int) -> Landmarks:
        """(106, 2) points; score 1 for a finite shape that is one, else 0."""
        del track_id
        crop = _region.crop_rgb(image, region, SIDE_PX) * np.float32(255.0)
        out = self._network.run({self._input: np.ascontiguousarray(crop.transpose(2, 0, 1)[None])})[self._output]
        inside = (out.reshape(-1, 2)[:POINTS].astype(np.float64) + 1.0) * (SIDE_PX / 2)
        points: F64 = geometry.apply(geometry.invert(region.matrix(SIDE_PX)), inside)
        five = points[list(FIVE)]
        good = len(inside) == POINTS and bool(np.isfinite(points).all()) and float(inside.std(axis=0).min()) > LEAST_SPREAD * SIDE_PX
        look_next = region
        if good:
            wanted = _region.around(points, five[1] - five[0], MARGIN)
            look_next = region if region.near(wanted) else wanted
        return Landmarks(points, five, 1.0 if good else 0.0, look_next)

    def forget(self, track_id: int) -> None:
        """Nothing is kept between frames."""


def open(config: TrackConfig, store: Store, threads: int = 1) -> Follower:
    """The tracker from the user's insightface models. Raises MissingExtraError, ModelFileError, ModelShapeError."""
    del store
    _points.warm_up()
    _smooth.warm_up()
    path = _insightface.find(FILES, "the tracker insightface")
    return Follower(config, Points106(path, threads), STABLE, finish, f"{path.name}: {_insightface.LICENCE}", trusts_detector=True)


def finish(face: Face, points: F64) -> Face:
    """Nothing more is known of the face."""
    del points
    return face
