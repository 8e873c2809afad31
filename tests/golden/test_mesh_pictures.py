"""The mesh swapper's pictures of drawn faces, against pictures that were looked at.

To renew them after a change that is meant: `LIVECAM_RENEW=1 pytest tests/golden/test_mesh_pictures.py`, then look at each file.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import drawn_face
import numpy as np
import pytest

from livecam import image, mask
from livecam.config import SwapConfig
from livecam.swap import mesh

FOLDER = Path(__file__).parent / "mesh"
FRAMES = 8
SCENES: dict[str, tuple[dict[str, object], float, float]] = {
    "calm": ({}, 0.9, 0.0),
    "mouth_open": ({"jaw": 55.0}, 0.9, 0.0),
    "eyes_shut": ({}, 0.0, 0.0),
    "gaze_aside": ({"gaze": (9.0, 3.0)}, 0.9, 0.0),
    "side_light": ({}, 0.9, 0.45),
}
"""Arguments of drawn_face.mesh, lid opening, side light."""


PATCH_LIMIT = 8.0
"""Grey levels by which the mean of a patch of 9x9 pixels may differ: rounding and other processors, but no eye or tooth elsewhere."""


def worst_patch(a: np.ndarray, b: np.ndarray) -> float:
    """Greatest mean difference over patches of 9x9 pixels."""
    return float(cv2.blur(np.abs(a.astype(np.float32) - b), (9, 9)).max())


def drawn(name: str) -> np.ndarray:
    """(256, 256, 3) the wearer's frame with the persona pasted."""
    kwargs, eye_open, side_light = SCENES[name]
    points = drawn_face.mesh(**kwargs)  # type: ignore[arg-type]
    frame = cv2.resize(drawn_face.portrait(points, (60, 80, 120), side_light), (256, 256), interpolation=cv2.INTER_AREA)
    swapper = mesh.MeshSwapper(SwapConfig())
    swapper.wear(drawn_face.persona())
    face = drawn_face.face((points + 0.5) * np.float32(0.4) - np.float32(0.5), eye_open)
    upright = type(drawn_face.ALIGNED)(np.eye(2, 3), 256)
    crop = frame.copy()
    for _ in range(FRAMES):
        swapped = swapper.swap(crop, face, upright)
    image.paste(frame, upright, swapped.crop, mask.alpha(swapped, face, upright))
    return frame


@pytest.mark.parametrize("name", SCENES)
def test_picture(name: str) -> None:
    path, now = FOLDER / f"{name}.png", drawn(name)
    if os.environ.get("LIVECAM_RENEW"):
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), now)
    seen = cv2.imread(str(path))
    assert seen is not None, f"no picture {path}; see this module's docstring"
    assert worst_patch(now, seen) <= PATCH_LIMIT


def test_the_pictures_differ_from_each_other() -> None:
    """Tolerances that would let one scene pass for another would let anything pass."""
    calm = drawn("calm")
    for name in SCENES:
        if name != "calm":
            assert worst_patch(drawn(name), calm) > 2 * PATCH_LIMIT, name
