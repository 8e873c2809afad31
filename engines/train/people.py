"""Embeddings of the training set's personas: `people/NNN.safetensors` beside the shards, or a table of given embeddings (tests)."""

from __future__ import annotations

import re
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
        """(N, 128) float32 of persona indices. Raises DataError."""
        return np.stack([self._one(i) for i in indices])

    def _one(self, index: int) -> F32:
        if index not in self._known:
            self._known[index] = self._read(index)
        return self._known[index]

    def _read(self, index: int) -> F32:
        path = next((p for p in self._folder.glob("*.safetensors") if (m := NUMBER.search(p.stem)) and int(m.group(1)) == index), None)
        if path is None or self._embedders is None:
            raise DataError(f"persona {index} of the training set is not in {self._folder} (expected {index:03d}.safetensors); render the set again")
        try:
            return self._embedders.embedding(persona.load(path), self._model)
        except LivecamError as error:
            raise DataError(f"persona {path}: {error}") from error
