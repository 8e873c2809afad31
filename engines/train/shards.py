"""The training set in memory: shards `pairs-*.npz` brought to the network's size, and the personas' embeddings.

Shards that are written while training runs are found by `Pool.scan`. Pictures stay uint8 BGR; landmarks are in pixels at the network's size.
Convention: pixel centres at integers, so a point p at side A is (p + 0.5) * B / A - 0.5 at side B.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.train.errors import DataError
from livecam.swap import _lite_lines as lines
from livecam.types import F32, MESH_POINTS_WITH_IRIS, U8

PICTURES = ("wearer", "truth", "mesh")
PLANES = ("mesh_mask", "oval", "occluder")
EYES_EMPHASIS, MOUTH_EMPHASIS = 255, 170
"""Extra weight of eyes and mouth in the losses; 255 is losses.EMPHASIS times."""
SPREAD = 0.03
"""How far the emphasis reaches beyond the landmarks, share of the crop's side."""
HAIR, GLASSES = 5, 6
"""Of the set's classes (engines.synth.parsing)."""
GLASSES_REACH = 0.012
"""Their edges and shadows, share of the crop's side: left out with them."""
HELD_OUT = 16
"""Samples of the first shard that are never trained on, for the sample grids and their figures."""
MAX_BYTES = 7_000_000_000
"""Memory for pictures; what comes after is left out, and the log says so."""
NEVER_TWICE = 3
"""Scans after which a shard that cannot be read is an error, not one that is still being written."""


@dataclass(frozen=True, slots=True)
class Samples:
    """N samples at the network's side S.

    wearer, truth, mesh: (N, S, S, 3) uint8 BGR; mesh_mask, oval, occluder (with the wearer's glasses, which the generator sees no more than what
    hides it), hair (the wearer's, which the answer wears too), emphasis: (N, S, S) uint8; landmarks: (N, 478, 2) float32, pixels;
    places: (N, K, 2) float32, where features lie in truth; moves: (N, K, 2), from there to where they lie in the drawing, NaN where not known
    (engines.train.readings; K is 0 without a reader). a, b: (N,) int32 identities of wearer and persona.
    """

    wearer: U8
    truth: U8
    mesh: U8
    mesh_mask: U8
    oval: U8
    occluder: U8
    hair: U8
    emphasis: U8
    landmarks: F32
    places: F32
    moves: F32
    a: NDArray[np.int32]
    b: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.a)

    @property
    def nbytes(self) -> int:
        """Memory of the pictures."""
        return sum(getattr(self, key).nbytes for key in (*PICTURES, *PLANES, "hair", "emphasis"))

    def part(self, chosen: slice) -> Samples:
        """Some of the samples, as views."""
        return Samples(*(getattr(self, key)[chosen] for key in self.__slots__))


class Reader(Protocol):
    """What says where features lie: engines.train.readings.Reader, or nobody."""

    def of(self, path: Path, arrays: dict[str, NDArray[Any]]) -> tuple[F32, F32]:
        """See there."""
        ...


