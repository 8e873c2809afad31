"""Pictures that are safe whatever happens: the whole frame pixelated, the slate, and the watermark of --reveal."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np

from livecam.types import U8

BLOCKS = 16
"""Blocks across a covered frame (GuardConfig.cover_blocks)."""


def pixelate(image: U8, blocks: int = BLOCKS) -> None:
    """Pixelates the *whole* of `image` ((H, W, 3) uint8 BGR) in place to `blocks` blocks across, as many square ones down as fit."""
    height, width = image.shape[:2]
    across = max(1, min(blocks, width))
    down = max(1, min(round(blocks * height / width), height))
    small = cv2.resize(image, (across, down), interpolation=cv2.INTER_AREA)
    cv2.resize(small, (width, height), dst=image, interpolation=cv2.INTER_NEAREST)


def watermark(image: U8) -> None:
    """Writes UNMASKED across `image` in place, over and over."""
    height, width = image.shape[:2]
    scale = max(width / 640.0, 0.3)
    thick = max(1, round(2 * scale))
    (w, h), _ = cv2.getTextSize("UNMASKED", cv2.FONT_HERSHEY_DUPLEX, scale, thick)
    for row, y in enumerate(range(h + h // 2, height + h, 3 * h)):
        for x in range(-(row % 2) * (w // 2), width, w + w // 3):
            cv2.putText(image, "UNMASKED", (x, y), cv2.FONT_HERSHEY_DUPLEX, scale, (0, 0, 0), thick + 2, cv2.LINE_AA)
            cv2.putText(image, "UNMASKED", (x, y), cv2.FONT_HERSHEY_DUPLEX, scale, (60, 60, 255), thick, cv2.LINE_AA)


def slate(width_px: int, height_px: int, text: str) -> U8:
    """The standby picture: (height_px, width_px, 3) uint8 BGR, livecam's name and one line that says why. Holds no camera pixel.

    text: one short line, of which `for_viewers` is shown; letters outside ASCII as "?". Costs some milliseconds: keep it while the text stays."""
    image = _backdrop(width_px, height_px)
    if width_px < 64 or height_px < 36:
        return image  # no room for words
    unit = min(width_px * 0.055, height_px * 0.1)
    left = (width_px - _WORD_WIDTH * unit) / 2
    _wordmark(image, left, height_px * 0.42, unit)
    _line(image, for_viewers(text), height_px * 0.42 + 2.25 * unit)
    return image


def for_viewers(text: str) -> str:
    """What of a line may go on air: nothing from the first path or address on (it can hold a name, a place or a password); names of devices stay.
    The terminal and the page, which only the user sees, have the whole line."""
    words: list[str] = []
    for word in text.split():
        bare = word.lstrip("\"'([")
        if ("/" in bare or "\\" in bare) and not bare.startswith("/dev/"):
            return " ".join([*words, "..."])
        words.append(word)
    return " ".join(words)


_NIGHT_TOP, _NIGHT_BOTTOM = (58.0, 40.0, 34.0), (24.0, 17.0, 15.0)
_INK, _ACCENT, _SOFT = (244.0, 240.0, 236.0), (120.0, 138.0, 255.0), (186.0, 172.0, 164.0)
_FINE = 4
"""Words are drawn so many times larger and shrunk, which is smoother than OpenCV's own lines."""
_WORD_WIDTH = 7.66
_STROKE = 0.18


def _backdrop(width_px: int, height_px: int) -> U8:
    """A dark gradient with a hint of the mosaic that covers; dithered, so that it shows no bands."""
    random = np.random.default_rng(7)
    rows = max(1, round(BLOCKS * height_px / width_px))
    mosaic = random.normal(0.0, 1.0, (rows, BLOCKS)).astype(np.float32)
    mosaic *= np.linspace(0.4, 2.4, rows, dtype=np.float32)[:, None]
    tiles = cv2.resize(mosaic, (width_px, height_px), interpolation=cv2.INTER_NEAREST)
    down = np.linspace(0.0, 1.0, height_px, dtype=np.float32)[:, None]
    noise = random.uniform(-0.5, 0.5, (height_px, width_px)).astype(np.float32)
    planes = [top + (bottom - top) * down + tiles + noise for top, bottom in zip(_NIGHT_TOP, _NIGHT_BOTTOM, strict=True)]
    return np.ascontiguousarray(np.clip(np.stack(planes, axis=2), 0.0, 255.0).astype(np.uint8))


