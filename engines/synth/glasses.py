"""What glasses look like: outlines of lenses, colours, lenses' tint and coating; drawn at random from a seed.

Lengths in decimetres, as worn by a head of medium width (`glasses_fit` scales them to the head). Outlines are superellipses with a
few changes (taper, droop, lift, nasal cut), so that one formula gives round, square, pilot's and cat-eye lenses.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from engines.synth.assets import Bytes, Floats

RGB = tuple[float, float, float]
Rng = np.random.Generator

WEARERS_SHARE = 0.30
"""Share of wearers with glasses."""
TINTED_SHARE, DARK_SHARE = 0.09, 0.015
"""Shares of glasses whose lenses are tinted (eyes seen through), and that are sunglasses (hardly)."""
TINTS: tuple[RGB, ...] = ((0.86, 0.88, 0.90), (0.95, 0.84, 0.68), (0.80, 0.92, 0.80), (0.96, 0.80, 0.80), (0.76, 0.86, 0.98))
"""Colour of what a tinted lens lets through, before its strength."""
COATINGS: tuple[RGB, ...] = ((0.42, 1.0, 0.62), (0.45, 0.62, 1.0), (0.80, 0.55, 1.0), (1.0, 1.0, 1.0))
"""Colour of an anti-reflective coating's reflection; the last is none."""
UNCOATED = len(COATINGS) - 1
DARK_SRGB: tuple[RGB, ...] = ((20, 20, 22), (30, 26, 25), (24, 28, 44), (58, 22, 28), (28, 46, 40), (60, 60, 64), (38, 24, 58))
BRIGHT_SRGB: tuple[RGB, ...] = ((150, 36, 40), (40, 84, 150), (206, 196, 182), (176, 126, 132), (86, 120, 104))
METAL_SRGB: tuple[RGB, ...] = ((190, 164, 112), (176, 178, 182), (96, 98, 104), (40, 40, 43), (176, 128, 108), (128, 104, 78))
TORTOISE_SRGB: tuple[tuple[RGB, RGB], ...] = (
    ((152, 92, 40), (36, 20, 14)), ((112, 62, 32), (26, 16, 13)), ((186, 132, 74), (66, 38, 24)), ((126, 106, 88), (40, 34, 32)))
CLEAR_SRGB: tuple[RGB, ...] = ((222, 220, 214), (226, 206, 196), (196, 208, 216), (214, 200, 168))
TEXTURE = 128
"""Side of the frame's texture: the upper half is the front's and the temples' material, then metal parts, then the lenses' edge."""
FRONT_V, TRIM_V, EDGE_V = (0.55, 0.97), 0.375, 0.125
"""Where those lie in texture space, v upwards."""
PAD_SRGB: RGB = (188, 182, 172)


@dataclass(frozen=True, slots=True)
class Outline:
    """A lens' shape. half_width dm; ratio of height to width; power of the superellipse (2: ellipse); taper: wider above; droop: the
    outer end lies lower; lift: the upper outer corner rises; cut: of the lower nasal corner; hinge: its height in half heights."""

    half_width: float
    ratio: float
    power: float
    taper: float = 0.0
    droop: float = 0.0
    lift: float = 0.0
    cut: float = 0.0
    hinge: float = 0.45


OUTLINES: dict[str, Outline] = {
    "round": Outline(0.228, 0.95, 2.0, hinge=0.30),
    "panto": Outline(0.238, 0.88, 2.25, taper=0.06, cut=0.06, hinge=0.50),
    "oval": Outline(0.255, 0.64, 2.15, hinge=0.30),
    "rectangular": Outline(0.268, 0.60, 4.4, taper=0.03, cut=0.06),
    "square": Outline(0.260, 0.76, 3.5, taper=0.07, lift=0.05, cut=0.09, hinge=0.62),
    "cat-eye": Outline(0.262, 0.66, 2.5, taper=0.08, lift=0.26, cut=0.10, hinge=0.80),
    "browline": Outline(0.250, 0.76, 2.7, taper=0.07, cut=0.08, hinge=0.66),
    "aviator": Outline(0.266, 0.84, 2.45, taper=0.03, droop=0.08, cut=0.30, hinge=0.66),
    "half-rim": Outline(0.264, 0.58, 3.1, taper=0.03, cut=0.06),
    "rimless": Outline(0.258, 0.62, 2.7, cut=0.05, hinge=0.30),
}
SHARES: dict[str, float] = {"round": 0.10, "panto": 0.13, "oval": 0.09, "rectangular": 0.19, "square": 0.17, "cat-eye": 0.06,
                            "browline": 0.07, "aviator": 0.06, "half-rim": 0.08, "rimless": 0.05}
