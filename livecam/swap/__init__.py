"""Room `swap`: draw another face into an aligned crop. One file per generator kind: mesh, onnx.

Each member module has `open(config: SwapConfig, store: Store, threads: int) -> Swapper`.
"""

from __future__ import annotations

from typing import Protocol

from livecam import registry
from livecam.config import SwapConfig
from livecam.store import Store
from livecam.types import U8, Alignment, CropSpec, Face, Persona, Swapped


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

    def wear(self, persona: Persona) -> None:
        """Make `persona` the identity from the next `swap` on; may be called while running. Raises PersonaError, ModelError."""
        ...

    def swap(self, crop: U8, face: Face, alignment: Alignment) -> Swapped:
        """Draw the persona. crop: (S, S, 3) uint8 BGR, the wearer, not written to. face: in frame pixels (take its landmarks to the crop by
        `alignment.matrix`). The result has the crop's size. Raises StageError when it cannot draw (then the frame is covered)."""
        ...


def load(name: str, config: SwapConfig, store: Store, threads: int = 1) -> Swapper:
    """The swapper `name`, opened. Raises UsageError, MissingExtraError, ModelError."""
    return registry.load_module("swap", name).open(config, store, threads)


def warm_up(name: str) -> None:
    """Compiles what the swapper `name` compiles by itself (its module's `warm_up`, if it has one), so that the first frame does not wait for it."""
    compile_now = getattr(registry.load_module("swap", name), "warm_up", None)
    if compile_now is not None:
        compile_now()
