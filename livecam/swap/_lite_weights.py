"""The weights of the swapper `lite`: for each crop size a network and the mapper of identities that was trained with it.

They come with livecam (cards whose file is in livecam/weights), or from a folder that `--model` names, where the files have the names below, or it
names one of the networks in it:

    lite128-int8.onnx, or lite128.onnx      x (1, 10, S, S), film (1, F) -> light (1, 3, 16, 16), flow (1, 2, S/4, S/4), change (1, 4, S/4, S/4);
                                            float32, S = 128; what they mean: engines/nets/lite.py
    lite128-mapper.safetensors              mapper.first.weight (H, 128), mapper.first.bias (H,), mapper.second.weight (F, H),
                                            mapper.second.bias (F,), float; metadata "embedder": what makes the (128,) embedding, "sface" if absent
    lite256...                              the same for S = 256, optional
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from livecam import runtimes
from livecam.errors import ModelFileError, ModelShapeError
from livecam.runtimes import Runtime, TensorSpec
from livecam.runtimes._gate import Checked, admit
from livecam.store import Card, Store
from livecam.types import F32, CropSpec

RUNTIME = "openvino"
"""What runs the networks until something faster is ready: INT8 is its own."""
NAMES = {"lite128": 128, "lite256": 256}
"""Names of tiers, and the crop's side in pixels; small faces first."""
SMALLEST = "lite128"
SCALE = CropSpec(256, offset=(0.0, -0.06))
"""The crop of `mesh` at whatever size: lite refines its drawing."""
PLANES = 10
"""Wearer RGB, the drawing's RGB, its mask, landmark lines (3)."""
EMBEDDING = 128
COARSE = 16
"""Side of the network's coarsest scale, of each tier."""
FINE = 4
"""Pixels of a cell of flow and change."""
PARTS = ("first.weight", "first.bias", "second.weight", "second.bias")
DEFAULT_EMBEDDER = "sface"
MAX_MAPPER_BYTES = 32_000_000


@dataclass(frozen=True, slots=True)
class Mapper:
    """A persona's embedding to the network's `film`: Linear, ReLU, Linear. first: (H, 128), second: (F, H), biases (H,), (F,); float32."""

    embedder: str
    first: F32
    first_bias: F32
    second: F32
    second_bias: F32

    def film(self, embedding: F32) -> F32:
        """(1, F) float32 of an embedding (128,) of length 1."""
        hidden = np.maximum(self.first @ embedding + self.first_bias, 0.0)
        return np.ascontiguousarray((self.second @ hidden + self.second_bias)[None], np.float32)


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A network's file. read: its bytes, of livecam's own file those that were released, of the user's those that passed the gate; raises
    ModelFileError."""

    path: Path
    read: Callable[[], Checked]


@dataclass(frozen=True, slots=True)
class Tier:
    """One crop size: name ("lite128"), side in pixels, the compiled network, its mapper, whether it is quantised, and its file in float32, of which
    other runtimes make theirs."""

    name: str
    size_px: int
    network: Runtime
    mapper: Mapper
    int8: bool
    licence: str
    exact: WeightFile


@dataclass(frozen=True, slots=True)
class _Files:
    """Where a tier's files are."""

    network: WeightFile
    mapper: Path
    int8: bool
    licence: str
    exact: WeightFile


def load_tiers(model: str, store: Store, threads: int, tier: str = "auto") -> tuple[Tier, ...]:
    """The tiers to draw with, smallest first: of the folder `model`, if one is named, else of those that come with livecam.

    tier: "128", "256" (beside the small one, for small faces), or "auto", which is 256 on a card. What is not there is done without. Raises
    ModelFileError (none there, or one is damaged), ModelShapeError (a network of another form).
    """
    int8 = store.elsewhere is None  # INT8 is for CPUs: a card multiplies halves as fast
    found = {name: files for name in NAMES if (files := _in_folder(Path(model).expanduser(), name, int8) if model else _shipped(store, name, int8))}
    if not found:
        where = f"at {model!r}" if model else "with this version of livecam"
        raise ModelFileError(
            f"expected weights of the generator lite ({', '.join(f'{n}.onnx and {n}-mapper.safetensors' for n in NAMES)}), found none {where}; "
            "use --swap mesh, or name a folder that holds them with --model DIR"
        )
    large = tier == "256" or (tier == "auto" and store.elsewhere is not None)
    chosen = {name: files for name, files in found.items() if large or name == SMALLEST} or found
    return tuple(_load(name, files, store, threads) for name, files in chosen.items())


def _shipped(store: Store, name: str, int8: bool) -> _Files | None:
    """The files of a tier by their cards; None when there are no such cards. Raises ModelFileError when a file is not the one on its card."""
    wanted = (f"{name}_int8", name) if int8 else (name,)
    mapper, choices = f"{name}_mapper", [card for card in wanted if card in store.cards]
    if mapper not in store.cards or not choices:
        return None
    _check_crop(store.card(choices[0]), CropSpec(NAMES[name], SCALE.template, SCALE.scale, SCALE.offset))
    network, exact = _released(store, choices[0]), _released(store, choices[-1])
    store.path(choices[-1])  # now, not when a faster runtime is to be made ready: a damaged installation is told at the start
    return _Files(network, store.path(mapper), choices[0].endswith("_int8"), store.card(choices[0]).licence, exact)


