"""Where the features of a face lie in truth, and where in the drawing: what the flow of `lite` is to say, read from the pictures.

Pixels tell a flow only which way a feature is to go that already overlaps its place; landmarks tell it how far. Both pictures are read by the same
tracker, so that its habits cancel out. Readings are kept beside the shard (`readings-00000.npz`) and made again when its drawings change.
Convention: points in pixels at the shard's side, centres at integers, as the shard's landmarks.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.evaluate.estimate import Estimator
from livecam.store import Store
from livecam.swap import _lite_lines as lines
from livecam.types import F32, U8

POINTS = np.concatenate([*lines.EYES, *lines.BROWS, *lines.NOSE, lines.OUTER_LIPS, lines.INNER_LIPS])
"""The landmarks that are compared: what the flow may move. The outline stays the wearer's."""
LEAST_SCORE = 0.5
"""Of the tracker, below which a picture is not read."""
FARTHEST = 0.1
"""Share of the side: a point that lies farther off was misread in one of the pictures."""
OCCLUDED = 64
"""Grey level of the occluder's plane from which a point is hidden."""


class Reader:
    """Reads shards; not for several threads."""

    def __init__(self, store: Store, threads: int = 1) -> None:
        self._estimator = Estimator(store, threads)

    def of(self, path: Path, arrays: dict[str, NDArray[Any]]) -> tuple[F32, F32]:
        """truth (N, K, 2), where each of POINTS lies in truth, and move (N, K, 2), from there to where it lies in the drawing; NaN where not known.

        path: of the shard; arrays: its pictures, planes and landmarks."""
        mark = zlib.crc32(arrays["mesh"].tobytes(), zlib.crc32(arrays["truth"].tobytes()))
        kept = path.with_name(path.name.replace("pairs", "readings"))
        known = _kept(kept, mark)
        if known is not None:
            return known
        rows = [self._row({key: value[k] for key, value in arrays.items()}) for k in range(len(arrays["a"]))]
        truth, move = np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])
        part = kept.with_suffix(".part.npz")
        np.savez(part, truth=truth, move=move, mark=np.uint32(mark))
        part.replace(kept)
        return truth, move

    def _row(self, sample: dict[str, NDArray[Any]]) -> tuple[F32, F32]:
        truth: U8 = sample["truth"]
        share = sample["mesh_mask"]
        drawing = cv2.blendLinear(sample["mesh"], truth, share / np.float32(255), 1 - share / np.float32(255))
        answers = [self._estimator.read(np.ascontiguousarray(p, np.uint8), sample["landmarks"]) for p in (truth, drawing)]
        place, drawn = (answer.mesh[POINTS, :2].astype(np.float32) for answer in answers)
        move = drawn - place
        side = truth.shape[0]
        x, y = np.clip(np.rint(place), 0, side - 1).astype(int).T
        unknown = (sample["occluder"][y, x] > OCCLUDED) | (np.abs(move).max(axis=1) > FARTHEST * side)
        if min(answer.score for answer in answers) < LEAST_SCORE:
            unknown[:] = True
        move[unknown] = np.nan
        return place, move


def _kept(path: Path, mark: int) -> tuple[F32, F32] | None:
    """The readings in a file, None when they are of other pictures or cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return (file["truth"], file["move"]) if int(file["mark"]) == mark else None
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None
