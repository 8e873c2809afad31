"""Textures of a person: skin tone by pigments, beard, make-up, scalp, iris and hair colours.

Colour is changed in optical density (minus the logarithm of linear reflectance), along the axes
of melanin and haemoglobin (Tsumura et al. 2003), so that any amount stays a possible skin.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.synth.assets import Bytes, Floats, ObjMesh

LIGHT_SRGB = (226.0, 186.0, 166.0)
DARK_SRGB = (78.0, 50.0, 38.0)
"""Mean face colours of the lightest and darkest skins drawn: the melanin axis runs between."""
TABLE_STEPS = 4096
HAEMOGLOBIN = np.array([0.10, 1.0, 0.75])
"""Relative absorption of haemoglobin in red, green and blue."""


@dataclass(frozen=True, slots=True)
class SkinMaps:
    """albedo (S, S, 3) uint8 sRGB; slopes (S, S, 2) int8: height gradient along +u and +v (127 =
    strongest); gloss (S, S) uint8 highlight strength; pigment (S, S, 3) uint8 sRGB: the part of the
    albedo that hair and make-up give, which does not follow the skin's tone."""

    albedo: Bytes
    slopes: NDArray[np.int8]
    gloss: Bytes
    pigment: Bytes

    def shrunk(self, size: int) -> SkinMaps:
        """The same at a smaller size; colours are averaged in linear light."""
        def colour(image: Bytes) -> Bytes:
            small = cv2.resize(from_bytes(image), (size, size), interpolation=cv2.INTER_AREA)
            return to_bytes(small)

        slopes = cv2.resize(self.slopes.astype(np.float32), (size, size),
                            interpolation=cv2.INTER_AREA)
        gloss = cv2.resize(self.gloss, (size, size), interpolation=cv2.INTER_AREA)
        return SkinMaps(colour(self.albedo), np.rint(slopes).astype(np.int8), gloss,
                        colour(self.pigment))


@dataclass(frozen=True, slots=True)
class SkinLook:
    """melanin 0..1; blood -0.2..0.3 added haemoglobin; age_detail: strength of texture detail;
    beard 0..1 and its colour; lipstick, eyeshadow, blush: strength and sRGB colours; hair_srgb
    tints the scalp; freckles 0..1; stubble 0..1."""

    melanin: float = 0.2
    blood: float = 0.0
    detail: float = 1.0
    beard: float = 0.0
    stubble: float = 0.0
    hair_srgb: tuple[float, float, float] = (50.0, 38.0, 30.0)
    lipstick: float = 0.0
    lipstick_srgb: tuple[float, float, float] = (165.0, 60.0, 70.0)
    eyeshadow: float = 0.0
    eyeshadow_srgb: tuple[float, float, float] = (90.0, 62.0, 60.0)
    blush: float = 0.0
    freckles: float = 0.0
    scalp: float = 0.9
    seed: int = 1


def to_linear(srgb: NDArray[np.floating]) -> Floats:
    """sRGB 0..255 to linear 0..1."""
    c = np.asarray(srgb, np.float32) / np.float32(255)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float32)


def to_srgb(linear: NDArray[np.floating]) -> Floats:
    """Linear 0..1 (clipped) to sRGB 0..255."""
    c = np.clip(np.asarray(linear, np.float32), 0, 1)
    return (255 * np.where(c <= 0.0031308, c * 12.92, 1.055 * c ** (1 / 2.4) - 0.055)
            ).astype(np.float32)


@lru_cache(maxsize=1)
def _linear_table() -> Floats:
    return to_linear(np.arange(256, dtype=np.float32))


@lru_cache(maxsize=1)
def _srgb_table() -> Bytes:
    """sRGB of linear light, at steps of its square root."""
    x = (np.arange(TABLE_STEPS, dtype=np.float32) / (TABLE_STEPS - 1)) ** 2
    return np.rint(to_srgb(x)).astype(np.uint8)


def from_bytes(srgb: Bytes) -> Floats:
    """sRGB uint8 to linear 0..1, by a table."""
    return np.take(_linear_table(), srgb)


def to_bytes(linear: Floats) -> Bytes:
    """Linear 0..1 (clipped) to sRGB uint8, by a table."""
    index = np.sqrt(np.clip(linear, 0, 1)) * np.float32(TABLE_STEPS - 1)
    return np.take(_srgb_table(), (index + np.float32(0.5)).astype(np.uint16))


def bake(mesh: ObjMesh, keep: NDArray[np.int32], value: Floats, size: int) -> Floats:
    """Paint a per-vertex value (V,) into texture space (size, size) float32, row 0 at v = 1."""
    out = np.zeros((size, size), np.float32)
    uv = mesh.uvs[mesh.tri_uv[keep]] * np.float32(size) - np.float32(0.5)
    uv[..., 1] = size - 1 - uv[..., 1]
    corner = value[mesh.tri[keep]]
    _bake_triangles(uv, corner, out)
    return out


