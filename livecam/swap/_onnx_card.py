"""The card of a generator file: where its crop lies, how pixels become numbers and back, what identifies a person.

A card is a TOML file beside the model (`--model card.toml`), or one of the forms in livecam/cards/generators, chosen by the model's own shapes.

    id, licence                     texts; the licence is shown when livecam starts
    file                            the model, relative to the card (cards of the user's only); sha256: optional
    runtime                         "onnx" (default) or "openvino"
    [crop]      size_px, template, scale, offset
    [target]    name, layout ("NCHW" | "NHWC"), colour ("RGB" | "BGR"), mean, std        of pixels in 0..1, per channel in the network's own order
    [source]    name, length, projection ("none" | "last_initializer"), normalise
    [output]    name, layout, colour, mean, std                                          pixel = value * std + mean, in 0..1
    [mask]      name                                                                     optional; 0..1, 1 where the drawing may be shown
    [embedder]  file, colour, mean, std                                                  optional; an ArcFace network at 112 px
Names left out are found by the tensors' shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from livecam import _shipped, _toml, store
from livecam.errors import ModelFileError
from livecam.types import CropSpec

FORMS = store.CARDS / "generators"
TEMPLATE = "arcface_112_v2"
MAX_CROP_PX = 1024
MAX_EMBEDDING = 4096
LEAST_STD = 1e-6
Triple = tuple[float, float, float]
NO_MEAN: Triple = (0.0, 0.0, 0.0)
UNIT_STD: Triple = (1.0, 1.0, 1.0)
HALF: Triple = (0.5, 0.5, 0.5)
"""ArcFace's own: pixels to -1..1."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """How a picture stands in a tensor: value = (pixel in 0..1 - mean) / std, channel by channel in the order of `colour`."""

    name: str = ""
    layout: str = "NCHW"
    colour: str = "RGB"
    mean: Triple = NO_MEAN
    std: Triple = UNIT_STD


@dataclass(frozen=True, slots=True)
class Source:
    """The identity's tensor: `length` numbers; projection: a matrix that the embedding passes first; normalise: to length 1 at the end."""

    length: int
    name: str = ""
    projection: str = "none"
    normalise: bool = True


@dataclass(frozen=True, slots=True)
class Embedder:
    """An ArcFace network for the identity. file: "" when it is given otherwise. mean and std: of pixels in 0..1."""

    file: str = ""
    colour: str = "RGB"
    mean: Triple = HALF
    std: Triple = HALF


