"""A room behind the presenter: drawn, lit and defocused.

Reflectance and what shines by itself (window, lamp) are kept apart, so that one room serves every
light.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from engines.synth.assets import Floats
from engines.synth.light import Light
from engines.synth.skin import to_linear

DEFOCUS_PX = 5.0


@dataclass(frozen=True, slots=True)
class Room:
    """reflect, window, lamp (H, W, 3) float32 linear: reflectance, and light from window and lamp;
    chair (H, W, 4): a chair's back before them, premultiplied reflectance."""

    reflect: Floats
    window: Floats
    lamp: Floats
    window_glow: Floats
    lamp_glow: Floats
    chair: Floats

    def lit(self, light: Light) -> Floats:
        """The defocused room (H, W, 3), linear, under a light."""
        if light.between is not None:
            a, b, part = light.between
            return ((1 - part) * self.lit(a) + part * self.lit(b)).astype(np.float32)
        mean = light.ambient_rows()[0]
        day, warm, cool_share = _sources(light)
        scene = self.reflect * (mean * 1.5 + self.window_glow * day + self.lamp_glow * warm)
        scene = scene + self.window * day * cool_share + self.lamp * np.minimum(warm * 3, 1.4)
        scene = cv2.GaussianBlur(scene.astype(np.float32), (0, 0), DEFOCUS_PX)
        chair = self.chair
        lit_chair = chair[..., :3] * (mean * 1.3 + 0.35 * self.window_glow * day
                                      + 0.35 * self.lamp_glow * warm)
        return (scene * (1 - chair[..., 3:4]) + lit_chair).astype(np.float32)


def _sources(light: Light) -> tuple[Floats, Floats, float]:
    """Strength of window and lamp under a light: colours (3,), and the view's brightness."""
    left = np.zeros(3)
    right = np.zeros(3)
    for lamp in light.lamps:
        target = left if lamp.azimuth_deg < 0 else right
        target += np.array(lamp.colour)
    return left.astype(np.float32), (right * np.array([1.0, 0.8, 0.55])).astype(np.float32), 0.8


def _rgb(r: float, g: float, b: float) -> tuple[float, float, float]:
    x = to_linear(np.array([r, g, b], np.float32))
    return (float(x[0]), float(x[1]), float(x[2]))


def _books(image: Floats, rng: np.random.Generator, x0: int, x1: int, floor: int) -> None:
    palette = [(150, 60, 50), (60, 80, 110), (200, 180, 140), (70, 95, 70), (190, 130, 60),
               (90, 70, 95), (215, 210, 200), (50, 55, 65), (120, 40, 60)]
    x = x0
    while x < x1 - 10:
        width = int(rng.integers(11, 26))
        if rng.random() < 0.12:
            x += width
            continue
        height = int(rng.integers(62, 96))
        colour = np.array(palette[int(rng.integers(len(palette)))]) * rng.uniform(0.8, 1.1)
        cv2.rectangle(image, (x, floor - height), (min(x + width - 2, x1), floor),
                      _rgb(*colour.tolist()), -1)
        cv2.rectangle(image, (x, floor - height + 12), (min(x + width - 2, x1), floor - height + 16),
                      _rgb(*(colour * 0.6 + 70).tolist()), -1)
        x += width


def _shelf(image: Floats, rng: np.random.Generator, width: int) -> None:
    left = int(width * 0.735)
    for floor in (132, 262, 392, 522):
        cv2.rectangle(image, (left, floor - 118), (width, floor), _rgb(120, 92, 66), -1)
        _books(image, rng, left + 14, width, floor - 3)
        cv2.rectangle(image, (left - 6, floor), (width, floor + 11), _rgb(146, 112, 80), -1)
    cv2.rectangle(image, (left - 6, 10), (left + 8, 640), _rgb(146, 112, 80), -1)


