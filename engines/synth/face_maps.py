"""Where on the skin texture lips, lids, cheeks, beard and scalp are, and the painting of them.

Regions are found once on the neutral base mesh from its own joints and shape, as soft values per
vertex, and baked into texture space.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from engines.synth import skin as sk
from engines.synth.assets import Bytes, Floats, ObjMesh
from engines.synth.expression import action_offsets, joint_of
from engines.synth.identity import base_mesh, local_offsets

SIZE = 2048
HEAD_FROM_U = 0.6
"""The island of the head lies right of this u."""
PLAIN_GLOSS = 90


def _soft(value: Floats, low: float, high: float) -> Floats:
    """Smooth step from 0 at low to 1 at high (either order)."""
    x = np.clip((value - low) / (high - low), 0, 1)
    return (x * x * (3 - 2 * x)).astype(np.float32)


@lru_cache(maxsize=1)
def regions() -> dict[str, Floats]:
    """Region name -> soft value 0..1 in texture space (2048, 2048) float32.

    face, lips, lids, cheeks, beard, moustache, scalp, oily.
    """
    mesh = base_mesh()
    p = mesh.vertices
    keep = mesh.groups["body"]
    keep = keep[p[mesh.tri[keep], 1].min(1) > 4.5]
    # Only the island of the face: the mouth's and the eyes' cavities lie elsewhere.
    uv = mesh.uvs[mesh.tri_uv[keep]].mean(1)
    keep = keep[(uv[:, 0] > 0.62) & (uv[:, 1] > 0.155) & (uv[:, 1] < 0.86)]
    fields = _vertex_fields(mesh)
    return {name: sk.bake(mesh, keep, value, SIZE) for name, value in fields.items()}


def _vertex_fields(mesh: ObjMesh) -> dict[str, Floats]:
    p = mesh.vertices
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    eye = joint_of(p, "l-eye")
    front = _soft(z, 0.2, 0.7)
    lips_y, corner_x = mouth_line(mesh)
    blink = np.abs(action_offsets("eyeBlinkLeft") + action_offsets("eyeBlinkRight")).max(1)
    ex, ey = float(eye[0]), float(eye[1])
    around_eye = np.hypot((x - ex) / 0.30, (y - ey - 0.08) / 0.20)
    jaw_low = lips_y - 0.12 + 0.55 * np.clip(x - 0.35, 0, None)
    beard = _soft(y, jaw_low + 0.30, jaw_low + 0.02) * _soft(y, 6.02, 6.16) * _soft(z, 0.1, 0.35)
    sideburn = _soft(x, 0.58, 0.68) * _soft(y, ey + 0.1, ey - 0.2) * _soft(y, 6.0, 6.2) * _soft(
        z, 0.42, 0.56) * _soft(z, 0.95, 0.75)
    top = lips_y + 0.27 - 0.45 * np.clip(x - 0.06, 0, None)
    ear = np.abs(local_offsets("ears/ear-scale", 1.0)).max(1)
    no_ear = 1 - _soft(ear, 0.0, 0.02)
    moustache = (_soft(x, corner_x + 0.12, corner_x - 0.02) * _soft(y, top + 0.03, top - 0.03)
                 * _soft(y, lips_y - 0.1, lips_y + 0.0) * front)
    return {
        "face": _soft(x, 0.55, 0.35) * _soft(y, 6.3, 6.5) * _soft(y, 7.8, 7.5) * front,
        "lids": np.clip(blink * 14 + _soft(around_eye, 1.0, 0.7), 0, 1).astype(np.float32)
        * _soft(around_eye, 1.2, 0.5) * _soft(y, ey - 0.06, ey + 0.03),
        "cheeks": _soft(np.hypot((x - 0.46) / 0.34, (y - ey + 0.42) / 0.28), 1.2, 0.1) * front,
        "beard": np.clip(beard + sideburn, 0, 1) * no_ear,
        "moustache": moustache,
        "scalp": _soft(y - 7.95 + 0.75 * (1.05 - z), -0.12, 0.12) * _soft(z, 1.42, 1.30),
        "oily": np.clip(_soft(x, 0.30, 0.05) * _soft(y, lips_y + 0.1, lips_y + 0.3), 0, 1) * front,
    }


def mouth_line(mesh: ObjMesh) -> tuple[float, float]:
    """Height of the closed lips' line and the |x| of the mouth's corners, decimetres."""
    p = mesh.vertices
    smile = np.abs(action_offsets("mouthSmileLeft")).max(1)
    body = np.zeros(len(p), bool)
    body[:13380] = True
    corner = int(np.argmax(smile * body))
    lower = action_offsets("mouthLowerDownLeft")[:, 1] * body
    upper = action_offsets("mouthUpperUpLeft")[:, 1] * body
    line = (p[int(np.argmin(lower)), 1] + p[int(np.argmax(upper)), 1]) / 2
    return float(line), float(abs(p[corner, 0]))


def lips_mask(linear: Floats, face: Floats) -> Floats:
    """Lips by their redness within the face's lower middle, (S, S) 0..1."""
    ratio = linear[..., 0] / np.maximum(linear[..., 1], 1e-3)
    inside = face > 0.5
    base = float(np.median(ratio[inside]))
    redness = np.clip((ratio / base - 1.18) / 0.35, 0, 1) * (face > 0.05)
    return cv2.GaussianBlur(redness.astype(np.float32), (0, 0), 2.0)