def _wordmark(image: U8, left: float, top: float, unit: float) -> None:
    """"livecam" in round strokes; `top` is the small letters' upper end, `unit` their height."""
    fine = unit * _FINE
    thick = max(1, round(_STROKE * fine))
    ink = np.zeros((round(2.0 * fine), round((_WORD_WIDTH + 0.4) * fine)), np.uint8)
    dot = ink.copy()

    def path(*points: tuple[float, float]) -> None:
        corners = np.array([(round((x + 0.2) * fine), round((y + 0.8) * fine)) for x, y in points], np.int32)
        cv2.polylines(ink, [corners], False, 255, thick)
        for x, y in corners.tolist():
            cv2.circle(ink, (x, y), thick // 2, 255, cv2.FILLED)

    def arc(x: float, y: float, radius: float, begin: float, end: float) -> None:
        turn = np.radians(np.linspace(begin, end, 64))
        path(*((x + radius * float(np.cos(t)), y + radius * float(np.sin(t))) for t in turn))

    path((0.0, -0.5), (0.0, 1.0))
    path((0.48, 0.0), (0.48, 1.0))
    cv2.circle(dot, (round(0.68 * fine), round(0.42 * fine)), round(0.14 * fine), 255, cv2.FILLED)
    path((0.90, 0.0), (1.33, 1.0), (1.76, 0.0))
    path((2.14, 0.5), (3.14, 0.5))
    arc(2.64, 0.5, 0.5, 0.0, -318.0)
    arc(4.06, 0.5, 0.5, -44.0, -316.0)
    arc(5.34, 0.5, 0.5, 0.0, 360.0)
    path((5.84, 0.0), (5.84, 1.0))
    path((6.38, 0.0), (6.38, 1.0))
    for x in (6.70, 7.34):
        arc(x, 0.32, 0.32, 180.0, 360.0)
        path((x + 0.32, 0.32), (x + 0.32, 1.0))
    for layer, colour in ((ink, _INK), (dot, _ACCENT)):
        _stamp(image, layer, left - 0.2 * unit, top - 0.8 * unit, colour)


def _line(image: U8, text: str, middle: float) -> None:
    """One line, centred, never wider than four fifths of the picture."""
    height, width = image.shape[:2]
    text = text.encode("ascii", "replace").decode().strip()
    scale = min(height, width * 9 / 16) / 720.0 * 1.05 * _FINE
    thick = max(1, round(0.8 * scale))
    (wide, high), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    canvas = np.zeros((2 * (high + below) + 8, wide + wide // 4 + 8 * thick), np.uint8)
    cv2.putText(canvas, text, (4 * thick, high + (high + below) // 2), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thick, cv2.LINE_AA)
    x, _, w, _ = cv2.boundingRect(canvas)  # what OpenCV really drew: its fonts and their measures differ between versions
    if not w:
        return
    ink = np.ascontiguousarray(canvas[:, x : x + w])
    shrink = min(1.0, 0.8 * width * _FINE / w)
    if shrink < 1.0:
        ink = cast(U8, cv2.resize(ink, (max(1, round(w * shrink)), max(1, round(ink.shape[0] * shrink))), interpolation=cv2.INTER_AREA))
    _stamp(image, ink, (width - ink.shape[1] / _FINE) / 2.0, middle - ink.shape[0] / _FINE / 2.0, _SOFT)


def _stamp(image: U8, ink: U8, left: float, top: float, colour: tuple[float, float, float]) -> None:
    """Lays `colour` over `image` where `ink` (uint8, _FINE times larger) is, clipped to the picture."""
    small = cv2.resize(ink, (max(1, ink.shape[1] // _FINE), max(1, ink.shape[0] // _FINE)), interpolation=cv2.INTER_AREA)
    y, x = round(top), round(left)
    cut = small[max(0, -y) :, max(0, -x) :]
    part = image[max(0, y) : max(0, y) + cut.shape[0], max(0, x) : max(0, x) + cut.shape[1]]
    share = (cut[: part.shape[0], : part.shape[1], None] / 255.0).astype(np.float32)
    part[:] = np.rint(part + share * (np.array(colour, np.float32) - part)).astype(np.uint8)
