"""What a webcam does to a picture: light metering, optics, sensor, processing, compression.

`sample(rng)` picks a camera, `apply(picture, settings, noise_seed)` puts a rendered picture through it. Nothing in it depends
on the picture's content, so two pictures of one scene (the wearer and the truth) come out of the same camera; another noise
seed is the next frame of a still scene.

Convention: pictures are (H, W, 3) uint8 BGR; lengths are pixels of the picture given; angles run clockwise from the x axis.
Chains of operations on each pixel are compiled to one pass each.
Noise model: variance = shot * signal + read^2 in linear light (EMVA 1288, photon transfer), correlated as by demosaicing.
"""

# pyright: reportUntypedFunctionDecorator=false
from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numba import njit

from engines.synth.assets import Bytes, Floats
from engines.synth.skin import to_linear, to_srgb

LOW_LIGHT_SHARE = 0.18
"""Share of cameras in a dim room: high gain, denoising, a veil over black."""
TABLE_STEPS = 4096
TABLE_TOP = 1.5
"""Linear light at the end of the encoding table; brighter is white."""
CURVE_STEPS = 4096
"""Steps of the table of gamma and contrast, which is interpolated."""
MIDDLE_GREY = 118
BLOCK_PX = 8
LUMA = np.array([0.114, 0.587, 0.299], np.float32)
"""BT.601 weights of B, G, R."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One camera. The default leaves a picture (nearly) as it is.

    exposure_ev: stops; white_balance: gains of B, G, R; gamma > 1 darkens the middle; contrast about middle grey; veil: grey
    levels added to black; saturation 1 is unchanged; resolution: share of the picture's side that the sensor resolves;
    lens_blur_px, motion_px (length), motion_deg; shot, read: see the module; chroma: how much of the noise differs from colour
    to colour, 0..1; grain_px: correlation of the noise; denoise 0..1; sharpen: unsharp mask's amount; jpeg_quality and
    block_quality (H.264-like: coarse blocks, edges smoothed) 1..100, 0 is off.
    """

    exposure_ev: float = 0.0
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    contrast: float = 1.0
    veil: float = 0.0
    saturation: float = 1.0
    resolution: float = 1.0
    lens_blur_px: float = 0.0
    motion_px: float = 0.0
    motion_deg: float = 0.0
    shot: float = 0.0
    read: float = 0.0
    chroma: float = 0.4
    grain_px: float = 0.5
    denoise: float = 0.0
    sharpen: float = 0.0
    jpeg_quality: int = 0
    block_quality: int = 0


def sample(rng: np.random.Generator, strength: float = 1.0) -> Settings:
    """A camera at random, from a good one in daylight to a poor one in a dim room; strength 0..1 tempers all of it."""
    dim = bool(rng.random() < LOW_LIGHT_SHARE * strength)
    warm, tint = rng.normal(0, 0.10 * strength), rng.normal(0, 0.025 * strength)
    moving = rng.random() < 0.15 * strength
    shot = 10 ** rng.uniform(-3.4, -2.7) if dim else 10 ** rng.uniform(-5.0, -3.4)
    codec = rng.random()
    return Settings(
        exposure_ev=float(np.clip(rng.normal(-0.45 if dim else 0.0, 0.30 * strength), -1.6, 0.7)),
        white_balance=(float(np.exp(-warm)), float(np.exp(tint)), float(np.exp(warm))),
        gamma=float(np.exp(rng.normal(0, 0.10 * strength))),
        contrast=float(np.exp(rng.normal(0, 0.08 * strength))),
        veil=float(rng.uniform(0, 16 if dim else 5) * strength),
        saturation=float(np.clip(rng.normal(0.75 if dim else 1.0, 0.14 * strength), 0.3, 1.5)),
        resolution=float(rng.uniform(0.45, 1.0)) if rng.random() < 0.35 * strength else 1.0,
        lens_blur_px=float(rng.gamma(2.0, 0.28) * strength),
        motion_px=float(rng.uniform(2, 9) * strength) if moving else 0.0,
        motion_deg=float(rng.uniform(0, 180)),
        shot=float(shot * strength), read=float(10 ** rng.uniform(-3.6, -2.5 if dim else -2.9) * strength),
        chroma=float(rng.uniform(0.2, 0.8)), grain_px=float(rng.uniform(0.3, 1.1)),
        denoise=float(rng.uniform(0.3, 0.9)) * strength if dim else float(rng.uniform(0, 0.35)) * strength,
        sharpen=float(rng.uniform(0, 0.7) * strength),
        jpeg_quality=int(rng.integers(55, 97)) if codec < 0.7 * strength else 0,
        block_quality=int(rng.integers(18, 50)) if codec > 1 - 0.22 * strength else 0)


