"""Room `detect`: search a whole frame for faces. One file per detector: yunet, scrfd.

Each member module has `open(config: DetectConfig, store: Store, threads: int) -> Detector`.
"""

from __future__ import annotations

from typing import Protocol

from livecam import registry
from livecam.config import DetectConfig
from livecam.store import Store
from livecam.types import U8, Detection


class Detector(Protocol):
    """Whole-frame face search. Called from one thread, at most once a frame."""

    @property
    def licence(self) -> str:
        """Licence of the weights, shown at the start."""
        ...

    def detect(self, image: U8) -> tuple[Detection, ...]:
        """Faces in `image` ((H, W, 3) uint8 BGR, not written to) with a score of at least `config.guard_score`, best first, in frame pixels.

        Faces cut off by the frame's edge and faces that fill the frame are to be found too."""
        ...


def load(name: str, config: DetectConfig, store: Store, threads: int = 1) -> Detector:
    """The detector `name`, opened. Raises UsageError, MissingExtraError, ModelError."""
    return registry.load_module("detect", name).open(config, store, threads)
