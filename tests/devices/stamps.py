"""A frame that says who it is: its number as 32 black or white squares on top, four colour patches below. Survives YUV, JPEG and scaling."""

from __future__ import annotations

import numpy as np

from livecam.types import U8

SQUARE_PX = 16
BITS = 32
PATCHES_BGR = ((40, 40, 220), (60, 200, 60), (220, 60, 50), (128, 128, 128))


def draw(width_px: int, height_px: int, number: int) -> U8:
    """(H, W, 3) uint8 BGR; at least 512 px wide."""
    image = np.zeros((height_px, width_px, 3), np.uint8)
    for i, colour in enumerate(PATCHES_BGR):
        image[height_px // 2 :, i * width_px // 4 : (i + 1) * width_px // 4] = colour
    bits = [(number >> (BITS - 1 - i)) & 1 for i in range(BITS)]
    row = np.repeat(np.array(bits, np.uint8) * 255, SQUARE_PX)
    image[:SQUARE_PX, : row.size] = row[None, :, None]
    return image


def number_of(image: U8) -> int:
    """The number that `draw` wrote."""
    middle = image[SQUARE_PX // 4 : 3 * SQUARE_PX // 4, : BITS * SQUARE_PX, 1].astype(np.float32)
    squares = middle.reshape(SQUARE_PX // 2, BITS, SQUARE_PX)[:, :, 4:12].mean((0, 2)) > 128
    return int("".join("1" if on else "0" for on in squares), 2)


def colour_error(image: U8) -> float:
    """Greatest difference (grey levels, any channel) between the middles of the patches and what was drawn."""
    height, width = image.shape[:2]
    worst = 0.0
    for i, colour in enumerate(PATCHES_BGR):
        x, y = (2 * i + 1) * width // 8, height * 3 // 4
        mean = image[y - 8 : y + 8, x - 8 : x + 8].reshape(-1, 3).mean(0)
        worst = max(worst, float(np.abs(mean - np.array(colour)).max()))
    return worst
