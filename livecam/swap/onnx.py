"""Swapper `onnx`: generator files that a user owns: inswapper_128, SimSwap 256 and 512, and any other of that form by its card.

The network takes an aligned crop ("target") and an identity ("source") and gives the crop with that identity, sometimes with a mask.
livecam ships and fetches no such file; whoever names one answers for its licence, which is shown at the start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from livecam import runtimes
from livecam.config import SwapConfig
from livecam.errors import ModelFileError, ModelShapeError, StageError, UsageError
from livecam.runtimes import Runtime, TensorSpec, _gate
from livecam.store import Store
from livecam.swap import Remake
from livecam.swap import _onnx_identity as identity
from livecam.swap._onnx_card import GeneratorCard, Pixels, read_card, read_forms
from livecam.swap._onnx_pixels import oval_mask, to_image, to_mask, to_tensor
from livecam.types import F32, U8, Alignment, CropSpec, Face, Persona, Swapped

UNSTATED_LICENCE = "licence of the embedder unstated"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file, and the SHA-256 of what was read from it at the start."""

    path: Path
    sha256: str


class OnnxSwapper:
    """A generator file at work (contract: livecam/swap/__init__.py)."""

    def __init__(
        self, card: GeneratorCard, network: Runtime, embedder: identity.ArcFace, projection: F32 | None, licence: str, file: ModelFile, runtime: str
    ) -> None:
        """file: what `network` was made of; runtime: by which."""
        self._card = card
        self._file = file
        self.runtime = runtime
        self._network = network
        self._embedder = embedder
        self._projection = projection
        self._licence = licence
        self._source: F32 | None = None

    @property
    def crop(self) -> CropSpec:
        """The crop that the card states."""
        return self._card.crop

    @property
    def licence(self) -> str:
        """Licence of the generator and of the embedder."""
        return self._licence

    def prepare(self, persona: Persona) -> Callable[[], None]:
        """Embed the persona's portrait; what it returns makes it the identity. Raises PersonaError, ModelFileError."""
        source = identity.project(self._embedder.embed(persona), self._card, self._projection, self._card.id)

        def put_on() -> None:
            self._source = source

        return put_on

    def wear(self, persona: Persona) -> None:
        """Make `persona` the identity from the next `swap` on. Raises PersonaError, ModelFileError."""
        self.prepare(persona)()

    def prepare_network(self, remake: Remake) -> Callable[[], None]:
        """See the room's text. Raises ModelError, StageError."""
        file = _gate.Checked(self._file.path, _gate.read_file(self._file.path))
        if hashlib.sha256(file.data).hexdigest() != self._file.sha256:
            raise ModelFileError(f"{self._file.path} was changed since the start; start livecam again")
        network = remake(file, self._network)
        _named(self._card, network, str(self._file.path))

        def put_on() -> None:
            self._network = network

        return put_on

    def swap(self, crop: U8, face: Face, alignment: Alignment) -> Swapped:
        """Draw the persona's identity into the crop. Raises StageError: no persona worn, a crop of another size, output that is not finite."""
        card = self._card
        size = card.crop.size_px
        if self._source is None:
            raise StageError("no persona is worn yet; wear() comes before swap()")
        if crop.shape != (size, size, 3) or crop.dtype != np.uint8 or alignment.size_px != size:
            raise StageError(f"generator {card.id!r} takes crops {(size, size, 3)} uint8, found {crop.shape} {crop.dtype} for {alignment.size_px} px")
        result = self._network.run({card.target.name: to_tensor(crop, card.target), card.source.name: self._source})
        mask = to_mask(result[card.mask], size) if card.has_mask else oval_mask(face, alignment)
        return Swapped(to_image(result[card.output.name], card.output), mask)