def apply(picture: Bytes, settings: Settings, noise_seed: int) -> Bytes:
    """`picture` (H, W, 3) uint8 BGR as this camera gives it: a new (H, W, 3) uint8 BGR; equal arguments, equal pixels.

    Raises ValueError for another shape or type.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"expected a picture (H, W, 3) uint8 BGR, found {picture.shape} {picture.dtype}; convert it first")
    s = settings
    light = _optics(_linear(picture), s)
    gains = np.array(s.white_balance, np.float32) * np.float32(2.0 ** s.exposure_ev)
    image = _encoded(light, gains, _noise(light.shape[:2], s, noise_seed), s.shot, s.read ** 2, _srgb_table())
    return _compress(_develop(image, s), s)


def _linear(picture: Bytes) -> Floats:
    return cv2.LUT(picture, _linear_table()).astype(np.float32, copy=False)


@lru_cache(maxsize=1)
def _linear_table() -> Floats:
    return np.ascontiguousarray(to_linear(np.arange(256, dtype=np.float32)), np.float32)


@lru_cache(maxsize=1)
def _srgb_table() -> Floats:
    """sRGB 0..255 of linear light, at steps of its square root."""
    x = (np.arange(TABLE_STEPS, dtype=np.float32) / (TABLE_STEPS - 1)) ** 2 * TABLE_TOP
    return np.asarray(to_srgb(np.minimum(x, 1)), np.float32)


@njit(cache=True, fastmath=True, error_model="numpy")
def _encoded(light: Floats, gains: Floats, noise: Floats, shot: float, read: float, table: Floats) -> Floats:
    """The picture 0..255 (H, W, 3) float32 of linear light (H, W, 3) times gains (3,), with noise (H, W, 3) of unit strength whose variance
    is shot * light + read; noise (0, 0, 3): none."""
    f = np.float32
    height, width, colours = light.shape
    out = np.empty((height, width, colours), np.float32)
    noisy = noise.shape[0] > 0
    scale, top, shot, read = f((TABLE_STEPS - 1) / TABLE_TOP ** 0.5), f(TABLE_TOP), f(shot), f(read)
    for j in range(height):
        for i in range(width):
            for c in range(colours):
                x = light[j, i, c] * gains[c]
                if noisy:
                    x += noise[j, i, c] * math.sqrt(shot * max(x, f(0)) + read)
                out[j, i, c] = table[int(math.sqrt(min(max(x, f(0)), top)) * scale + f(0.5))]
    return out


def _optics(light: Floats, s: Settings) -> Floats:
    height, width = light.shape[:2]
    if s.lens_blur_px > 0.2:
        light = cv2.GaussianBlur(light, (0, 0), s.lens_blur_px)
    if s.motion_px > 1:
        light = cv2.filter2D(light, -1, motion_kernel(s.motion_px, s.motion_deg), borderType=cv2.BORDER_REFLECT)
    if s.resolution < 0.98:
        size = (max(8, round(width * s.resolution)), max(8, round(height * s.resolution)))
        light = cv2.resize(light, size, interpolation=cv2.INTER_AREA)
        light = cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR)
    return light


def motion_kernel(length_px: float, angle_deg: float) -> Floats:
    """A straight line's kernel (K, K) float32 that sums to 1, drawn antialiased through its middle."""
    half = max(1, int(np.ceil(length_px / 2)))
    side = 2 * half + 1
    kernel = np.zeros((side, side), np.uint8)
    a = np.deg2rad(angle_deg)
    d = np.array([np.cos(a), np.sin(a)]) * length_px / 2
    ends = np.rint((np.array([-d, d]) + half) * 256).astype(int)
    cv2.line(kernel, tuple(ends[0].tolist()), tuple(ends[1].tolist()), 255, 1, cv2.LINE_AA, 8)
    out = kernel.astype(np.float32)
    return out / max(float(out.sum()), 1.0)


def _noise(size: tuple[int, int], s: Settings, noise_seed: int) -> Floats:
    """Noise (H, W, 3) of unit strength for a size (height, width); (0, 0, 3) for a camera without."""
    if s.shot <= 0 and s.read <= 0:
        return np.zeros((0, 0, 3), np.float32)
    rng = np.random.default_rng(noise_seed)
    noise = rng.standard_normal((*size, 3), np.float32)
    common = rng.standard_normal(size, np.float32)
    soft = s.grain_px > 0.35
    _mix(noise, common, s.chroma, float(np.sqrt(max(0.0, 1 - s.chroma ** 2))), 1 / _kept(s.grain_px) if soft else 1.0)
    return cv2.GaussianBlur(noise, (0, 0), s.grain_px) if soft else noise


