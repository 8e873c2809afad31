"""The leak oracle: a canary on every raw face pixel, and a correlator that finds it in what went on air. Knows nothing of the guard.

Canary: two layers of square chips, 2 px and 4 px wide, each +1 or -1 by a fair coin (seeded), locked to the picture's grid; the scene adds
AMPLITUDE times them wherever a pixel of a face is.  So the oracle needs to know neither where a face is, nor which frame it looks at.

Correlator, for each layer: r = mean of the output (green) over each chip, less the mean of the 3 x 3 chips around it, clipped.  In windows of
32, 64 and 128 px around *every* chip, and in the whole picture:

    z = sum(s * r) / sqrt(sum(r * r)),   s = the chip's sign

False alarms.  If no canary is in the output, r does not depend on the signs, which are independent fair coins, so by Hoeffding's inequality
P(z >= k) <= exp(-k * k / 2) *whatever the picture shows*: no assumption on noise or texture is made.  With T windows tested in a frame (every
position, size and layer, single frames and the 25-frame sum: T counts them all), k = sqrt(2 ln(T / P_FRAME)) keeps the chance of any false alarm
in a frame below P_FRAME = 1e-9 (union bound).  At 480x270 that is T = 242,644 and k = 8.14.
The 25-frame test takes sum(r) over the frames in place of r: the same signs, so the same bound.

Power.  A canary of amplitude a among residuals of standard deviation d gives z = sqrt(n) a / sqrt(a^2 + d^2) in a window of n chips: a raw 32-px
patch (n = 256) 11 to 14, a blend of a quarter about 20 (see tests/unit/test_soak.py).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from livecam.types import F32, U8

P_FRAME = 1e-9
"""Chance of a false alarm in a frame, at most."""
FRAMES = 25
"""Frames over which weak leaks are added up."""
CHIPS_PX = (2, 4)
AMPLITUDE = {2: 16.0, 4: 6.0}
"""Grey levels of each layer: clear, and yet a face stays a face for a detector, which sees it shrunk."""
WINDOWS_PX = (32, 64, 128)
CLIP = 12.0
"""Residuals are clipped to so many grey levels, less than the canary's own: edges would drown it."""
RING = 3


@dataclass(frozen=True, slots=True)
class Sighting:
    """The largest z of a frame, where (middle of the window, pixels), window and chip in pixels, and whether it took several frames."""

    z: float
    x_px: int
    y_px: int
    window_px: int
    chip_px: int
    summed: bool


class Canary:
    """The pattern for pictures of one size."""

    def __init__(self, seed: int, width_px: int, height_px: int) -> None:
        random = np.random.default_rng((seed, 0xC0FFEE))
        self.size_px = (width_px, height_px)
        self.signs: dict[int, F32] = {}
        pattern = np.zeros((height_px, width_px), np.float32)
        for chip in CHIPS_PX:
            rows, columns = height_px // chip, width_px // chip
            signs = (random.integers(0, 2, (rows, columns)) * 2 - 1).astype(np.float32)
            self.signs[chip] = signs
            pattern[: rows * chip, : columns * chip] += AMPLITUDE[chip] * np.kron(signs, np.ones((chip, chip), np.float32))
        self.pattern = pattern
        """(H, W) float32, grey levels to add."""
        self._levels = np.repeat(np.rint(pattern).astype(np.int16)[..., None], 3, axis=2)

    def mark(self, image: U8, region: U8, share: float = 1.0) -> None:
        """Adds the canary in place where `region` ((H, W) uint8) is not 0; share: 0..1."""
        x, y, w, h = cv2.boundingRect(region)
        part = image[y : y + h, x : x + w]
        add = self._levels[y : y + h, x : x + w] if share == 1.0 else np.rint(self._levels[y : y + h, x : x + w] * share).astype(np.int16)
        marked = np.clip(part + add, 0, 255).astype(np.uint8)
        cv2.copyTo(marked, region[y : y + h, x : x + w], part)


class Oracle:
    """Looks at what went on air, frame by frame."""

    def __init__(self, canary: Canary) -> None:
        self._signs = canary.signs
        self._size_px = canary.size_px
        self._past: dict[int, deque[F32]] = {chip: deque() for chip in CHIPS_PX}
        self._sum = {chip: np.zeros_like(signs) for chip, signs in canary.signs.items()}
        self.tests = 2 * sum(signs.size * len(WINDOWS_PX) + 1 for signs in canary.signs.values())
        """Windows tested in a frame."""
        self.threshold = float(np.sqrt(2.0 * np.log(self.tests / P_FRAME)))

    def look(self, image: U8) -> Sighting:
        """The strongest sighting in `image` ((H, W, 3) uint8), this frame alone and the last FRAMES together."""
        if (image.shape[1], image.shape[0]) != self._size_px:
            raise ValueError(f"expected a picture of {self._size_px}, found {image.shape}")
        best = Sighting(-np.inf, 0, 0, 0, 0, False)
        green = np.ascontiguousarray(image[..., 1]).astype(np.float32)
        for chip, signs in self._signs.items():
            residual = _residual(green, chip, signs.shape)
            total = self._add(chip, residual)
            for values, summed in ((residual, False), (total, True)):
                found = _strongest(values, signs, chip, summed)
                best = found if found.z > best.z else best
        return best

    def leaks(self, sighting: Sighting) -> bool:
        """Whether this is a leak."""
        return sighting.z >= self.threshold

    def forget(self) -> None:
        """Begins the sum anew."""
        for chip, past in self._past.items():
            past.clear()
            self._sum[chip][:] = 0.0

    def _add(self, chip: int, residual: F32) -> F32:
        past, total = self._past[chip], self._sum[chip]
        past.append(residual)
        total += residual
        if len(past) > FRAMES:
            total -= past.popleft()
        return total


def _residual(green: F32, chip: int, shape: tuple[int, ...]) -> F32:
    rows, columns = shape[:2]
    chips = cv2.resize(green[: rows * chip, : columns * chip], (columns, rows), interpolation=cv2.INTER_AREA)
    chips -= cv2.blur(chips, (RING, RING))
    return np.clip(chips, -CLIP, CLIP).astype(np.float32, copy=False)


def _strongest(values: F32, signs: F32, chip: int, summed: bool) -> Sighting:
    product, energy = values * signs, values * values
    whole = float(product.sum(dtype=np.float64) / np.sqrt(energy.sum(dtype=np.float64) + 1.0))
    best = Sighting(whole, values.shape[1] * chip // 2, values.shape[0] * chip // 2, 0, chip, summed)
    for window in WINDOWS_PX:
        side = (window // chip, window // chip)
        hits = cv2.boxFilter(product, cv2.CV_32F, side, normalize=False, borderType=cv2.BORDER_CONSTANT)
        size = cv2.boxFilter(energy, cv2.CV_32F, side, normalize=False, borderType=cv2.BORDER_CONSTANT)
        z = hits / np.sqrt(np.maximum(size, 0.0) + 1.0)  # more energy than there is only makes z smaller
        at = int(z.argmax())
        if z.flat[at] > best.z:
            y, x = divmod(at, z.shape[1])
            best = Sighting(float(z.flat[at]), x * chip, y * chip, window, chip, summed)
    return best
