"""What of a persona's shape is put on a wearer's face: a linear map, learnt from rendered answers (engines/train/shape.py; card `mesh_shape`).

What a portrait's landmarks lie off a wearer's says little of where features belong: added as it is, or any share of it, it brings them hardly nearer
to the right answer than leaving it out. The map knows which of it is shape, and how the head that stays the wearer's changes it.
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
from livecam.types import F32, MESH_POINTS

MODEL = "mesh_shape"
"""The model's card."""
FORMAT = "livecam-shape-1"
MOST_SPREAD = 2.5
"""A shape counts as at most so many standard deviations off the mean one: the map was learnt on people, not on caricatures."""


@dataclass(frozen=True, slots=True)
class Map:
    """see: (K, 1404) offset of a persona's mesh from a wearer's to K numbers of deviation 1; give: (K, 1404) these to displacements; centre,
    base: (1404,) means of both. float32; lengths in distances between the persona's eyes."""

    centre: F32
    see: F32
    give: F32
    base: F32

    def apply(self, offset: F32) -> F32:
        """(468, 3) displacement of the wearer's points for the offset (468, 3), persona's less wearer's."""
        seen = np.clip(self.see @ (offset.reshape(-1) - self.centre), -MOST_SPREAD, MOST_SPREAD)
        return (self.base + seen @ self.give).reshape(-1, 3).astype(np.float32)


@lru_cache(maxsize=1)
def shipped() -> Map:
    """The map that comes with livecam. Raises ModelFileError."""
    return read(Store(RunConfig().cache_dir).path(MODEL))


def read(path: Path) -> Map:
    """The map of a file. Raises ModelFileError."""
    try:
        with safe_open(str(path), framework="np") as file:
            form = (file.metadata() or {}).get("format")
            parts = [np.ascontiguousarray(file.get_tensor(name), np.float32) for name in ("centre", "see", "give", "base")]
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"{path} is no map of shapes, or it is truncated: {error}; install livecam again") from error
    length, shapes = 3 * MESH_POINTS, [part.shape for part in parts]
    count = shapes[1][0] if len(shapes[1]) == 2 else 0
    wanted = [(length,), (count, length), (count, length), (length,)]
    if form != FORMAT or not count or shapes != wanted or not all(np.isfinite(part).all() for part in parts):
        raise ModelFileError(f"{path}: expected {FORMAT} with finite maps (K, {length}), found {form} with {shapes}; install livecam again")
    return Map(*parts)
