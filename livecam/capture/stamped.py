"""`stamped:SOURCE`: any other source, with its capture time written into the picture's top-left corner, to measure latency from pixels alone.

Blocks of 8x4 pixels, a little darker or lighter than middle grey (so faint that the guard sees nothing move at the picture's edge), one row:
64 bits of `capture_ns`, then 16 of its CRC-32. A picture that was scaled, held or covered
either still carries its true time or none at all.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from livecam import registry
from livecam.config import CaptureConfig
from livecam.errors import UsageError
from livecam.types import U8, DeviceInfo, Frame, VideoFormat

if TYPE_CHECKING:
    from livecam.capture import Capture

PREFIX = "stamped:"
BLOCK_PX, BLOCK_HEIGHT_PX = 8, 4
DARK, LIGHT = 120, 136
TIME_BITS, CHECK_BITS = 64, 16
BITS = TIME_BITS + CHECK_BITS
WIDTH_PX = BITS * BLOCK_PX
"""Narrowest picture that holds a stamp."""


def write(image: U8, time_ns: int) -> None:
    """Stamps `image` ((H, W >= 640, 3) uint8) in place."""
    bits = _bits(time_ns)
    row = np.repeat(np.where(bits, LIGHT, DARK).astype(np.uint8), BLOCK_PX)
    image[:BLOCK_HEIGHT_PX, :WIDTH_PX] = row[None, :, None]


def read(image: U8) -> int | None:
    """The time in ns that `image` carries; None when it carries none."""
    if image.shape[0] < BLOCK_HEIGHT_PX or image.shape[1] < WIDTH_PX:
        return None
    bits = image[BLOCK_HEIGHT_PX // 2, BLOCK_PX // 2 : WIDTH_PX : BLOCK_PX, 1] >= (DARK + LIGHT) // 2
    time_ns = int.from_bytes(np.packbits(bits[:TIME_BITS]).tobytes(), "big")
    return time_ns if time_ns and np.array_equal(bits, _bits(time_ns)) else None


def _bits(time_ns: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    data = time_ns.to_bytes(TIME_BITS // 8, "big")
    check = (zlib.crc32(data) & 0xFFFF).to_bytes(CHECK_BITS // 8, "big")
    return np.unpackbits(np.frombuffer(data + check, np.uint8)).astype(np.bool_)


class Stamped:
    """A capture that stamps what another one delivers."""

    def __init__(self, inner: Capture) -> None:
        self._inner = inner

    @property
    def format(self) -> VideoFormat:
        """The inner source's."""
        return self._inner.format

    @property
    def notes(self) -> tuple[str, ...]:
        """The inner source's."""
        return self._inner.notes

    def read(self) -> Frame:
        """The inner source's next frame, stamped. Raises what it raises."""
        frame = self._inner.read()
        write(frame.image, frame.capture_ns)
        return frame

    def close(self) -> None:
        """Closes the inner source."""
        self._inner.close()

    def __enter__(self) -> Stamped:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def accepts(spec: str) -> bool:
    """Whether `spec` begins with "stamped:"."""
    return spec.startswith(PREFIX)


def open(spec: str, config: CaptureConfig) -> Stamped:
    """Opens the source named after the prefix. Raises UsageError when nothing understands it, and what it raises."""
    inner = spec.removeprefix(PREFIX)
    for kind in ("demo", "file", "network", "opencv"):
        member = registry.load_module("capture", kind)
        if member.accepts(inner):
            return Stamped(member.open(inner, replace(config, camera=inner)))
    raise UsageError(f"stamped:SOURCE expected a source that livecam knows, found {inner!r}; try stamped:demo")


def devices() -> tuple[DeviceInfo, ...]:
    """None of its own."""
    return ()
