"""Embeddings of the training set's personas: `people/NNN.safetensors` beside the shards, or a table of given embeddings (tests).

A set that is still being rendered may lack a persona's file for a while; until it is there its samples are trained with the average identity, and
one line says so.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engines.train.errors import DataError
from livecam import persona
from livecam.errors import LivecamError
from livecam.persona.embed import Embedders
from livecam.store import Store
from livecam.types import F32

NUMBER = re.compile(r"(\d+)$")


class People:
    """Unit embeddings (128,) by persona index; personas that appear while training runs are found when they are first asked for."""

    def __init__(self, folder: Path, embedders: Embedders | None, model: str = "sface", known: Mapping[int, F32] | None = None) -> None:
        self._folder, self._embedders, self._model = folder, embedders, model
        self._known: dict[int, F32] = dict(known or {})
        self._missing: set[int] = set()

    @classmethod
    def beside(cls, data: Path, store: Store) -> People:
        """Those of a training set: in its folder `people`, or in the one beside it."""
        folder = next((f for f in (data / "people", data.parent / "people") if f.is_dir()), None)
        if folder is None:
            raise DataError(f"expected the personas' folder {data / 'people'} (NNN.safetensors), found none; render the set again")
        return cls(folder, Embedders(store))

    @property
    def model(self) -> str:
        """Id of the model card of the embedder."""
        return self._model

    def embeddings(self, indices: Sequence[int]) -> F32:
        """(N, 128) float32 of persona indices, of length 1. Raises DataError: a file that cannot be read, or none at all."""
        found = [self._one(i) for i in indices]
        if not self._known:
            raise DataError(f"no persona of the training set is in {self._folder} (expected {indices[0]:03d}.safetensors); render the set again")
        mean = np.mean(list(self._known.values()), axis=0)
        return np.stack([mean / np.linalg.norm(mean) if one is None else one for one in found]).astype(np.float32)

    def _one(self, index: int) -> F32 | None:
        """None for a persona whose file is not there."""
        if index not in self._known:
            path = next((p for p in self._folder.glob("*.safetensors") if (m := NUMBER.search(p.stem)) and int(m.group(1)) == index), None)
            if path is None or self._embedders is None:
                if index not in self._missing:
                    print(f"engines train: persona {index} is not in {self._folder} (yet): the average identity stands in", file=sys.stderr)
                self._missing.add(index)
                return None
            self._known[index] = self._read(path)
        return self._known[index]

    def _read(self, path: Path) -> F32:
        assert self._embedders is not None
        try:
            return self._embedders.embedding(persona.read_unsigned(path), self._model)
        except LivecamError as error:
            raise DataError(f"persona {path}: {error}") from error
