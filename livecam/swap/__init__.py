"""Room `swap`: draw another face into an aligned crop. One file per generator kind: lite (livecam's own), mesh, onnx.

Each member module has `open(config: SwapConfig, store: Store, threads: int) -> Swapper`, and may have `KERNELS`, see `kernels`.
`auto` is the first of AUTO whose weights are there and load.

A swapper whose networks another runtime may run has `runtime: str`, the one that runs them by itself, and `prepare_network(remake: Remake)`: like
`prepare`, it may take long, may be called from another thread, changes nothing yet, and what it returns takes no time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from livecam import registry
from livecam.config import SwapConfig
from livecam.errors import ModelError
from livecam.runtimes import Runtime
from livecam.runtimes._gate import Checked
from livecam.store import Store
from livecam.types import U8, Alignment, CropSpec, Face, Persona, Swapped

Remake = Callable[[Checked, Runtime], Runtime]
"""(the network's file in float32 as it was checked, what runs it now) -> what is to run it. Raises ModelError, StageError."""


class Swapper(Protocol):
    """The contract of an identity-injection generator: crop and persona in, crop and mask out. Called from one thread."""

    @property
    def crop(self) -> CropSpec:
        """The crop that it wants; the pipeline aligns with it. The pipeline may pass crops of another size when `any_size` is true."""
        ...

    @property
    def licence(self) -> str:
        """Licence of the weights or portraits, shown at the start."""
        ...

    def prepare(self, persona: Persona) -> Callable[[], None]:
        """Works out all that wearing `persona` needs, and changes nothing yet; may take long, and may be called from another thread (one at a time).
        What it returns takes no time, is called by the thread that calls `swap`, and makes `persona` the identity from the next `swap` on.
        Raises PersonaError, ModelError."""
        ...

    def wear(self, persona: Persona) -> None:
        """`prepare(persona)()`. Raises PersonaError, ModelError."""
        ...

    def swap(self, crop: U8, face: Face, alignment: Alignment) -> Swapped:
        """Draw the persona. crop: (S, S, 3) uint8 BGR, the wearer, not written to. face: in frame pixels (take its landmarks to the crop by
        `alignment.matrix`). The result has the crop's size. Raises StageError when it cannot draw (then the frame is covered)."""
        ...


AUTO = ("lite", "mesh")
"""What `auto` tries, best first; the last needs no weights."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A swapper, the name of its kind, and why it is not a better one ("" when it is the one asked for or the best)."""

    swapper: Swapper
    name: str
    note: str = ""


def choose(config: SwapConfig, store: Store, threads: int = 1) -> Chosen:
    """The swapper that `config.swap` names; for "auto" the best that there is, with a note on what failed before it.

    Only here, at the start, does one take another's place. Raises UsageError, MissingExtraError, ModelError (of all that were tried).
    """
    if config.swap != "auto":
        return Chosen(load(config.swap, config, store, threads), config.swap)
    failures: list[str] = []
    for name in AUTO:
        try:
            swapper = load(name, config, store, threads)
        except ModelError as error:
            failures.append(f"{name}: {error}")
        else:
            return Chosen(swapper, name, f"faces are drawn by {name}, because {'; '.join(failures)}" if failures else "")
    raise ModelError(f"none of the generators {', '.join(AUTO)} could be opened: {'; '.join(failures)}")


def load(name: str, config: SwapConfig, store: Store, threads: int = 1) -> Swapper:
    """The swapper `name`, opened. Raises UsageError, MissingExtraError, ModelError."""
    return registry.load_module("swap", name).open(config, store, threads)


def kernels(name: str) -> tuple[Callable[[], None], ...]:
    """What compiles the kernels of the swapper `name` (its module's `KERNELS`, if it has any): parts that share none, so that several processes can
    compile them side by side. Kept on disk after the first time."""
    return tuple(getattr(registry.load_module("swap", name), "KERNELS", ()))


def warm_up(name: str) -> None:
    """Compiles or loads all of `kernels`, so that the first frame does not wait for it."""
    for compile_now in kernels(name):
        compile_now()
