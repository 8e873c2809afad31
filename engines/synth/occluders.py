"""Things in front of a face: hands, microphones, cups, phones, medical masks, strands of hair, sheets of paper.

`place` puts one before a face given by its landmarks, in the face's own scale and turn; `over` lays it, with its soft shadow,
over a picture. The same Occluder goes over the wearer and over the truth.

Convention: pictures are (H, W, 3) uint8 BGR, positions pixels (pixel centres), sizes millimetres of a grown-up's face. Skin tones
are RGB 0..255 as they appear in the picture. Five points: as in `labels`, image-left eye and mouth corner first.
"""

# pyright: reportUntypedFunctionDecorator=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from engines.synth import _things as things
from engines.synth.assets import Bytes, Floats
from engines.synth.film import tone
from engines.synth.hand import LIST_OF_POSES, View, draw_hand, mask_of
from engines.synth.light import ROOM_COOL, ROOM_DAY, ROOM_SIDE, ROOM_WARM, SOFT_FRONT, Light

EYES_MM, DOWN_MM = 64.0, 69.0
"""Between the eyes' middles; from there down to the mouth (means of adults)."""
MESH_FIVE = ((33, 133), (362, 263), (1, 1), (61, 61), (291, 291))
"""The five points on MediaPipe's mesh: corners of an eye, nose tip, mouth corners."""
SHADOW_MM = 9.0
LIGHTS = (SOFT_FRONT, ROOM_DAY, ROOM_WARM, ROOM_COOL, ROOM_SIDE)
TARGETS_MM = {"mouth": (0.0, 69.0), "chin": (0.0, 112.0), "nose": (0.0, 36.0), "left cheek": (-46.0, 48.0),
              "right cheek": (46.0, 48.0), "left eye": (-32.0, 0.0), "right eye": (32.0, 0.0), "brow": (0.0, -34.0),
              "left jaw": (-52.0, 88.0), "right jaw": (52.0, 88.0)}
"""Places on the face, from the middle between the eyes: across, down."""


@dataclass(frozen=True, slots=True)
class Occluder:
    """One thing over a whole picture. image (H, W, 3) uint8 BGR, straight colours; alpha (H, W) uint8; shadow (H, W) uint8: how
    much of the light behind it is gone, 255 is all; kind: one of KINDS or HELD_OUT."""

    image: Bytes
    alpha: Bytes
    kind: str
    shadow: Bytes


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a face is. middle_px between the eyes; across, down: (2,) pixels per millimetre; size (width, height) of the picture;
    yaw: -1..1, how far the nose stands to the picture's right; skin_srgb, hair_srgb RGB 0..255."""

    middle_px: Floats
    across: Floats
    down: Floats
    size: tuple[int, int]
    yaw: float
    skin_srgb: tuple[float, float, float]
    hair_srgb: tuple[float, float, float] | None = None

    @property
    def scale_px(self) -> float:
        """Pixels per millimetre."""
        return float(np.linalg.norm(self.across) + np.linalg.norm(self.down)) / 2

    @property
    def roll_deg(self) -> float:
        """The face's turn in the picture, clockwise."""
        return float(np.rad2deg(np.arctan2(self.across[1], self.across[0])))

    def at(self, mm: NDArray[np.floating]) -> Floats:
        """Pixels (..., 2) of points (..., 2) given across and down from the middle of the eyes."""
        mm = np.asarray(mm, np.float32)
        return (self.middle_px + mm[..., :1] * self.across + mm[..., 1:] * self.down).astype(np.float32)