ACETATE_SHARE: dict[str, float] = {"round": 0.25, "panto": 0.6, "oval": 0.3, "rectangular": 0.6, "square": 0.9, "cat-eye": 0.85, "browline": 1.0}
"""Share of frames of plastic; the other shapes are metal."""


@dataclass(frozen=True, slots=True)
class Glasses:
    """A pair of glasses.

    shape: one of OUTLINES; size: of lenses, 1 as listed; height: factor of the lenses' height; acetate: plastic, else metal; rim_dm: width of
    the rim seen from the front, depth_dm from the side; temple_dm: height of the temples at the hinge; drop_dm: lenses' middle below the
    pupils; tilt_deg: the lower rim lies back; colour_srgb, second_srgb RGB 0..255 (the second one of tortoise); tortoise; opacity of the
    frame's plastic; metal_srgb: of metal parts; through (top), through_low (bottom): what lenses let through, linear RGB; coat: colour of
    reflections times their strength; power_dpt; bulge: of the lenses; seed: of the tortoise's pattern.
    """

    shape: str = "rectangular"
    size: float = 1.0
    height: float = 1.0
    acetate: bool = True
    rim_dm: float = 0.03
    depth_dm: float = 0.032
    temple_dm: float = 0.06
    drop_dm: float = 0.03
    tilt_deg: float = 8.0
    colour_srgb: RGB = (24.0, 24.0, 26.0)
    second_srgb: RGB = (24.0, 24.0, 26.0)
    tortoise: bool = False
    opacity: float = 1.0
    metal_srgb: RGB = (176.0, 178.0, 182.0)
    through: RGB = (0.93, 0.93, 0.93)
    through_low: RGB = (0.93, 0.93, 0.93)
    coat: RGB = (0.4, 0.4, 0.4)
    power_dpt: float = -2.0
    bulge: float = 1.0
    seed: int = 1


def sample(seed: int) -> Glasses | None:
    """The glasses of the person of a seed, None for most; always the same. Drawn by a generator of their own, so that everything else
    about a person is what it is without them."""
    rng = np.random.default_rng([seed, 0x61A55])
    return any_glasses(rng) if rng.random() < WEARERS_SHARE else None


def any_glasses(rng: Rng) -> Glasses:
    """A pair at random."""
    shape = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    acetate = bool(rng.random() < ACETATE_SHARE.get(shape, 0.0))
    thick = float(rng.beta(1.6, 2.2))
    rim = 0.020 + 0.030 * thick if acetate else 0.011 + 0.006 * thick
    colour, second, opacity, tortoise = _plastic(rng) if acetate else (*_metal(rng), 1.0, False)
    top, low = _lens(rng)
    coating = int(rng.integers(len(COATINGS)))
    strength = float(rng.uniform(0.7, 1.1) if coating == UNCOATED else rng.uniform(0.08, 0.35))
    r, g, b = (strength * np.array(COATINGS[coating])).tolist()
    return Glasses(
        shape, size=float(np.clip(rng.normal(0.975, 0.05), 0.87, 1.09)), height=float(np.clip(rng.normal(1.0, 0.06), 0.85, 1.15)),
        acetate=acetate, rim_dm=rim, depth_dm=float(0.030 + 0.012 * thick if acetate else 0.015),
        temple_dm=float(0.045 + 0.06 * thick * rng.uniform(0.5, 1.0) if acetate else rng.uniform(0.018, 0.034)),
        drop_dm=float(rng.uniform(0.0, 0.055)), tilt_deg=float(rng.uniform(5, 11)), colour_srgb=colour, second_srgb=second, tortoise=tortoise,
        opacity=opacity, metal_srgb=METAL_SRGB[int(rng.integers(len(METAL_SRGB)))] if acetate else colour, through=top, through_low=low,
        coat=(r, g, b), power_dpt=float(np.clip(rng.normal(-1.6, 2.2), -7, 3.5)), bulge=float(rng.uniform(0.5, 1.3)),
        seed=int(rng.integers(1 << 30)))