@njit(cache=True, fastmath=True, error_model="numpy")
def _mix(own: Floats, common: Floats, share: float, common_share: float, gain: float) -> None:
    """Noise of each colour (H, W, 3) and of all (H, W), mixed in the first."""
    a, b = np.float32(share * gain), np.float32(common_share * gain)
    for j in range(own.shape[0]):
        for i in range(own.shape[1]):
            rest = common[j, i] * b
            for c in range(own.shape[2]):
                own[j, i, c] = own[j, i, c] * a + rest


@lru_cache(maxsize=64)
def _kept(sigma_px: float) -> float:
    """What a Gaussian blur leaves of the standard deviation of white noise."""
    row = cv2.getGaussianKernel(2 * int(np.ceil(4 * sigma_px)) + 1, sigma_px)
    return float((row ** 2).sum())


def _develop(image: Floats, s: Settings) -> Bytes:
    """The camera's own processing of the encoded picture, 0..255 float32."""
    soft = cv2.bilateralFilter(image, 5, 12 + 40 * s.denoise, 1.6) if s.denoise > 0.02 else image
    image = _toned(image, soft, s.denoise, _curve(s.gamma, s.contrast), s.saturation, LUMA)
    sharpen = s.sharpen if s.sharpen > 0.02 else 0.0
    return _finished(image, cv2.GaussianBlur(image, (0, 0), 1.1) if sharpen else image, sharpen, s.veil)


def _curve(gamma: float, contrast: float) -> Floats:
    """Gamma and contrast at CURVE_STEPS + 1 levels 0..255; the last one twice. Empty when they change nothing."""
    if gamma == 1.0 and contrast == 1.0:
        return np.zeros(0, np.float32)
    x = np.minimum(np.arange(CURVE_STEPS + 2), CURVE_STEPS) / CURVE_STEPS
    return ((255 * x ** gamma - MIDDLE_GREY) * contrast + MIDDLE_GREY).astype(np.float32)


@njit(cache=True, fastmath=True, error_model="numpy")
def _toned(image: Floats, soft: Floats, denoise: float, curve: Floats, saturation: float, luma: Floats) -> Floats:
    """image (H, W, 3) mixed with its soft form, on the curve, with its colours drawn together or apart."""
    f = np.float32
    out = np.empty_like(image)
    part, colourful = f(denoise), f(saturation)
    scale = f(CURVE_STEPS / 255)
    curved = curve.shape[0] > 0
    for j in range(image.shape[0]):
        for i in range(image.shape[1]):
            grey = f(0)
            for c in range(3):
                x = image[j, i, c] + (soft[j, i, c] - image[j, i, c]) * part
                if curved:
                    x = min(max(x, f(0)), f(255)) * scale
                    k = int(x)
                    x = curve[k] + (curve[k + 1] - curve[k]) * (x - f(k))
                out[j, i, c] = x
                grey += x * luma[c]
            for c in range(3):
                out[j, i, c] = grey + (out[j, i, c] - grey) * colourful
    return out


@njit(cache=True, fastmath=True, error_model="numpy")
def _finished(image: Floats, soft: Floats, sharpen: float, veil: float) -> Bytes:
    """image (H, W, 3) sharpened against its soft form, lightened by a veil, as uint8."""
    f = np.float32
    out = np.empty(image.shape, np.uint8)
    amount, keep, added = f(sharpen), f(1 - veil / 255), f(veil)
    for j in range(image.shape[0]):
        for i in range(image.shape[1]):
            for c in range(3):
                x = (image[j, i, c] + (image[j, i, c] - soft[j, i, c]) * amount) * keep + added
                out[j, i, c] = np.uint8(np.rint(min(max(x, f(0)), f(255))))
    return out


def _jpeg(picture: Bytes, quality: int) -> Bytes:
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"expected a picture that JPEG can hold, found {picture.shape}; give at least 1 x 1 pixels")
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _compress(picture: Bytes, s: Settings) -> Bytes:
    if s.block_quality > 0:
        coarse = _jpeg(picture, s.block_quality)
        # A video codec's deblocking filter: smooth across the blocks' edges only.
        smooth = cv2.blur(coarse, (3, 3))
        edge = np.zeros(picture.shape[:2], bool)
        for k in (0, BLOCK_PX - 1):
            edge[k::BLOCK_PX], edge[:, k::BLOCK_PX] = True, True
        picture = np.where(edge[..., None], smooth, coarse)
    return _jpeg(picture, s.jpeg_quality) if s.jpeg_quality > 0 else picture