def find_spot(points: NDArray[np.floating], size: tuple[int, int] | int, skin_srgb: tuple[float, float, float],
              hair_srgb: tuple[float, float, float] | None = None) -> Spot:
    """The face's place from five points (5, 2) or a mesh of 468 or 478 (N, 2+). Raises ValueError for other shapes."""
    p = np.asarray(points, np.float32)
    if p.ndim == 2 and len(p) in (468, 478):
        p = np.stack([p[list(pair), :2].mean(0) for pair in MESH_FIVE])
    if p.shape[0] != 5 or p.ndim != 2 or not np.isfinite(p[:, :2]).all():
        raise ValueError(f"expected five points (5, 2) or a mesh (468 or 478, 2 or 3), finite, found {np.shape(points)}")
    p = p[:, :2]
    eyes, mouth = p[:2].mean(0), p[3:].mean(0)
    down = (mouth - eyes) / DOWN_MM
    across = (p[1] - p[0]) / EYES_MM
    # A turned face is narrower, a nod makes it shorter; things keep the size of what is turned less.
    scale = max(float(np.linalg.norm(across)), float(np.linalg.norm(down)), 1e-3)
    down = down / max(float(np.linalg.norm(down)), 1e-6) * scale
    across = np.array([down[1], -down[0]], np.float32)
    yaw = float(np.clip(((p[2] - (eyes + mouth) / 2) @ across) / scale ** 2 / 30.0, -1, 1))
    width, height = (size, size) if isinstance(size, int) else size
    return Spot(eyes, across, down.astype(np.float32), (int(width), int(height)), yaw, skin_srgb, hair_srgb)


def place(rng: np.random.Generator, points: NDArray[np.floating], size: tuple[int, int] | int,
          skin_srgb: tuple[float, float, float] = (190.0, 150.0, 130.0), kind: str | None = None, light: Light | None = None,
          hair_srgb: tuple[float, float, float] | None = None) -> Occluder:
    """A thing at random before the face with these landmarks ((5, 2), or a mesh (468 or 478, 2 or 3)), in pixels of a picture of
    `size` (width, height; or one number). skin_srgb, hair_srgb: the person's, RGB 0..255 as they appear in the picture (hair None:
    any); kind: one of KINDS or HELD_OUT; light: what shines on it. Raises ValueError."""
    chosen = str(rng.choice(list(KINDS), p=list(KINDS.values()))) if kind is None else kind
    if chosen not in DRAWERS:
        raise ValueError(f"occluder {chosen!r} is unknown; choose one of: {', '.join(DRAWERS)}")
    spot = find_spot(points, size, skin_srgb, hair_srgb)
    lamp = LIGHTS[int(rng.integers(len(LIGHTS)))] if light is None else light
    image, alpha = DRAWERS[chosen](rng, spot, lamp)
    colour = cv2.cvtColor(tone(np.asarray(image, np.float32)), cv2.COLOR_RGB2BGR)
    return Occluder(np.clip(colour + 0.5, 0, 255).astype(np.uint8), mask_of(alpha), chosen, _shadow(rng, spot, alpha, lamp))


def over(picture: Bytes, occluder: Occluder) -> Bytes:
    """`picture` (H, W, 3) uint8 BGR behind the occluder: a new picture. Raises ValueError when the sizes differ."""
    if picture.shape != occluder.image.shape:
        raise ValueError(f"expected a picture {occluder.image.shape}, found {picture.shape}; place the occluder at the picture's size")
    return _over(picture, occluder.image, occluder.alpha, occluder.shadow)


@njit(cache=True)
def _over(picture: Bytes, image: Bytes, alpha: Bytes, shadow: Bytes) -> Bytes:
    out = np.empty(picture.shape, np.uint8)
    for j in range(picture.shape[0]):
        for i in range(picture.shape[1]):
            a, shade = np.int32(alpha[j, i]), np.int32(255) - np.int32(shadow[j, i])
            for c in range(3):
                behind = (np.int32(picture[j, i, c]) * shade + 127) // 255
                out[j, i, c] = (behind * (255 - a) + np.int32(image[j, i, c]) * a + 127) // 255
    return out


def _shadow(rng: np.random.Generator, spot: Spot, alpha: Floats, light: Light) -> Bytes:
    lamp = light.lamps[0]
    reach = SHADOW_MM * float(rng.uniform(0.4, 1.6)) * spot.scale_px
    a, e = np.deg2rad([lamp.azimuth_deg, lamp.elevation_deg])
    move = np.array([[1, 0, -np.sin(a) * reach], [0, 1, np.sin(e) * reach]], np.float32)
    height, width = alpha.shape
    moved = cv2.warpAffine(alpha, move, (width, height), borderMode=cv2.BORDER_REPLICATE)
    soft = cv2.GaussianBlur(moved, (0, 0), max(reach * 0.6, 0.6))
    near = cv2.GaussianBlur(alpha, (0, 0), max(reach * 0.35, 0.5))
    return mask_of(np.clip(0.30 * soft + 0.18 * near, 0, 1) * float(rng.uniform(0.6, 1.2)))