def _plastic(rng: Rng) -> tuple[RGB, RGB, float, bool]:
    """Colour, second colour, opacity, tortoise."""
    roll = rng.random()
    if roll < 0.48:
        colour = DARK_SRGB[0] if rng.random() < 0.45 else DARK_SRGB[int(rng.integers(len(DARK_SRGB)))]
        return colour, colour, 1.0, False
    if roll < 0.76:
        colour, second = TORTOISE_SRGB[int(rng.integers(len(TORTOISE_SRGB)))]
        return colour, second, float(rng.uniform(0.9, 1.0)), True
    if roll < 0.90:
        colour = CLEAR_SRGB[int(rng.integers(len(CLEAR_SRGB)))]
        return colour, colour, float(rng.uniform(0.18, 0.38)), False
    colour = BRIGHT_SRGB[int(rng.integers(len(BRIGHT_SRGB)))]
    return colour, colour, 1.0, False


def _metal(rng: Rng) -> tuple[RGB, RGB]:
    colour = METAL_SRGB[int(rng.integers(len(METAL_SRGB)))]
    return colour, colour


def _lens(rng: Rng) -> tuple[RGB, RGB]:
    """What passes at the lens' top and bottom."""
    roll = rng.random()
    if roll >= TINTED_SHARE + DARK_SHARE:
        clear = float(rng.uniform(0.90, 0.97))
        return (clear, clear, clear * 0.99), (clear, clear, clear * 0.99)
    if roll < DARK_SHARE:
        level, low = float(rng.uniform(0.03, 0.12)), 1.0
    else:
        level, low = float(rng.uniform(0.35, 0.75)), float(rng.choice([1.0, rng.uniform(1.0, 1.6)]))
    tint = np.array(TINTS[int(rng.integers(len(TINTS)))]) * level
    top = np.clip(tint, 0, 0.96).tolist()
    bottom = np.clip(tint * low, 0, 0.96).tolist()
    return (top[0], top[1], top[2]), (bottom[0], bottom[1], bottom[2])


def paint(glasses: Glasses) -> Bytes:
    """The frame's texture (TEXTURE, TEXTURE, 4) uint8 sRGB, row 0 at v = 1."""
    out = np.full((TEXTURE, TEXTURE, 4), 255, np.uint8)
    half = TEXTURE // 2
    out[:half, :, :3] = np.rint(_pattern(glasses, half)).astype(np.uint8)
    out[half:half + half // 2, :, :3] = np.rint(glasses.metal_srgb).astype(np.uint8)
    out[half + half // 2:, :, :3] = np.rint(PAD_SRGB).astype(np.uint8)
    return out


def _pattern(glasses: Glasses, rows: int) -> Floats:
    """The front's colours (rows, TEXTURE, 3): plain, or tortoise's blotches."""
    base = np.broadcast_to(np.array(glasses.colour_srgb, np.float32), (rows, TEXTURE, 3))
    if not glasses.tortoise:
        return base.copy()
    rng = np.random.default_rng(glasses.seed)
    cloud = sum(w * cv2.resize(rng.standard_normal((max(n // 2, 2), n)).astype(np.float32), (TEXTURE, rows), interpolation=cv2.INTER_CUBIC)
                for n, w in ((10, 1.0), (22, 0.6), (48, 0.25)))
    part = 1 / (1 + np.exp(-(np.asarray(cloud, np.float32) + 0.15) * 3.0))[..., None]
    return (base * (1 - part) + np.array(glasses.second_srgb, np.float32) * part).astype(np.float32)


def outline_points(shape: str, height: float, count: int) -> Floats:
    """A lens' edge (count, 2) at equal steps, counter-clockwise from the outermost point; x outwards from the nose, y up, half its width is 1."""
    o = OUTLINES[shape]
    angle = np.linspace(0, 2 * np.pi, 721)
    c, s = np.cos(angle), np.sin(angle)
    u = np.sign(c) * np.abs(c) ** (2 / o.power)
    v = np.sign(s) * np.abs(s) ** (2 / o.power)
    outer, nasal = np.clip(u, 0, 1), np.clip(-u, 0, 1)
    x = u * (1 + o.taper * v) + o.cut * nasal * np.clip(-v, 0, 1) ** 1.5 * 1.6
    y = v - o.droop * u + o.lift * outer ** 2 * np.clip(v, 0, 1)
    xy = np.stack([x, y * o.ratio * height], 1)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(xy, axis=0), axis=1))])
    at = np.linspace(0, along[-1], count, endpoint=False)
    return np.stack([np.interp(at, along, xy[:, k]) for k in range(2)], 1).astype(np.float32)