def _released(store: Store, card: str) -> WeightFile:
    path = store.file_path(card)
    return WeightFile(path, lambda: Checked(path, store.read(card)))


def _own(path: Path) -> WeightFile:
    return WeightFile(path, lambda: admit(path))


def _check_crop(card: Card, wanted: CropSpec) -> None:
    """Raises ModelShapeError when the card states another crop than livecam's aligner cuts for this generator."""
    stated = card.data.get("crop")
    found = None if stated is None else tuple(stated.get(key) for key in ("size_px", "template", "scale")) + tuple(stated.get("offset", ()))
    if found is not None and found != (wanted.size_px, wanted.template, wanted.scale, *wanted.offset):
        raise ModelShapeError(f"model card {card.id!r}: expected the crop {wanted}, found {stated}; install livecam again")


def _in_folder(folder: Path, name: str, int8: bool = True) -> _Files | None:
    """folder: or one network file, whose mapper lies beside it."""
    if folder.is_file():
        mapper = folder.parent / f"{name}-mapper.safetensors"
        fits = folder.stem.startswith(name) and mapper.is_file()
        own = f"weights of your own, {folder.name}"
        return _Files(_own(folder), mapper, folder.stem.endswith("-int8"), own, _own(folder)) if fits else None
    mapper = folder / f"{name}-mapper.safetensors"
    for network in ([folder / f"{name}-int8.onnx"] if int8 else []) + [folder / f"{name}.onnx"]:
        if network.is_file() and mapper.is_file():
            exact = folder / f"{name}.onnx"
            own = f"weights of your own in {folder.name}"
            return _Files(_own(network), mapper, network.stem.endswith("-int8"), own, _own(exact if exact.is_file() else network))
    return None


def _load(name: str, files: _Files, store: Store, threads: int) -> Tier:
    options = {"precision": "fp16"} if store.elsewhere else None
    network = runtimes.place(store.elsewhere, files.network.read().data, threads, store.compiled_dir, options)
    tier = Tier(name, NAMES[name], network, read_mapper(files.mapper), files.int8, files.licence, files.exact)
    check_form(tier, files.network.path)
    return tier


def check_form(tier: Tier, path: Path) -> None:
    """Raises ModelShapeError when the tier's network, of the file `path`, does not take and give what it should."""
    size, film = tier.size_px, len(tier.mapper.second_bias)
    _expect(path, "inputs", tier.network.inputs, {"x": (1, PLANES, size, size), "film": (1, film)})
    cells = size // FINE
    wanted: dict[str, tuple[int, ...]] = {"light": (1, 3, COARSE, COARSE), "flow": (1, 2, cells, cells), "change": (1, 4, cells, cells)}
    _expect(path, "outputs", tier.network.outputs, wanted)


def _expect(path: Path, what: str, specs: tuple[TensorSpec, ...], wanted: dict[str, tuple[int, ...]]) -> None:
    found = {spec.name: spec.shape for spec in specs}
    if found != wanted or any(spec.dtype != "float32" for spec in specs):
        listed = {spec.name: f"{list(spec.shape)} {spec.dtype}" for spec in specs}
        raise ModelShapeError(f"{path}: expected the {what} {wanted} float32 (film as long as the mapper's), found {listed}; export it again")


def read_mapper(path: Path) -> Mapper:
    """The mapper in a safetensors file (form: see the module). Raises ModelFileError (none, truncated), ModelShapeError."""
    try:
        if path.stat().st_size > MAX_MAPPER_BYTES:
            raise ModelFileError(f"{path} should be a mapper of at most {MAX_MAPPER_BYTES} bytes, found {path.stat().st_size}; export it again")
        with safe_open(str(path), framework="numpy") as file:
            texts: dict[str, str] = dict(file.metadata() or {})
            there = frozenset(str(key) for key in file.keys())  # noqa: SIM118 - no mapping
            first, first_bias, second, second_bias = (_part(path, file, there, key) for key in PARTS)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise ModelFileError(f"{path} is no mapper of the generator lite (safetensors), or it is truncated: {error}; export it again") from error
    hidden, film = len(first_bias), len(second_bias)
    if first.shape != (hidden, EMBEDDING) or second.shape != (film, hidden) or first_bias.ndim != 1 or second_bias.ndim != 1:
        shapes = [list(a.shape) for a in (first, first_bias, second, second_bias)]
        raise ModelShapeError(f"{path}: expected a mapper [H, {EMBEDDING}], [H], [F, H], [F], found {shapes}; export it again")
    return Mapper(texts.get("embedder", DEFAULT_EMBEDDER), first, first_bias, second, second_bias)


def _part(path: Path, file: Any, there: frozenset[str], key: str) -> F32:
    name = f"mapper.{key}"
    if name not in there:
        raise ModelShapeError(f"{path} lacks {name!r}, it holds {', '.join(sorted(there)) or 'nothing'}; export it again")
    value: NDArray[Any] = np.asarray(file.get_tensor(name))
    if value.dtype.kind != "f" or not np.isfinite(value).all():
        raise ModelShapeError(f"{path}: {name!r} should hold finite float values, found {value.dtype}; export it again")
    return np.ascontiguousarray(value, np.float32)
