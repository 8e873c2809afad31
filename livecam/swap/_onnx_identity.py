"""Whose face to draw: an ArcFace embedding of the persona's portrait, and what a generator wants of it.

The embedder is any ArcFace network at 112 px: named with `--embedder` or on the generator's card, else the recognition model of insightface's own
packs, if the user has them (`~/.insightface/models`; research use only).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livecam import _insightface, runtimes
from livecam.errors import ModelFileError, ModelShapeError, StageError
from livecam.persona.embed import TEMPLATE_PX, portrait_crop
from livecam.runtimes import _gate, _protobuf
from livecam.swap._onnx_card import Embedder, GeneratorCard, Pixels
from livecam.swap._onnx_pixels import to_tensor
from livecam.types import F32, Persona

PACK_FILES = ("w600k_r50.onnx", "glintr100.onnx", "w600k_mbf.onnx")
"""Recognition models of insightface's packs, best first."""
FIRST_NODES = 8
"""insightface's rule: a network with Sub and Mul among its first nodes normalises by itself and takes 0..255."""
LEAST_NORM = 1e-6


@dataclass(frozen=True, slots=True)
class EmbedderChoice:
    """Which ArcFace file is taken, how it takes pixels, and its licence as far as known."""

    path: Path
    pixels: Embedder | None
    licence: str


def choose_embedder(option: str, card: GeneratorCard) -> EmbedderChoice:
    """The file that `--embedder` names, else the card, else one of insightface's packs. Raises ModelFileError, naming all that was looked for."""
    if option:
        return EmbedderChoice(Path(option).expanduser(), card.embedder, "")
    if card.embedder and card.embedder.file:
        return EmbedderChoice(card.path.parent / card.embedder.file, card.embedder, "")
    found = _insightface.lookup(PACK_FILES)
    if found is not None:
        return EmbedderChoice(found, None, _insightface.LICENCE)
    raise ModelFileError(
        f"generator {card.id!r} needs an ArcFace network to embed the persona's face, and none was found: no --embedder FILE, "
        f"no [embedder] file on its card, none of {', '.join(PACK_FILES)} in a pack of {_insightface.folder()}; name one with --embedder FILE.onnx"
    )


class ArcFace:
    """An ArcFace network: 112-px aligned face -> embedding of length 1."""

    def __init__(self, choice: EmbedderChoice, length: int, threads: int) -> None:
        data = _gate.admit(choice.path).data
        self._name = str(choice.path)
        self._network = runtimes.load("onnx", data, threads, None, {"name": self._name})
        self._pixels = _pixels(choice.pixels, data)
        self._check(length)

    def embed(self, persona: Persona) -> F32:
        """(N,) float32 of length 1: the identity of the persona's neutral portrait. Raises PersonaError, ModelFileError."""
        crop = portrait_crop(persona)
        try:
            result = self._network.run({self._network.inputs[0].name: to_tensor(crop, self._pixels)})
        except StageError as error:
            raise ModelFileError(f"embedder {self._name} failed on persona {persona.id!r}: {error}") from error
        return unit(next(iter(result.values())).reshape(-1), f"the embedding of persona {persona.id!r} by {self._name}")

    def _check(self, length: int) -> None:
        inputs, outputs = self._network.inputs, self._network.outputs
        wanted = (1, 3, TEMPLATE_PX, TEMPLATE_PX)
        if len(inputs) != 1 or not fits(inputs[0].shape, wanted):
            raise ModelShapeError(f"embedder {self._name}: expected one input {list(wanted)}, found {[(i.name, list(i.shape)) for i in inputs]}")
        if len(outputs) != 1 or not fits(outputs[0].shape, (1, length)):
            raise ModelShapeError(f"embedder {self._name}: expected one output {[1, length]}, found {[(o.name, list(o.shape)) for o in outputs]}")


def fits(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a tensor's shape, -1 where free, takes `wanted`."""
    return len(found) == len(wanted) and all(a in (-1, b) for a, b in zip(found, wanted, strict=True))


def unit(vector: NDArray[Any], what: str) -> F32:
    """`vector` at length 1. Raises ModelFileError when it has none."""
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    if not np.isfinite(norm) or norm < LEAST_NORM:
        raise ModelFileError(f"{what} has the length {norm}; a finite one above 0 is expected; the file may be damaged")
    return (vector / norm).astype(np.float32)


def read_projection(data: bytes, card: GeneratorCard, name: str) -> F32 | None:
    """The (N, N) matrix that an embedding passes before the network, if the card says there is one. Raises ModelShapeError."""
    if card.source.projection == "none":
        return None
    length = card.source.length
    last = _gate.last_initializer(data)
    found_name, matrix = _protobuf.read_tensor(last) if last is not None else ("", np.zeros(0))
    if matrix.shape != (length, length):
        raise ModelShapeError(
            f"{name}: the last initializer should be the embedding projection {[length, length]}, found {found_name!r} {list(matrix.shape)}; "
            "this file is not of the form of inswapper_128, or was simplified or re-ordered by a converter"
        )
    return matrix.astype(np.float32)


def project(embedding: F32, card: GeneratorCard, matrix: F32 | None, name: str) -> F32:
    """(1, N) float32 as the generator's source input wants it."""
    vector = embedding if matrix is None else embedding @ matrix
    return np.ascontiguousarray((unit(vector, f"the projected embedding for {name}") if card.source.normalise else vector)[None], np.float32)


def _pixels(stated: Embedder | None, data: bytes) -> Pixels:
    if stated is not None:
        return Pixels(colour=stated.colour, mean=stated.mean, std=stated.std)
    first = [op for op, _ in zip(_gate.op_types(data), range(FIRST_NODES), strict=False)]
    if "Sub" in first and "Mul" in first:
        return Pixels(std=(1 / 255, 1 / 255, 1 / 255))
    return Pixels(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
