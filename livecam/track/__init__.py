"""Room `track`: follow faces from frame to frame with stable identities. One file per tracker: mediapipe, insightface.

Each member module has `open(config: TrackConfig, store: Store, threads: int) -> Tracker`.
"""

from __future__ import annotations

from typing import Protocol

from livecam import registry
from livecam.config import TrackConfig
from livecam.store import Store
from livecam.types import Detection, Face, Frame


class Tracker(Protocol):
    """Follows up to `config.max_faces` faces. Called from one thread, once a frame."""

    @property
    def licence(self) -> str:
        """Licence of the weights, shown at the start."""
        ...

    def update(self, frame: Frame, detections: tuple[Detection, ...] | None) -> tuple[Face, ...]:
        """Faces in `frame`, smoothed (One-Euro, on capture time). `detections` is this frame's whole-frame search, None when it was not searched:
        then only faces of the frame before are followed. A face whose landmark score falls below `min_score` is not returned."""
        ...

    def reset(self) -> None:
        """Forget all faces (source changed). Track numbers are still never used again."""
        ...


def load(name: str, config: TrackConfig, store: Store, threads: int = 1) -> Tracker:
    """The tracker `name`, opened. Raises UsageError, MissingExtraError, ModelError."""
    return registry.load_module("track", name).open(config, store, threads)