def _bake_triangles(uv: Floats, corner: Floats, out: Floats) -> None:
    from engines.synth.raster import raster_ids

    count = len(uv)
    flat = np.ascontiguousarray(uv.reshape(-1, 2))
    tri = np.arange(count * 3, dtype=np.int32).reshape(-1, 3)
    ids = np.full(out.shape, -1, np.int32)
    bary = np.zeros((*out.shape, 2), np.float32)
    depth = np.zeros(out.shape, np.float32)
    raster_ids(np.ascontiguousarray(flat[:, 0]), np.ascontiguousarray(flat[:, 1]),
               np.ones(count * 3, np.float32), tri, np.zeros(count, np.uint8), depth, ids, bary)
    hit = ids >= 0
    c = corner[ids[hit]]
    b = bary[hit]
    out[hit] = c[:, 0] * b[:, 0] + c[:, 1] * b[:, 1] + c[:, 2] * (1 - b.sum(1))


def tone_density(look: SkinLook) -> Floats:
    """Optical density (3,) of a look's mean skin in red, green and blue."""
    light = -np.log(to_linear(np.array(LIGHT_SRGB)))
    dark = -np.log(to_linear(np.array(DARK_SRGB)))
    out = light + look.melanin * (dark - light) + look.blood * HAEMOGLOBIN
    return np.asarray(out, np.float32)


def shift_tone(linear: Floats, mean: Floats, look: SkinLook) -> Floats:
    """Move a skin texture (S, S, 3) whose mean face colour is `mean` to a look's pigments."""
    wanted = tone_density(look)
    density = -np.log(np.clip(linear, 0.004, 1))
    centre = -np.log(np.clip(mean, 0.004, 1)).astype(np.float32)
    deviation = density - centre
    grey = deviation.mean(2, keepdims=True)
    # Much melanin hides most of the blood's redness beneath it.
    chroma = (deviation - grey) * (1.0 - 0.6 * look.melanin)
    detail = grey * (1.0 - 0.25 * look.melanin) * look.detail
    return np.exp(-(wanted + detail + chroma)).astype(np.float32)


def mix(linear: Floats, colour_srgb: tuple[float, float, float], amount: Floats,
        pigment: Floats | None = None) -> Floats:
    """Cover linear (S, S, 3) by a pigment of a colour, keeping half of the detail beneath.

    pigment (S, S, 3): what pigments gave so far; is brought up to date in place.
    """
    colour = to_linear(np.array(colour_srgb))
    lum = linear.mean(2, keepdims=True)
    detail = lum / np.maximum(cv2.GaussianBlur(lum, (0, 0), 6)[..., None], np.float32(1e-3))
    a = amount.astype(np.float32)[..., None]
    painted = colour * (np.float32(0.45) + np.float32(0.55) * detail) * a
    if pigment is not None:
        pigment *= 1 - a
        pigment += painted
    return (linear * (1 - a) + painted).astype(np.float32)


def strands(size: int, seed: int, length: int = 9, density: float = 0.10) -> Floats:
    """Noise (size, size) 0..1 of short strands, for beards and shaved scalps."""
    rng = np.random.default_rng(seed)
    dots = (rng.random((size, size)) > 1 - density).astype(np.float32)
    out = np.zeros((size, size), np.float32)
    for angle in (-0.5, 0.0, 0.5):
        kernel = np.zeros((length, length), np.float32)
        c = length // 2
        step = np.array([np.sin(angle), np.cos(angle)]) * c
        p0 = (round(c - step[0]), round(c - step[1]))
        p1 = (round(c + step[0]), round(c + step[1]))
        cv2.line(kernel, p0, p1, 1.0, 1)
        mask = (rng.random((size, size)) > 0.66).astype(np.float32)
        out = np.maximum(out, cv2.filter2D(dots * mask, -1, kernel))
    return np.clip(cv2.GaussianBlur(out, (0, 0), 0.6) * 1.5, 0, 1).astype(np.float32)


