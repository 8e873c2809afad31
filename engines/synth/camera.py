"""What a webcam does to a picture: light metering, optics, sensor, processing, compression.

`sample(rng)` picks a camera, `apply(picture, settings, noise_seed)` puts a rendered picture through it. Nothing in it depends
on the picture's content, so two pictures of one scene (the wearer and the truth) come out of the same camera; another noise
seed is the next frame of a still scene.

Convention: pictures are (H, W, 3) uint8 BGR; lengths are pixels of the picture given; angles run clockwise from the x axis.
Noise model: variance = shot * signal + read^2 in linear light (EMVA 1288, photon transfer), correlated as by demosaicing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from engines.synth.assets import Bytes, Floats
from engines.synth.skin import to_linear, to_srgb

LOW_LIGHT_SHARE = 0.18
"""Share of cameras in a dim room: high gain, denoising, a veil over black."""
TABLE_STEPS = 4096
TABLE_TOP = 1.5
"""Linear light at the end of the encoding table; brighter is white."""
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
    light *= np.array(s.white_balance, np.float32) * np.float32(2.0 ** s.exposure_ev)
    image = _encode(_sense(light, s, noise_seed))
    image = _develop(image, s)
    out = cv2.convertScaleAbs(np.clip(image, 0, 255))
    return _compress(out, s)


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


def _encode(light: Floats) -> Floats:
    index = np.sqrt(np.clip(light, 0, TABLE_TOP)) * np.float32((TABLE_STEPS - 1) / TABLE_TOP ** 0.5)
    return np.take(_srgb_table(), (index + np.float32(0.5)).astype(np.uint16))


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


def _sense(light: Floats, s: Settings, noise_seed: int) -> Floats:
    """Linear light with shot and read noise."""
    if s.shot <= 0 and s.read <= 0:
        return light
    rng = np.random.default_rng(noise_seed)
    height, width = light.shape[:2]
    own = rng.standard_normal((height, width, 3), np.float32)
    common = rng.standard_normal((height, width, 1), np.float32)
    noise = own * np.float32(s.chroma) + common * np.float32(np.sqrt(max(0.0, 1 - s.chroma ** 2)))
    if s.grain_px > 0.35:
        noise = cv2.GaussianBlur(noise, (0, 0), s.grain_px)
        noise /= np.float32(_kept(s.grain_px))
    deviation = np.sqrt(np.float32(s.shot) * np.maximum(light, 0) + np.float32(s.read ** 2))
    return light + noise * deviation


@lru_cache(maxsize=64)
def _kept(sigma_px: float) -> float:
    """What a Gaussian blur leaves of the standard deviation of white noise."""
    row = cv2.getGaussianKernel(2 * int(np.ceil(4 * sigma_px)) + 1, sigma_px)
    return float((row ** 2).sum())


def _develop(image: Floats, s: Settings) -> Floats:
    """The camera's own processing of the encoded picture, 0..255 float32."""
    if s.denoise > 0.02:
        soft = cv2.bilateralFilter(image, 5, 12 + 40 * s.denoise, 1.6)
        image = cv2.addWeighted(image, 1 - s.denoise, soft, s.denoise, 0)
    if s.gamma != 1.0 or s.contrast != 1.0:
        image = 255 * np.power(np.clip(image, 0, 255) / 255, np.float32(s.gamma))
        image = (image - 118) * np.float32(s.contrast) + 118
    if s.saturation != 1.0:
        grey = (image @ LUMA)[..., None]
        image = grey + (image - grey) * np.float32(s.saturation)
    if s.sharpen > 0.02:
        image = cv2.addWeighted(image, 1 + s.sharpen, cv2.GaussianBlur(image, (0, 0), 1.1), -s.sharpen, 0)
    if s.veil > 0:
        image = image * np.float32(1 - s.veil / 255) + np.float32(s.veil)
    return image


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