def read(path: Path, size: int, reader: Reader | None = None) -> Samples:
    """One shard at side `size`. Raises DataError: truncated, a key missing, another shape."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, NDArray[Any]] = {key: file[key] for key in (*PICTURES, *PLANES, "landmarks", "a", "b")}
            classes = file["classes"] if "classes" in file.files else np.zeros_like(arrays["occluder"])
    except KeyError as error:
        raise DataError(f"shard {path} lacks {error.args[0]}; render it again with `python -m engines synth pairs`") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"shard {path} is truncated or no .npz: {error}; delete it and render it again") from error
    _check(path, arrays)
    arrays["occluder"] = _with_glasses(arrays["occluder"], classes)
    hair = _resized((classes == HAIR).astype(np.uint8) * np.uint8(255), size)
    side = arrays["wearer"].shape[1]
    pictures = {key: _resized(arrays[key], size) for key in (*PICTURES, *PLANES)}
    points = _points(arrays["landmarks"][:, :, :2], size / side)
    emphasis = np.stack([_emphasis(p, size) for p in points])
    nothing = np.zeros((len(points), 0, 2), np.float32)
    places, moves = (nothing, nothing) if reader is None else reader.of(path, arrays)
    shown = {"landmarks": points, "places": _points(places, size / side), "moves": (moves * np.float32(size / side)).astype(np.float32)}
    return Samples(**pictures, hair=hair, emphasis=emphasis, **shown, a=arrays["a"].astype(np.int32), b=arrays["b"].astype(np.int32))


def _points(points: NDArray[Any], ratio: float) -> F32:
    """Points in pixels at another side."""
    return ((points.astype(np.float32) + 0.5) * ratio - 0.5).astype(np.float32)


def _check(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    count, side = len(arrays["a"]), arrays["wearer"].shape[1]
    wanted = dict.fromkeys(PICTURES, (count, side, side, 3)) | dict.fromkeys(PLANES, (count, side, side)) | {"b": (count,)}
    wrong = {key: arrays[key].shape for key, shape in wanted.items() if arrays[key].shape != shape}
    if arrays["landmarks"].shape[:2] != (count, MESH_POINTS_WITH_IRIS):
        wrong["landmarks"] = arrays["landmarks"].shape
    if wrong or count == 0:
        raise DataError(f"shard {path}: expected {count} samples of {side} px, found {wrong or 'none'}; render it again")


def _with_glasses(occluder: U8, classes: U8) -> U8:
    """(N, S, S): what stands before each face, its glasses too."""
    reach = max(1, round(GLASSES_REACH * classes.shape[1]))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    worn = (classes == GLASSES).astype(np.uint8) * np.uint8(255)
    return np.stack([cv2.max(own, cv2.dilate(glasses, kernel)) for own, glasses in zip(occluder, worn, strict=True)]).astype(np.uint8, copy=False)


def _resized(pictures: U8, size: int) -> U8:
    if pictures.shape[1] == size:
        return np.ascontiguousarray(pictures)
    return np.stack([cv2.resize(p, (size, size), interpolation=cv2.INTER_AREA) for p in pictures]).astype(np.uint8, copy=False)


def _emphasis(points: F32, size: int) -> U8:
    """(size, size) uint8: where the losses look more closely."""
    out = np.zeros((size, size), np.uint8)
    for regions, value in (((lines.OUTER_LIPS,), MOUTH_EMPHASIS), (lines.EYES, EYES_EMPHASIS)):
        for region in regions:
            cv2.fillConvexPoly(out, cv2.convexHull(np.rint(points[region]).astype(np.int32)), value)
    reach = max(1, round(size * SPREAD))
    return cv2.GaussianBlur(cv2.dilate(out, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)), (0, 0), reach).astype(np.uint8, copy=False)


class Pool:
    """All shards of a folder; grows by `scan`. The order of `names` says what an index means, so a checkpoint keeps it."""

    def __init__(self, folder: Path, size: int, names: tuple[str, ...] = (), max_bytes: int = MAX_BYTES, reader: Reader | None = None) -> None:
        """names: shards to be loaded first, in that order (a resumed run's). reader: says where features lie.

        Raises DataError when there is nothing to train on."""
        self._folder, self._size, self._max_bytes, self._reader = folder, size, max_bytes, reader
        self._shards: list[Samples] = []
        self._ends: list[int] = []
        self._failed: dict[str, int] = {}
        self.names: list[str] = []
        self.full = False
        for name in names:
            self._add(name)
        if not names:
            self.scan()
        if not self._shards:
            raise DataError(f"no shard pairs-*.npz that can be read in {folder}; render some with `python -m engines synth pairs --out {folder}`")

    def __len__(self) -> int:
        return self._ends[-1]

    def scan(self) -> int:
        """Load shards that are new; how many. Raises DataError for one that cannot be read three times in a row."""
        new = 0
        for path in sorted(self._folder.glob("pairs-*.npz")):
            if path.name in self.names or self.full:
                continue
            try:
                self._add(path.name)
                new += 1
            except DataError:
                self._failed[path.name] = self._failed.get(path.name, 0) + 1
                if self._failed[path.name] >= NEVER_TWICE:
                    raise
        return new

    def _add(self, name: str) -> None:
        samples = read(self._folder / name, self._size, self._reader)
        if not self._shards:
            kept = max(1, len(samples) - HELD_OUT)
            self.held_out = samples.part(slice(kept if kept < len(samples) else 0, None))
            samples = samples.part(slice(0, kept))
        self._shards.append(samples)
        self._ends.append((self._ends[-1] if self._ends else 0) + len(samples))
        self.names.append(name)
        self.full = sum(s.nbytes for s in self._shards) > self._max_bytes

    def find(self, index: int) -> tuple[Samples, int]:
        """Shard and row of a sample."""
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return self._shards[shard], index - (self._ends[shard - 1] if shard else 0)

    def where(self, indices: NDArray[np.int64]) -> str:
        """File and row of samples, for messages."""
        found = [int(np.searchsorted(self._ends, i, side="right")) for i in indices]
        return ", ".join(f"{self.names[s]}[{int(i) - (self._ends[s - 1] if s else 0)}]" for s, i in zip(found, indices, strict=True))