def height_slopes(linear: Floats) -> NDArray[np.int8]:
    """Pores and wrinkles: gradient of the high-passed logarithm of luminance, int8 (S, S, 2)."""
    lum = np.log(np.clip(linear @ np.array([0.3, 0.5, 0.2], np.float32), 0.01, 1))
    fine = lum - cv2.GaussianBlur(lum, (0, 0), 7)
    spread = float(fine[fine.shape[0] // 3: fine.shape[0] * 2 // 3, -500:-150].std())
    fine = np.clip(fine * min(1.0, 0.035 / max(spread, 1e-3)), -0.2, 0.2)
    fine = cv2.GaussianBlur(fine, (0, 0), 0.8)
    du = cv2.Sobel(fine, -1, 1, 0, ksize=3) / 8
    dv = -cv2.Sobel(fine, -1, 0, 1, ksize=3) / 8
    return np.clip(np.stack([du, dv], 2) * 127 / 0.08, -127, 127).astype(np.int8)


def recolour_iris(texture: Bytes, hue_srgb: tuple[float, float, float], amount: float) -> Bytes:
    """Pull the iris of an eye texture (H, W, 4) towards a colour, keeping its pattern."""
    rgb = from_bytes(texture[..., :3])
    low, high = rgb.min(2), rgb.max(2)
    saturation = (high - low) / np.maximum(high, 1e-3)
    height, width = saturation.shape
    yy, xx = np.mgrid[:height, :width]
    weight = np.zeros((height, width), np.float32)
    # The two irises' centres in the shared UV layout of all eye textures.
    for cx, cy in ((0.289, 0.709), (0.705, 0.297)):
        radius = np.hypot(xx / width - cx, yy / height - cy)
        weight = np.maximum(weight, np.clip((0.124 - radius) / 0.012, 0, 1))
    weight *= np.clip(0.5 + saturation * 2, 0, 1)
    lum = rgb @ np.array([0.3, 0.5, 0.2], np.float32)
    mean = float((lum * weight).sum() / max(float(weight.sum()), 1.0))
    target = to_linear(np.array(hue_srgb)) * (lum / max(mean, 1e-3))[..., None]
    a = (weight * amount)[..., None]
    out = texture.copy()
    out[..., :3] = to_srgb(rgb * (1 - a) + target * a).astype(np.uint8)
    return out


def recolour_hair(texture: Bytes, colour_srgb: tuple[float, float, float],
                  contrast: float = 1.0) -> Floats:
    """A hair texture (H, W, 4) uint8 in another colour: float32 (H, W, 5), linear RGB, alpha, rank.

    The texture's luminance, divided by its mean where it is opaque, modulates the colour. rank
    0..1 tells which strands stay when the hair thins out.
    """
    rgb = from_bytes(texture[..., :3])
    alpha = texture[..., 3].astype(np.float32) / 255
    lum = rgb @ np.array([0.3, 0.5, 0.2], np.float32)
    mean = float((lum * alpha).sum() / max(float(alpha.sum()), 1.0))
    rel = (np.clip(lum / max(mean, 1e-4), 0.05, 4.0) ** (0.75 * contrast) if contrast > 0
           else np.ones_like(lum))
    out = np.empty((*alpha.shape, 5), np.float32)
    out[..., :3] = to_linear(np.array(colour_srgb)) * rel[..., None]
    out[..., 3] = alpha
    fine = np.log(np.maximum(lum, 1e-3))
    fine = fine - cv2.GaussianBlur(fine, (0, 0), 4)
    out[..., 4] = np.clip(0.5 + fine / max(4 * float(fine.std()), 1e-3), 0, 1)
    return _bleed(out)


def _bleed(rgba: Floats) -> Floats:
    """Let colours run under transparent texels, so that filtering draws no dark fringe."""
    weight = rgba[..., 3:4]
    blurred = cv2.GaussianBlur(rgba[..., :3] * weight, (0, 0), 3)
    total = cv2.GaussianBlur(weight, (0, 0), 3)[..., None]
    filled = blurred / np.maximum(total, 1e-3)
    out = rgba.copy()
    out[..., :3] = np.where(weight > 0.1, rgba[..., :3], filled)
    return out


def temper_white(eye: Bytes) -> Bytes:
    """Temper the white of an eye texture, which glares beside dark skin."""
    rgb = from_bytes(eye[..., :3])
    lum = rgb.mean(2, keepdims=True)
    white = np.clip((lum - 0.25) / 0.3, 0, 1)
    out = eye.copy()
    out[..., :3] = to_srgb(rgb * (1 - 0.06 * white)).astype(np.uint8)
    return out


def brighten_teeth(teeth: Bytes) -> Bytes:
    """Teeth lighter and a little warm; gums stay."""
    rgb = from_bytes(teeth[..., :3])
    low, high = rgb.min(2), rgb.max(2)
    grey = np.clip(1 - 3 * (high - low) / np.maximum(high, 1e-3), 0, 1)[..., None]
    tooth = np.clip(rgb ** 0.7 * np.array([1.0, 0.93, 0.80]), 0, 0.86)
    out = teeth.copy()
    out[..., :3] = to_srgb(rgb * (1 - grey) + tooth * grey).astype(np.uint8)
    return out


def dye(cloth: Bytes, colour_srgb: tuple[float, float, float]) -> Bytes:
    """Dye a garment's texture in one colour, keeping its folds."""
    rgb = from_bytes(cloth[..., :3])
    lum = rgb @ np.array([0.3, 0.5, 0.2], np.float32)
    broad = cv2.GaussianBlur(lum, (0, 0), 12)
    folds = np.clip(lum / np.maximum(broad, 1e-3), 0.6, 1.4) ** 0.8
    out = cloth.copy()
    out[..., :3] = to_srgb(to_linear(np.array(colour_srgb)) * folds[..., None]).astype(np.uint8)
    return out