def _plant(image: Floats, rng: np.random.Generator, x: int, y: int) -> None:
    cv2.ellipse(image, (x, y), (44, 52), 0, 0, 180, _rgb(190, 180, 165), -1)
    for _ in range(46):
        angle = rng.uniform(-2.9, -0.25)
        length = rng.uniform(60, 150)
        tip = (int(x + np.cos(angle) * length), int(y - 10 + np.sin(angle) * length))
        green = rng.uniform(0.7, 1.25)
        cv2.ellipse(image, ((x + tip[0]) // 2, (y + tip[1]) // 2), (int(length * 0.5), 11),
                    float(np.rad2deg(angle)), 0, 360, _rgb(58 * green, 98 * green, 52 * green), -1)


def _window(size: tuple[int, int], rng: np.random.Generator) -> Floats:
    height, width = size
    out = np.zeros((height, width, 3), np.float32)
    x0, x1, y0, y1 = int(width * 0.03), int(width * 0.25), -20, 470
    sky = np.linspace(1.0, 0.72, y1 - y0)[:, None, None] * np.array([0.86, 0.95, 1.05])
    view = np.repeat(sky, x1 - x0, 1).astype(np.float32)
    for _ in range(60):
        cx, cy = int(rng.integers(0, x1 - x0)), int(rng.integers(300, y1 - y0))
        green = rng.uniform(0.4, 1.0)
        cv2.circle(view, (cx, cy), int(rng.integers(18, 46)),
                   (0.20 * green, 0.34 * green, 0.16 * green), -1)
    view = cv2.GaussianBlur(view, (0, 0), 9)
    out[0:y1, x0:x1] = view[-y0:]
    for x in (x0, (x0 + x1) // 2, x1):
        cv2.rectangle(out, (x - 7, 0), (x + 7, y1), (0, 0, 0), -1)
    cv2.rectangle(out, (x0, 220), (x1, 232), (0, 0, 0), -1)
    return out


def _glow(size: tuple[int, int], x: float, y: float, reach: float) -> Floats:
    yy, xx = np.mgrid[:size[0], :size[1]].astype(np.float32)
    r2 = ((xx - x) ** 2 + ((yy - y) * 1.15) ** 2) / reach ** 2
    return (1 / (1 + 4 * r2))[..., None].astype(np.float32)


def _chair(size: tuple[int, int]) -> Floats:
    height, width = size
    mask = np.zeros((height, width), np.float32)
    cx = width // 2 + 26
    cv2.ellipse(mask, (cx, 470), (196, 60), 0, 180, 360, 1.0, -1)
    cv2.rectangle(mask, (cx - 196, 468), (cx + 196, height), 1.0, -1)
    colour = np.zeros((height, width, 3), np.float32)
    colour[:] = _rgb(52, 54, 60)
    shade = np.linspace(1.35, 0.8, height)[:, None, None].astype(np.float32)
    seam = np.zeros_like(mask)
    cv2.ellipse(seam, (cx, 490), (160, 46), 0, 180, 360, 1.0, 5)
    cv2.rectangle(seam, (cx - 163, 488), (cx - 157, height), 1.0, -1)
    cv2.rectangle(seam, (cx + 157, 488), (cx + 163, height), 1.0, -1)
    colour = colour * shade * (1 - 0.45 * seam[..., None])
    mask = cv2.GaussianBlur(mask, (0, 0), 2.6)
    colour = cv2.GaussianBlur(colour, (0, 0), 2.0)
    return np.concatenate([colour * mask[..., None], mask[..., None]], 2).astype(np.float32)


def make_room(width: int = 1280, height: int = 720, seed: int = 4) -> Room:
    """An office: wall, window on the left, shelf on the right, plant, picture, lamp, chair."""
    rng = np.random.default_rng(seed)
    wall = np.zeros((height, width, 3), np.float32)
    wall[:] = _rgb(196, 192, 184)
    wall *= np.linspace(1.05, 0.86, height)[:, None, None].astype(np.float32)
    cv2.rectangle(wall, (0, 640), (width, height), _rgb(110, 88, 70), -1)
    window = _window((height, width), rng)
    frame = (int(width * 0.03) - 14, int(width * 0.25) + 14)
    cv2.rectangle(wall, (frame[0], 0), (frame[1], 486), _rgb(226, 224, 220), -1)
    _shelf(wall, rng, width)
    cv2.rectangle(wall, (int(width * 0.33), 92), (int(width * 0.33) + 128, 252),
                  _rgb(60, 52, 46), -1)
    cv2.rectangle(wall, (int(width * 0.33) + 10, 102), (int(width * 0.33) + 118, 242),
                  _rgb(222, 214, 198), -1)
    cv2.circle(wall, (int(width * 0.33) + 66, 160), 32, _rgb(200, 120, 80), -1)
    cv2.rectangle(wall, (int(width * 0.33) + 22, 190), (int(width * 0.33) + 108, 232),
                  _rgb(82, 110, 122), -1)
    _plant(wall, rng, int(width * 0.285), 600)
    lamp = np.zeros_like(wall)
    lamp_x = int(width * 0.675)
    cv2.rectangle(wall, (lamp_x - 4, 250), (lamp_x + 4, 640), _rgb(40, 40, 42), -1)
    shade = np.array([[lamp_x - 34, 175], [lamp_x + 34, 175], [lamp_x + 56, 258],
                      [lamp_x - 56, 258]], np.int32)
    cv2.fillPoly(lamp, [shade], (1.0, 0.86, 0.62))
    cv2.fillPoly(wall, [shade], _rgb(225, 210, 180))
    glow_w = _glow((height, width), width * 0.10, 240, 620) * 0.55
    glow_l = _glow((height, width), lamp_x, 215, 330) * 0.9
    return Room(wall, window, lamp, glow_w, glow_l, _chair((height, width)))