def _layered(*layers: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Straight layers, the first behind."""
    image, alpha = layers[0]
    for top, cover in layers[1:]:
        total = cover + alpha * (1 - cover)
        k = (cover / np.maximum(total, 1e-4))[..., None]
        image, alpha = image * (1 - k) + top * k, total
    return image, alpha


def _aim(rng: np.random.Generator, spot: Spot) -> tuple[float, float]:
    base = TARGETS_MM[str(rng.choice(list(TARGETS_MM)))]
    x, y = spot.at(np.array(base) + rng.normal(0, 12, 2))
    return float(x), float(y)


def _hand_over(rng: np.random.Generator, spot: Spot, light: Light, at_px: tuple[float, float], pose: str, anchor: int,
               tilt_deg: float, back: bool) -> tuple[Floats, Floats]:
    mirrored = bool(rng.random() < 0.5)
    view = View(pose, (float(rng.normal(0 if back else 180, 24)), float(rng.normal(0, 20)), spot.roll_deg + tilt_deg),
                at_px, spot.scale_px * float(rng.uniform(0.92, 1.22)), mirrored, anchor)
    skin = tuple(float(np.clip(v * f, 8, 250)) for v, f in zip(spot.skin_srgb, np.exp(rng.normal(0, 0.07) + rng.normal(0, 0.02, 3)), strict=True))
    sleeve = things.dyed(rng) if rng.random() < 0.6 else None
    return draw_hand(rng, view, spot.size, (skin[0], skin[1], skin[2]), light, sleeve)


def _hand(rng: np.random.Generator, spot: Spot, light: Light) -> tuple[Floats, Floats]:
    pose = str(rng.choice(LIST_OF_POSES, p=[0.30, 0.26, 0.12, 0.12, 0.10, 0.10]))
    anchor = 1 if pose == "point" else int(rng.choice([-1, -1, 1, 2]))
    tilt = float(rng.normal(0, 42)) if rng.random() < 0.85 else float(rng.uniform(-180, 180))
    first = _hand_over(rng, spot, light, _aim(rng, spot), pose, anchor, tilt, bool(rng.random() < 0.7))
    if rng.random() > 0.12:
        return first
    return _layered(first, _hand_over(rng, spot, light, _aim(rng, spot), pose, anchor, -tilt, bool(rng.random() < 0.7)))


def _mic(rng: np.random.Generator, spot: Spot, light: Light) -> tuple[Floats, Floats]:
    mic = things.microphone(rng, spot, light)
    if rng.random() > 0.35:
        return mic
    x, y = spot.at(np.array([rng.normal(0, 8), rng.uniform(140, 185)]))
    return _layered(mic, _hand_over(rng, spot, light, (float(x), float(y)), "fist", -1, float(rng.normal(0, 30)), True))


def _held(make: Callable[[np.random.Generator, Spot, Light], tuple[Floats, Floats, Floats]], share: float
          ) -> Callable[[np.random.Generator, Spot, Light], tuple[Floats, Floats]]:
    def draw(rng: np.random.Generator, spot: Spot, light: Light) -> tuple[Floats, Floats]:
        image, alpha, grip = make(rng, spot, light)
        if rng.random() > share:
            return image, alpha
        hand = _hand_over(rng, spot, light, (float(grip[0]), float(grip[1])), "hold", -1, float(rng.normal(0, 35)), True)
        return _layered((image, alpha), hand)
    return draw


Drawer = Callable[[np.random.Generator, Spot, Light], tuple[Floats, Floats]]
DRAWERS: dict[str, Drawer] = {
    "hand": _hand, "microphone": _mic, "cup": _held(things.cup, 0.75), "phone": _held(things.phone, 0.8),
    "mask": things.medical_mask, "strands": things.strands, "thing": things.anything, "paper": _held(things.paper, 0.6)}
KINDS: dict[str, float] = {"hand": 0.42, "microphone": 0.12, "cup": 0.12, "phone": 0.08, "mask": 0.10, "strands": 0.08, "thing": 0.08}
"""What `place` picks from, and how often."""
HELD_OUT = ("paper",)
"""Kinds never picked by chance: for judging what a parser makes of a thing that it has not seen."""
