"""Marks the pictures of one run: the badge that people see, and the hidden mark that machines read. The hidden mark has no off switch."""

from __future__ import annotations

import cv2
import numpy as np

from livecam.config import MarkConfig
from livecam.mark import _code, _draw, _layout
from livecam.mark.badge import Badge
from livecam.types import F32, U8


class Marker:
    """Used by one thread."""

    def __init__(self, config: MarkConfig, run: int) -> None:
        """run: the run's random number, 0 to 2**14 - 1 (`Config.run_number`)."""
        self._run = run
        self._badge = Badge(config)
        self._activity: F32 = np.zeros((_layout.ROWS, _layout.COLUMNS), np.float32)
        self._grid: _draw.Grid | None = None
        self._fresh = True
        self._flat: tuple[U8, U8] | None = None
        self.wear("")

    def wear(self, persona: str) -> None:
        """The persona whose short number the mark carries from now on. persona: its id."""
        self.payload = _code.Payload(self._run, _code.short_id(persona))
        self._signs = _layout.chips(_code.encode(self.payload.number()))
        self._flat = None

    def mark(self, image: U8) -> None:
        """Marks a finished picture ((H, W, 3) uint8 BGR, C-contiguous) in place. Raises StageError for other arrays."""
        grid = self._fit(image)
        _draw.check(image, grid)
        self._badge.draw(image)
        _draw.draw(image, self._signs, self._activity, grid, 1.0 if self._fresh else _draw.SMOOTHING)
        self._fresh = False

    def mark_flat(self, image: U8) -> None:
        """The same for a pixelated picture, which is flat nearly everywhere: the gain is that of flat places; needs no compiled code."""
        grid = self._fit(image)
        _draw.check(image, grid)
        if self._flat is None:
            levels = _draw.levels(_draw.amplitudes(self._signs, np.zeros_like(self._activity)), grid)
            lighter, darker = (np.repeat(np.maximum(sign * levels, 0).astype(np.uint8)[..., None], 3, axis=2) for sign in (1, -1))
            self._flat = lighter, darker
        self._badge.draw(image)
        cv2.add(image, self._flat[0], dst=image)
        cv2.subtract(image, self._flat[1], dst=image)

    def _fit(self, image: U8) -> _draw.Grid:
        size_px = (image.shape[1], image.shape[0])
        if self._grid is None or self._grid.size_px != size_px:
            self._grid, self._flat, self._fresh = _draw.grid(*size_px), None, True
        return self._grid


def warm_up() -> None:
    """Compile (or load from the disk) the kernels."""
    Marker(MarkConfig(badge="off"), 0).mark(np.zeros((72, 128, 3), np.uint8))