def open(config: SwapConfig, store: Store, threads: int) -> OnnxSwapper:
    """The generator that `config.model` names: a model file of a known form, or a card.

    Raises UsageError (no model named), ModelFileError (missing, damaged, not ONNX), ModelShapeError (inputs or outputs that its card does not say).
    """
    if not config.model:
        raise UsageError("--swap onnx needs --model FILE: a generator file of yours (inswapper_128, SimSwap 256 or 512), or the card of another one")
    path = Path(config.model).expanduser()
    card = _stated_card(path)
    model_path = path if card is None else _model_path(card)
    data = _gate.read_file(model_path)
    name = str(model_path)
    found = hashlib.sha256(data).hexdigest()
    if card is not None and card.sha256 and found != card.sha256:
        raise ModelFileError(f"{name} is not the file on its card {card.path}: expected SHA-256 {card.sha256}, found {found}")
    _gate.check_onnx(data, name)
    runtime = card.runtime if card else "onnx"
    network = runtimes.load(runtime, data, threads, store.compiled_dir, {"name": name})
    card = _named(card or _known_form(network, name), network, name)
    projection = identity.read_projection(data, card, name)
    del data
    choice = identity.choose_embedder(config.embedder, card)
    embedder = identity.ArcFace(choice, card.source.length, threads)
    licence = f"{card.id}: {card.licence}; embedder {choice.path.name}: {choice.licence or UNSTATED_LICENCE}"
    return OnnxSwapper(card, network, embedder, projection, licence, ModelFile(model_path, found), runtime)


def _stated_card(path: Path) -> GeneratorCard | None:
    """The card that `path` is, or that lies beside the model under its name; None when there is none."""
    if path.suffix == ".toml":
        return read_card(path)
    beside = path.with_suffix(".toml")
    if not beside.is_file():
        return None
    card = read_card(beside)
    return replace(card, file=card.file or path.name)


def _model_path(card: GeneratorCard) -> Path:
    if not card.file:
        raise ModelFileError(f"model card {card.path}: file is missing; it names the model file, relative to the card")
    return card.path.parent / card.file


def _known_form(network: Runtime, name: str) -> GeneratorCard:
    """The form whose crop has the side of the network's picture input. Raises ModelShapeError, naming the forms."""
    forms = read_forms()
    for spec in network.inputs:
        card = forms.get(spec.shape[-1]) if len(spec.shape) == 4 else None
        if card is not None:
            return card
    known = ", ".join(f"{card.id} [1, 3, {side}, {side}]" for side, card in forms.items())
    raise ModelShapeError(f"{name} is of no known form: expected a picture input of {known}; found {_list(network.inputs)}; write a card for it")


def _named(card: GeneratorCard, network: Runtime, name: str) -> GeneratorCard:
    """The card with all tensor names filled in. Raises ModelShapeError when a tensor is missing, extra, or of another shape."""
    size, length = card.crop.size_px, card.source.length
    target = _find(network.inputs, card.target.name, _picture_shapes(card.target, size), f"{name} (form {card.id}), picture input")
    source = _find(network.inputs, card.source.name, ((1, length),), f"{name} (form {card.id}), identity input")
    if len(network.inputs) != 2:
        raise ModelShapeError(f"{name} (form {card.id}): expected two inputs, a picture and an identity; found {_list(network.inputs)}")
    output = _find(network.outputs, card.output.name, _picture_shapes(card.output, size), f"{name} (form {card.id}), picture output")
    mask = ""
    if card.has_mask:
        shapes = ((1, 1, size, size), (1, size, size, 1), (1, size, size))
        mask = _find(network.outputs, card.mask, shapes, f"{name} (form {card.id}), mask output")
    return replace(
        card, target=replace(card.target, name=target), source=replace(card.source, name=source), output=replace(card.output, name=output), mask=mask
    )


def _picture_shapes(pixels: Pixels, size: int) -> tuple[tuple[int, ...], ...]:
    return ((1, 3, size, size) if pixels.layout == "NCHW" else (1, size, size, 3),)


def _find(specs: Sequence[TensorSpec], name: str, shapes: Sequence[tuple[int, ...]], what: str) -> str:
    """The name of the tensor that has one of `shapes`, and `name` if one is asked for."""
    for spec in specs:
        if (not name or spec.name == name) and any(identity.fits(spec.shape, shape) for shape in shapes):
            return spec.name
    wanted = " or ".join(str(list(shape)) for shape in shapes)
    raise ModelShapeError(f"{what}: expected {f'{name!r} ' if name else ''}{wanted}; found {_list(specs)}")


def _list(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{s.name!r} {list(s.shape)}" for s in specs)