@dataclass(frozen=True, slots=True)
class GeneratorCard:
    """A whole card. path: of the card itself."""

    path: Path
    id: str
    licence: str
    crop: CropSpec
    target: Pixels
    source: Source
    output: Pixels
    mask: str = ""
    has_mask: bool = False
    embedder: Embedder | None = None
    file: str = ""
    sha256: str = ""
    runtime: str = "onnx"


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a card while it is read; keeps where it stands for messages."""

    path: Path
    name: str
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def error(self, text: str) -> ModelFileError:
        return ModelFileError(f"model card {self.path}, [{self.name}]: {text}" if self.name else f"model card {self.path}: {text}")

    def table(self, name: str, needed: bool = True) -> _Table:
        """A table inside this one."""
        value = self.data.get(name, None if needed else {})
        if not isinstance(value, dict):
            raise self.error(f"a table [{name}] is expected, found {value!r}")
        return _Table(self.path, name, value)

    def text(self, key: str, default: str | None = None, choices: tuple[str, ...] = ()) -> str:
        """A text, one of `choices` if there are any."""
        value = self.data.get(key, default)
        if not isinstance(value, str) or (choices and value not in choices):
            raise self.error(f"{key} should be {' or '.join(map(repr, choices)) or 'a text'}, found {value!r}")
        return value

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """A number from low to high."""
        value = self.data.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.error(f"{key} should be a number from {low} to {high}, found {value!r}")
        return float(value)

    def numbers(self, key: str, count: int, default: tuple[float, ...], low: float = -1000.0) -> tuple[float, ...]:
        """`count` numbers."""
        value = self.data.get(key, list(default))
        good = isinstance(value, list) and len(value) == count
        if not good or not all(isinstance(v, int | float) and not isinstance(v, bool) and low <= v <= 1000.0 for v in value):
            raise self.error(f"{key} should be {count} numbers from {low}, found {value!r}")
        return tuple(float(v) for v in value)

    def only(self, known: tuple[str, ...]) -> None:
        """Raises when there is a key that is not known: a misspelt one would be ignored silently."""
        if unknown := sorted(set(self.data) - set(known)):
            raise self.error(f"{', '.join(unknown)} is not known here; known are: {', '.join(known)}")


def read_card(path: Path) -> GeneratorCard:
    """The card in a TOML file. Raises ModelFileError naming the field that is wrong."""
    try:
        data, written = _toml.read(path)
        _shipped.check(path, written)
    except (OSError, ValueError) as error:
        raise ModelFileError(f"model card {path} cannot be read: {error}") from error
    top = _Table(path, "", data)
    top.only(("id", "licence", "file", "sha256", "runtime", "crop", "target", "source", "output", "mask", "embedder"))
    mask = top.table("mask", needed=False)
    mask.only(("name",))
    return GeneratorCard(
        path=path,
        id=top.text("id"),
        licence=top.text("licence"),
        crop=_read_crop(top.table("crop")),
        target=_read_pixels(top.table("target", needed=False)),
        source=_read_source(top.table("source")),
        output=_read_pixels(top.table("output", needed=False)),
        mask=mask.text("name", ""),
        has_mask="mask" in data,
        embedder=_read_embedder(top.table("embedder")) if "embedder" in data else None,
        file=top.text("file", ""),
        sha256=top.text("sha256", "").lower(),
        runtime=top.text("runtime", "onnx", ("onnx", "openvino")),
    )


def _read_crop(table: _Table) -> CropSpec:
    table.only(tuple(f.name for f in fields(CropSpec)))
    x, y = table.numbers("offset", 2, (0.0, 0.0))
    return CropSpec(
        size_px=int(table.number("size_px", 32, MAX_CROP_PX)),
        template=table.text("template", TEMPLATE, (TEMPLATE,)),
        scale=table.number("scale", 0.1, 2.0),
        offset=(x, y),
    )


def _read_pixels(table: _Table) -> Pixels:
    table.only(tuple(f.name for f in fields(Pixels)))
    return Pixels(
        name=table.text("name", ""),
        layout=table.text("layout", "NCHW", ("NCHW", "NHWC")),
        colour=table.text("colour", "RGB", ("RGB", "BGR")),
        mean=_triple(table, "mean", NO_MEAN),
        std=_triple(table, "std", UNIT_STD),
    )


def _read_source(table: _Table) -> Source:
    table.only(tuple(f.name for f in fields(Source)))
    normalise = table.data.get("normalise", True)
    if not isinstance(normalise, bool):
        raise table.error(f"normalise should be true or false, found {normalise!r}")
    projection = table.text("projection", "none", ("none", "last_initializer"))
    return Source(int(table.number("length", 1, MAX_EMBEDDING)), table.text("name", ""), projection, normalise)


def _read_embedder(table: _Table) -> Embedder:
    table.only(tuple(f.name for f in fields(Embedder)))
    colour = table.text("colour", "RGB", ("RGB", "BGR"))
    return Embedder(table.text("file", ""), colour, _triple(table, "mean", HALF), _triple(table, "std", HALF))


def _triple(table: _Table, key: str, default: Triple) -> Triple:
    a, b, c = table.numbers(key, 3, default, LEAST_STD if key == "std" else -1000.0)
    return a, b, c


def read_forms() -> dict[int, GeneratorCard]:
    """The known forms of generator files by the side of their crop in pixels."""
    return {card.crop.size_px: card for card in map(read_card, sorted(FORMS.glob("*.toml")))}