def paint_skin(raw: Bytes, mesh: ObjMesh, look: sk.SkinLook) -> sk.SkinMaps:
    """The maps of one person's skin from a skin texture (2048, 2048, 4) uint8."""
    del mesh
    if raw.shape[0] != SIZE:
        raw = cv2.resize(raw, (SIZE, SIZE), interpolation=cv2.INTER_LANCZOS4)
    linear = sk.from_bytes(raw[..., :3])
    face = regions()["face"]
    mean = np.median(linear[face > 0.8], axis=0)
    albedo = sk.to_bytes(sk.shift_tone(linear, mean, look))
    pigment = np.zeros_like(albedo)
    gloss = np.full((SIZE, SIZE), PLAIN_GLOSS, np.uint8)
    # Everything painted lies on the head's island, and so do the lips.
    head = np.s_[:, int(HEAD_FROM_U * SIZE):]
    area = {name: np.ascontiguousarray(value[head]) for name, value in regions().items()}
    lips = lips_mask(np.ascontiguousarray(linear[head]), area["face"])
    out = sk.shift_tone(np.ascontiguousarray(linear[head]), mean, look)
    out, own = _paint(out, area, lips, look)
    albedo[head], pigment[head] = sk.to_bytes(out), sk.to_bytes(own)
    gloss[head] = _gloss(area, lips, look)
    return sk.SkinMaps(albedo, sk.height_slopes(linear), gloss, pigment)


def _paint(out: Floats, area: dict[str, Floats], lips: Floats, look: sk.SkinLook
           ) -> tuple[Floats, Floats]:
    """Skin (H, W, 3) with hair, freckles and make-up, and what of it is pigment."""
    rng = np.random.default_rng(look.seed)
    pigment = np.zeros_like(out)
    if look.freckles > 0:
        out *= np.exp(-look.freckles * _on_head(_freckles(rng)) * area["cheeks"])[..., None
                      ] ** np.array([0.7, 1.0, 1.2], np.float32)
    out = _paint_hair(out, area, look, lips, pigment)
    if look.blush > 0:
        rouge = np.exp(-look.blush * area["cheeks"][..., None]
                       * np.array([0.05, 0.9, 0.6], np.float32))
        out *= rouge
        pigment *= rouge
    if look.eyeshadow > 0:
        out = sk.mix(out, look.eyeshadow_srgb, look.eyeshadow * area["lids"], pigment)
    if look.lipstick > 0:
        out = sk.mix(out, look.lipstick_srgb, look.lipstick * lips, pigment)
    return out, pigment


def _gloss(area: dict[str, Floats], lips: Floats, look: sk.SkinLook) -> Bytes:
    beard = look.beard * np.clip(area["beard"] + area["moustache"], 0, 1) * (1 - lips)
    gloss = (PLAIN_GLOSS - 60 * beard + 60 * area["oily"] + (90 + 60 * look.lipstick) * lips
             - 55 * np.clip(area["scalp"], 0, 1))
    return np.clip(gloss, 20, 255).astype(np.uint8)


def _on_head(values: Floats) -> Floats:
    return values[:, int(HEAD_FROM_U * SIZE):]


def _freckles(rng: np.random.Generator) -> Floats:
    dots = (rng.random((SIZE, SIZE)) > 0.9975).astype(np.float32)
    return np.clip(cv2.GaussianBlur(dots, (0, 0), 1.8) * 14, 0, 1).astype(np.float32)


def _paint_hair(out: Floats, area: dict[str, Floats], look: sk.SkinLook, lips: Floats,
                pigment: Floats) -> Floats:
    """Beard, stubble and the shaved or covered scalp; pigment is brought up to date in place."""
    colour = tuple(0.9 * c for c in look.hair_srgb)
    mask = np.clip(area["beard"] + area["moustache"], 0, 1) * (1 - np.clip(lips * 1.5, 0, 1))
    if look.stubble > 0:
        soft = cv2.GaussianBlur(mask, (0, 0), 6)
        dots = _on_head(sk.strands(SIZE, look.seed + 5, 3))
        dots = 0.5 * dots + 0.5 * cv2.GaussianBlur(dots, (0, 0), 2.5)
        out = out * np.exp(-look.stubble * soft[..., None] * (0.45 + 0.55 * dots[..., None])
                           * np.array([1.0, 0.92, 0.80], np.float32))
    if look.beard > 0:
        hairs = _on_head(sk.strands(SIZE, look.seed + 7, 7, 0.22))
        soft = cv2.GaussianBlur(mask, (0, 0), 7)
        edge = np.clip((soft - 0.45 * (1 - hairs)) * 1.7 + 0.15, 0, 1) * (soft > 0.02)
        cover = np.clip(edge * soft ** 0.6 * look.beard, 0, 0.93).astype(np.float32)
        shaded = out * (1 - 0.30 * soft[..., None])
        strands = (1 + 0.55 * (hairs - 0.5) * cover)[..., None]
        out = sk.mix(shaded, colour, cover, pigment) * strands
        pigment *= strands
    if look.scalp > 0:
        hairs = _on_head(sk.strands(SIZE, look.seed + 9, 7))
        cover = np.clip(area["scalp"] * (0.6 + 0.5 * hairs) * look.scalp, 0, 0.97)
        out = sk.mix(out, colour, cover.astype(np.float32), pigment)
    return out.astype(np.float32)
