"""Where a persona's features go on a wearer's face: a small network over shapes, learnt from rendered answers (engines/train/shape.py; card
`mesh_shape`).

What a portrait's landmarks lie off a wearer's says little of where features belong: added as it is, or any share of it, it brings them hardly nearer
to the right answer than leaving it out. The network knows which of it is shape, what the wearer's expression and the turn of the head make of it, and
how the head that stays the wearer's changes it.

Shapes are seen through principal components, at most MOST_SPREAD deviations off their mean (the network was learnt on people, not on caricatures);
two hidden layers (SiLU) and components of displacements follow. A wearer's and a persona's mean shapes change slowly: what is seen of them is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from livecam.config import RunConfig
from livecam.errors import ModelFileError
from livecam.store import Store
from livecam.types import F32, F64, MESH_POINTS

MODEL = "mesh_shape"
"""The model's card."""
FORMAT = "livecam-shape-2"
MOST_SPREAD = 4.0
"""Deviations off the mean that count at most."""
TURN_UNIT, OPEN_UNIT, OPEN_MIDDLE = 3.0, 3.0, 0.8
"""What brings turn and lids to numbers of size 1."""
OTHERS = 5
"""Numbers besides the shapes: turn (3), lids (2)."""
NAMES = (
    "now_mean", "now", "offset_mean", "offset", "rest_mean", "rest",
    "first", "first_bias", "second", "second_bias", "third", "third_bias", "give", "base",
)  # fmt: skip
"""Tensors of a file. *_mean (1404,) and (K, 1404) of the wearer's shape now, of persona less wearer, of the persona; layers (in, out); give (G, 936)
and base (936,): x and y of displacements."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """What the map goes by, all in the persona's frame in distances between its eyes. now: (468, 3) the wearer's mesh; offset: (468, 3) the persona's
    less the wearer's mean one; rest: (468, 3) the persona's; rotation: (3, 3) of the head; lids: (2,) as the tracker reads them, 0 to about 1."""

    now: F32
    offset: F32
    rest: F32
    rotation: F64
    lids: F64


@dataclass(frozen=True, slots=True)
class Map:
    """The network; parts as NAMES says, float32."""

    parts: dict[str, F32]

    def slow(self, offset: F32, rest: F32) -> F32:
        """What is seen of shapes that change slowly."""
        return np.concatenate([self._seen("offset", offset), self._seen("rest", rest)])

    def apply(self, shapes: Shapes, slow: F32 | None = None) -> F32:
        """(468, 2) displacement x, y of the wearer's points, in distances between the persona's eyes. slow: of these shapes, if it is known."""
        kept = self.slow(shapes.offset, shapes.rest) if slow is None else slow
        x = np.concatenate([self._seen("now", shapes.now), kept, others(shapes.rotation, shapes.lids)])
        for name in ("first", "second"):
            x = x @ self.parts[name] + self.parts[f"{name}_bias"]
            x = x / (1.0 + np.exp(-x))
        x = x @ self.parts["third"] + self.parts["third_bias"]
        return np.asarray(self.parts["base"] + x @ self.parts["give"], np.float32).reshape(-1, 2)

    def _seen(self, name: str, shape: F32) -> F32:
        seen = self.parts[name] @ (shape.reshape(-1) - self.parts[f"{name}_mean"])
        return np.clip(seen, -MOST_SPREAD, MOST_SPREAD).astype(np.float32)


def others(rotation: F64, lids: F64) -> F32:
    """(OTHERS,) turn of the head and opening of the lids."""
    turn = (TURN_UNIT * rotation[0, 2], TURN_UNIT * rotation[1, 2], TURN_UNIT * rotation[0, 1])
    return np.array([*turn, *(OPEN_UNIT * (lids - OPEN_MIDDLE))], np.float32)


@lru_cache(maxsize=1)
def shipped() -> Map:
    """The map that comes with livecam. Raises ModelFileError."""
    return read(Store(RunConfig().cache_dir).path(MODEL))


def read(path: Path) -> Map:
    """The map of a file. Raises ModelFileError."""
    try:
        with safe_open(str(path), framework="np") as file:
            form = (file.metadata() or {}).get("format")
            parts = {name: np.ascontiguousarray(file.get_tensor(name), np.float32) for name in NAMES} if form == FORMAT else {}
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"{path} is no map of shapes, or it is truncated: {error}; install livecam again") from error
    shapes = {name: part.shape for name, part in parts.items()}
    if form != FORMAT or not _fits(shapes) or not all(np.isfinite(part).all() for part in parts.values()):
        raise ModelFileError(f"{path}: expected {FORMAT} with finite tensors that fit, found {form} with {shapes}; install livecam again")
    return Map(parts)


def _fits(shapes: dict[str, tuple[int, ...]]) -> bool:
    wide, flat = 3 * MESH_POINTS, 2 * MESH_POINTS
    seen = [shapes[name][0] if len(shapes[name]) == 2 else 0 for name in ("now", "offset", "rest")]
    layers = [shapes[name][1] if len(shapes[name]) == 2 else 0 for name in ("first", "second", "third")]
    wanted: dict[str, tuple[int, ...]] = {"give": (layers[2], flat), "base": (flat,)}
    for name, count in zip(("now", "offset", "rest"), seen, strict=True):
        wanted |= {name: (count, wide), f"{name}_mean": (wide,)}
    for name, into, out in zip(("first", "second", "third"), (sum(seen) + OTHERS, *layers), layers, strict=False):
        wanted |= {name: (into, out), f"{name}_bias": (out,)}
    return min(seen + layers) > 0 and shapes == wanted
