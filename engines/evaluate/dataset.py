"""Rendered pairs with their truth, as `engines synth pairs` writes them: a folder of pairs-*.npz, set.json, and persona files in people/.

Convention: pictures are (S, S, 3) uint8 BGR; landmarks are in pixels of that crop; yaw and pitch in degrees.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from livecam.errors import UsageError
from livecam.types import F32, U8

NEEDED = ("wearer", "truth", "mesh", "mesh_mask", "oval", "occluder", "landmarks", "a", "b")


@dataclass(frozen=True, slots=True)
class Sample:
    """One pair. index: place in the set; a, b: identities of wearer and persona; data: this sample's row of every array of the file."""

    index: int
    a: int
    b: int
    data: Mapping[str, Any]

    def picture(self, name: str) -> U8:
        """The array `name` of this sample, C-contiguous. Raises KeyError."""
        return np.ascontiguousarray(self.data[name])

    def has(self, name: str) -> bool:
        """Whether the set holds `name`."""
        return name in self.data

    @property
    def size_px(self) -> int:
        return int(self.data["wearer"].shape[0])


@dataclass(frozen=True)
class Pairs:
    """A set on disk. Read file by file; nothing is kept."""

    folder: Path
    about: Mapping[str, Any]
    files: tuple[Path, ...]

    @staticmethod
    def open(folder: Path) -> Pairs:
        """Raises UsageError when the folder is no such set."""
        files = tuple(sorted(folder.glob("pairs-*.npz")))
        if not files:
            raise UsageError(f"{folder}: expected pairs-*.npz, found none; make a set with: python -m engines synth pairs --out DIR")
        try:
            about = json.loads((folder / "set.json").read_text("utf-8")) if (folder / "set.json").exists() else {}
        except ValueError as error:
            raise UsageError(f"{folder}/set.json is no JSON: {error}") from error
        return Pairs(folder, about, files)

    def samples(self, limit: int | None = None) -> Iterator[Sample]:
        """The pairs in the files' order, at most `limit`. Raises UsageError for a file that cannot be read or lacks an array."""
        index = 0
        for path in self.files:
            for sample in _read(path, index):
                if limit is not None and index >= limit:
                    return
                yield sample
                index += 1

    @cached_property
    def people(self) -> Mapping[int, Path]:
        """Persona files by identity."""
        folders = (self.folder / "people", self.folder.parent / "people")
        files = [path for folder in folders if folder.is_dir() for path in folder.glob("*.safetensors")]
        return {int(digits): path for path in reversed(files) if (digits := "".join(c for c in path.stem if c.isdigit()))}

    @cached_property
    def wearers(self) -> Mapping[int, Mapping[str, Any]]:
        """What set.json tells of each wearer (tone, glasses, beard, fringe), by number."""
        return _flags(self.about.get("wearers", ()))

    @cached_property
    def personas(self) -> Mapping[int, Mapping[str, Any]]:
        """The same of each persona."""
        return _flags(self.about.get("personas", ()))


def _flags(entries: Any) -> dict[int, Mapping[str, Any]]:
    return {int(e["index"]): e.get("flags", {}) for e in entries if isinstance(e, Mapping) and "index" in e}


def _read(path: Path, first: int) -> Iterator[Sample]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        why = str(error).split(". ")[0]  # NumPy goes on with advice to load it unsafely
        raise UsageError(f"{path} cannot be read as arrays: {why}; render the set again") from error
    if missing := [name for name in NEEDED if name not in arrays]:
        raise UsageError(f"{path} lacks {', '.join(missing)}; it holds {', '.join(sorted(arrays))}")
    count = len(arrays["wearer"])
    rows = {name: array for name, array in arrays.items() if array.ndim > 0 and len(array) == count}
    for row in range(count):
        data = {name: array[row] for name, array in rows.items()}
        yield Sample(first + row, int(data["a"]), int(data["b"]), data)


def landmarks_of(sample: Sample, name: str = "landmarks") -> F32:
    """(478, 3) float32 of the wearer."""
    return np.ascontiguousarray(sample.data[name], np.float32)
