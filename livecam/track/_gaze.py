"""Where an eye looks relative to the head, by our own network `gaze` (engines/nets/gaze.py), from the picture that the iris network sees.

Convention: as in _eyes. The subject's left eye is seen in a mirror, and its angles with it.
"""

from __future__ import annotations

import numpy as np

from livecam import runtimes
from livecam.errors import ModelShapeError
from livecam.store import Store
from livecam.track import _region
from livecam.track import _topology as topology
from livecam.track._region import Region
from livecam.types import F32, F64, U8

MODEL = "gaze"
"""The model's card."""
IRIS_SIDE_PX = 64
IRIS_MARGIN = 2.3
"""Side of an eye's region over the distance of its corners (MediaPipe's own)."""
MOST_DEG = 60.0
"""Eyes turn no further in the head."""


def eye_region(mesh: F64, left: bool) -> Region:
    """Where the networks look for the subject's `left` or right eye. mesh: (>= 468, 3)."""
    first, second = topology.LEFT_EYE_CORNERS if left else topology.RIGHT_EYE_CORNERS
    return _region.around_two(mesh[first], mesh[second], IRIS_MARGIN)


def picture_of(image: U8, mesh: F64, left: bool) -> F32:
    """(1, 64, 64, 3) float32 RGB 0..1: what the networks see of an eye."""
    out = np.empty((1, IRIS_SIDE_PX, IRIS_SIDE_PX, 3), np.float32)
    _region.crop_rgb(image, eye_region(mesh, left), IRIS_SIDE_PX, mirrored=left, out=out[0])
    return out


class GazeNetwork:
    """The network of card `gaze`. Raises ModelFileError, ModelShapeError."""

    def __init__(self, store: Store, threads: int) -> None:
        self._network = runtimes.place(store.elsewhere, store.path(MODEL), threads, store.compiled_dir)
        wanted = {"eye": (1, IRIS_SIDE_PX, IRIS_SIDE_PX, 3), "head": (1, 2)}
        found = {spec.name: spec.shape for spec in self._network.inputs}
        outputs = [(spec.name, spec.shape) for spec in self._network.outputs]
        if found != wanted or outputs != [("gaze", (1, 2))]:
            raise ModelShapeError(f"gaze: expected inputs {wanted} and the output gaze (1, 2), found {found} and {outputs}; install livecam again")
        self._head = np.zeros((1, 2), np.float32)

    def read(self, eye: F32, head_deg: tuple[float, float], left: bool) -> F64:
        """(2,) yaw, pitch in degrees. eye: (1, 64, 64, 3) RGB 0..1 of `eye_region`, mirrored if `left`; head_deg: yaw, pitch of the head."""
        sign = -1.0 if left else 1.0
        self._head[0] = sign * head_deg[0], head_deg[1]
        gaze = self._network.run({"eye": eye, "head": self._head})["gaze"][0].astype(np.float64)
        gaze[0] *= sign
        # Numbers that are not finite make the whole face be found again; see Landmarks.ok.
        return np.clip(gaze, -MOST_DEG, MOST_DEG)
