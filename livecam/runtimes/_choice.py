"""Which runtime is to serve the generator: what each one answers, and which are worth making ready while the plain one draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from livecam import registry, runtimes
from livecam.errors import LivecamError, StageError, UsageError
from livecam.runtimes import _protobuf as pb

AUTO = "auto"
ORDER = ("tensorrt", "torch", "onnx", "openvino")
"""What `auto` prefers. The last two run on every CPU; onnx counts only with a provider that is not the CPU's."""
PROVIDER_OF = "onnx"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a runtime said when it was asked. works: it may be tried; said: what it would run on, or why it cannot."""

    name: str
    works: bool
    said: str


def options_for(name: str, provider: str) -> Mapping[str, object] | None:
    """The options with which a runtime is opened for a generator."""
    return {"provider": provider} if name == PROVIDER_OF else None


def ask(name: str, provider: str = AUTO) -> Answer:
    """What runtime `name` says of this machine, without loading a network."""
    if name not in registry.names("runtimes"):
        return Answer(name, False, "not part of this installation")
    try:
        answer = getattr(registry.load_module("runtimes", name), "answer", None)
        return Answer(name, True, "on the CPU" if answer is None else answer(options_for(name, provider)))
    except LivecamError as error:
        return Answer(name, False, str(error))


@dataclass(frozen=True, slots=True)
class Choice:
    """plain: what draws at once; wanted: the runtimes to make ready meanwhile, best first (none: plain is the choice); answers: of all that were
    asked; asked: the option."""

    plain: str
    wanted: tuple[str, ...]
    answers: tuple[Answer, ...]
    asked: str

    def __str__(self) -> str:
        """The one line that is shown at the start."""
        others = "; ".join(f"{a.name}: {a.said}" for a in self.answers if a.name not in (self.plain, *self.wanted))
        told = f" ({others})" if others else ""
        if self.wanted:
            ready = ", else ".join(f"{a.name} ({a.said})" for a in self.answers if a.name in self.wanted)
            return f"{self.plain} draws on the CPU until this is ready: {ready}{told and '; not used:' + told}"
        why = "asked for" if self.asked == self.plain else "the best that works here"
        return f"{self.plain} on the CPU, {why}{told}"


def choose(asked: str, provider: str, plain: str) -> Choice:
    """What `--runtime asked --provider provider` means for a generator that runtime `plain` draws by itself.

    Raises UsageError (unknown name), and what the runtime says when the one asked for by name cannot work here."""
    if asked == AUTO:
        answers = tuple(ask(name, provider) for name in ORDER)
        wanted = tuple(a.name for a in answers if a.works and a.name != plain and (a.name not in ORDER[2:] or _has_card(a.name, provider)))
        return Choice(plain, wanted, answers, asked)
    if asked not in ORDER:
        raise UsageError(f"runtime {asked!r} is unknown; choose one of: {', '.join((AUTO, *ORDER))}")
    answer = ask(asked, provider)
    if not answer.works:
        raise UsageError(f"--runtime {asked} cannot be served: {answer.said}; --runtime auto takes what works, `livecam doctor` tells more")
    same = asked == plain and not _has_card(asked, provider)
    return Choice(plain, () if same else (asked,), (answer,), asked)


def _has_card(name: str, provider: str) -> bool:
    """Whether runtime `name` would run on something other than the CPU by a provider."""
    if name != PROVIDER_OF or provider == "cpu":
        return False
    return any(p != "cpu" for p in registry.load_module("runtimes", name).providers())


def tiny() -> bytes:
    """An ONNX file of one multiplication, y = 2 x, for x of shape (1, 4): what `doctor` really runs."""
    shape = b"".join(pb.write_field(1, pb.write_field(1, size)) for size in (1, 4))
    kind = pb.write_field(1, pb.write_field(1, 1) + pb.write_field(2, shape))

    def value(name: bytes) -> bytes:
        return pb.write_field(1, name) + pb.write_field(2, kind)

    node = b"".join(pb.write_field(pb.NODE_INPUT, n) for n in (b"x", b"two")) + pb.write_field(pb.NODE_OUTPUT, b"y")
    node += pb.write_field(pb.NODE_OP_TYPE, b"Mul") + pb.write_field(3, b"double")
    tensor = pb.write_tensor("two", np.full((1, 4), 2.0, np.float32))
    graph = pb.write_field(pb.GRAPH_NODE, node) + pb.write_field(2, b"tiny") + pb.write_field(pb.GRAPH_INITIALIZER, tensor)
    graph += pb.write_field(pb.GRAPH_INPUT, value(b"x")) + pb.write_field(12, value(b"y"))
    return pb.write_field(1, 8) + pb.write_field(pb.MODEL_GRAPH, graph) + pb.write_field(8, pb.write_field(1, b"") + pb.write_field(2, 17))


def try_out(name: str, options: Mapping[str, object] | None = None) -> None:
    """Really runs a tiny graph by runtime `name`. Raises what it raises, StageError when its result is wrong."""
    x = np.array([[1.0, -2.0, 0.5, 8.0]], np.float32)
    y = runtimes.load(name, tiny(), 1, None, options).run({"x": x})["y"]
    if not np.array_equal(y, 2 * x):
        raise StageError(f"{name} gave {y.tolist()} for 2 * {x.tolist()}")
