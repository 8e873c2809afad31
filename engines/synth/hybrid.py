"""The right answer of a face swap: the wearer's head with the persona's face in it.

Geometry: A + w (B' - A) on the one topology of all people, B' being B brought to A's face by a
similarity. w is 1 within the face and falls to 0 across a band that ends at the face's oval, so that
the head's outline stays A's. Skin textures are mixed in texture space by a weight of the same kind,
whose band lies across the oval (a beard reaches the jaw's edge), with B's mean skin tone moved to
A's. Brows, lashes, eyes, teeth and tongue are B's; hair, ears, neck and clothes are A's. Ambient
occlusion is mixed, not baked anew.

Convention: as in `identity`: decimetres, y up, z towards the viewer.
"""

from __future__ import annotations

import copy
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.synth import skin as sk
from engines.synth.assets import Floats
from engines.synth.expression import joints
from engines.synth.identity import base_mesh, local_offsets
from engines.synth.labels import BODY_VERTICES, NOSE_TIP, OVAL_VERTICES
from engines.synth.person import Person
from engines.synth.scene import Occlusion

SHAPE_BAND_DM, SKIN_BAND_DM = (0.0, 0.15), (-0.03, 0.12)
"""Depth within the oval at which the weights of shape and of skin start from 0 and reach 1: a tenth
of the face (1.5 dm wide)."""
OVAL_BEHIND_DM = (0.10, 0.30)
"""What lies so far behind the nearest point of the oval is no longer the face (underside of the
jaw, back of the head): w falls to 0 between; but what lies DEEP_DM within it is (nostrils)."""
DEEP_DM = 0.4
EAR_MOVES_DM = (0.01, 0.05)
"""What the size of the ears moves so far is the ears': w falls to 0 between."""
FACE_ISLAND_U, CAVITY_U_MAX, MOUTH_V_MAX = 0.62, 0.16, 0.145
"""The islands in texture space: the face lies right of u = 0.62 above v = 0.145, the mouth's inside
below it, the insides of the lids left of u = 0.16 between v = 0.5 and 0.65."""
UV_GROWTH_PX = 5
"""Texels by which w grows over the islands' edges, for filtering across seams."""
LEAST = 0.02
"""The face is what is joined to the nose's tip over weights above this."""
HELPERS = ("helper-l-eye", "helper-r-eye", "helper-upper-teeth", "helper-lower-teeth",
           "helper-l-eyelashes-1", "helper-l-eyelashes-2", "helper-r-eyelashes-1",
           "helper-r-eyelashes-2", "helper-tongue")
EYE_JOINTS = ("l-eye", "r-eye")


def smooth(x: NDArray[np.floating]) -> Floats:
    """Smooth step of values clipped to 0..1."""
    x = np.clip(x, 0, 1)
    return (x * x * (3 - 2 * x)).astype(np.float32)


@lru_cache(maxsize=1)
def inside_parts() -> NDArray[np.bool_]:
    """Base triangles (T,) of the mouth's and the lids' insides."""
    mesh = base_mesh()
    uv = mesh.uvs[mesh.tri_uv].mean(1)
    mouth = (uv[:, 0] > 0.75) & (uv[:, 1] < MOUTH_V_MAX)
    lids = (uv[:, 0] < CAVITY_U_MAX) & (uv[:, 1] > 0.54) & (uv[:, 1] < 0.64)
    body = np.zeros(len(mesh.tri), bool)
    body[mesh.groups["body"]] = True
    high = mesh.vertices[mesh.tri, 1].min(1) > 6.0
    return body & high & (mouth | lids)


def _within(band_dm: tuple[float, float]) -> Floats:
    """Weight (19158,) that rises across a band of depths within the oval."""
    mesh = base_mesh()
    p = mesh.vertices
    oval = p[list(OVAL_VERTICES)]
    polygon = cv2.convexHull(np.ascontiguousarray(oval[:, :2]))
    out = np.zeros(len(p), np.float32)
    near = np.flatnonzero((np.arange(len(p)) < BODY_VERTICES) & (p[:, 1] > 6.0) & (p[:, 2] > 0.2))
    low, high = OVAL_BEHIND_DM
    for v in near:
        depth = cv2.pointPolygonTest(polygon, (float(p[v, 0]), float(p[v, 1])), True)
        if depth > band_dm[0]:
            edge = oval[np.argmin(((oval[:, :2] - p[v, :2]) ** 2).sum(1)), 2]
            behind = smooth(np.array((high - (edge - p[v, 2])) / (high - low)))
            behind = np.float32(1) if depth > DEEP_DM and p[v, 2] > 1.0 else behind
            rise = (depth - band_dm[0]) / (band_dm[1] - band_dm[0])
            out[v] = smooth(np.array(rise)) * behind
    moved = np.abs(local_offsets("ears/ear-scale", 1.0)).max(1)
    out *= 1 - smooth((moved - EAR_MOVES_DM[0]) / (EAR_MOVES_DM[1] - EAR_MOVES_DM[0]))
    out *= _reached(out > LEAST)
    out[np.unique(mesh.tri[inside_parts()])] = 1.0
    for name in HELPERS:
        out[np.unique(mesh.tri[mesh.groups[name]])] = 1.0
    for name in EYE_JOINTS:
        out[joints()[name]] = 1.0
    out.flags.writeable = False
    return out


def _reached(open_: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those of the vertices (V,) that are reached from the nose's tip over others of them."""
    mesh = base_mesh()
    tri = mesh.tri[mesh.groups["body"]]
    tri = tri[open_[tri].any(1)]
    out = np.zeros(len(open_), bool)
    out[NOSE_TIP] = True
    count = 0
    while count != int(out.sum()):
        count = int(out.sum())
        out[tri[out[tri].any(1)]] = True
        out &= open_
    return out


@lru_cache(maxsize=1)
def face_weight() -> Floats:
    """w (19158,) float32 of each base vertex's place: 1 within the face, 0 outside its oval."""
    return _within(SHAPE_BAND_DM)


@lru_cache(maxsize=1)
def drawn_weight() -> Floats:
    """w (19158,) float32 of each base vertex's skin; nowhere smaller than `face_weight`."""
    return np.maximum(_within(SKIN_BAND_DM), face_weight())


@lru_cache(maxsize=2)
def texture_weight(size: int) -> Floats:
    """w in texture space (size, size) float32, row 0 at v = 1."""
    mesh = base_mesh()
    body = mesh.groups["body"]
    uv = mesh.uvs[mesh.tri_uv[body]].mean(1)
    face = (uv[:, 0] > FACE_ISLAND_U) & (mesh.vertices[mesh.tri[body], 1].min(1) > 6.0)
    keep = body[face | inside_parts()[body]]
    ones = np.ones(len(mesh.vertices), np.float32)
    covered = sk.bake(mesh, keep, ones, size) > 0
    weight = np.where(covered, sk.bake(mesh, keep, drawn_weight(), size), 0).astype(np.float32)
    kernel = np.ones((2 * UV_GROWTH_PX + 1, 2 * UV_GROWTH_PX + 1), np.uint8)
    out = np.where(covered, weight, cv2.dilate(weight, kernel)).astype(np.float32)
    out.flags.writeable = False
    return out


def align(source: Floats, target: Floats, weight: Floats) -> Floats:
    """`source` (V, 3) brought to `target` (V, 3) by the similarity that fits best where `weight`
    (V,) counts (Umeyama 1991)."""
    w = weight.astype(np.float64)[:, None] / float(weight.sum())
    a, b = source.astype(np.float64), target.astype(np.float64)
    am, bm = (w * a).sum(0), (w * b).sum(0)
    ac, bc = a - am, b - bm
    u, singular, vt = np.linalg.svd((w * bc).T @ ac)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    turn = (u * sign) @ vt
    scale = float((singular * sign).sum() / (w * ac * ac).sum())
    return (scale * (ac @ turn.T) + bm).astype(np.float32)


def blend_maps(a: Person, b: Person, keep_tone: bool = True) -> sk.SkinMaps:
    """Skin maps of a hybrid; keep_tone: B's skin takes A's mean tone, pigments stay as they are."""
    ours, theirs = a.skin_maps, b.skin_maps
    w = texture_weight(ours.albedo.shape[0])
    rows, columns = np.flatnonzero(w.any(1)), np.flatnonzero(w.any(0))
    part = np.s_[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    w = np.ascontiguousarray(w[part])[..., None]
    pigment = sk.from_bytes(theirs.pigment[part])
    albedo = sk.from_bytes(theirs.albedo[part])
    if keep_tone:
        shift = np.exp(sk.tone_density(b.look.skin) - sk.tone_density(a.look.skin))
        albedo = (albedo - pigment) * shift + pigment
    mixed = sk.from_bytes(ours.albedo[part])
    mixed += w * (albedo - mixed)
    out = sk.SkinMaps(ours.albedo.copy(), ours.slopes.copy(), ours.gloss.copy(), ours.pigment)
    out.albedo[part] = sk.to_bytes(mixed)
    out.slopes[part] = _mixed(ours.slopes[part], theirs.slopes[part], w).astype(np.int8)
    out.gloss[part] = _mixed(ours.gloss[part], theirs.gloss[part], w[..., 0]).astype(np.uint8)
    return out


def _mixed(a: NDArray[np.integer], b: NDArray[np.integer], w: Floats) -> Floats:
    first = a.astype(np.float32)
    return np.rint(first + w * (b.astype(np.float32) - first))


def wear(a: Person, b: Person, keep_tone: bool = True) -> Person:
    """The hybrid of wearer A and persona B. A and B keep what they are."""
    out = copy.copy(a)
    w = face_weight()
    mine = align(b.neutral, a.neutral, w)
    out.neutral = a.neutral + w[:, None] * (mine - a.neutral)
    out.eyes, out.teeth, out.tongue = b.eyes, b.teeth, b.tongue
    out.eye_tex, out.teeth_tex, out.tongue_tex = b.eye_tex, b.teeth_tex, b.tongue_tex
    out.layers = (*(p for p in b.layers if not p.hair), *(p for p in a.layers if p.hair))
    out.skin_maps = blend_maps(a, b, keep_tone)
    out.merge()
    return out


def blend_occlusion(a: Person, b: Person, of_a: Occlusion, of_b: Occlusion) -> Occlusion:
    """Occlusion of the hybrid of A and B from theirs."""
    def opaque(ours: Floats, theirs: Floats) -> Floats:
        return np.concatenate([_skin(a, b, ours, theirs),
                               theirs[b.part_start[1]:b.part_start[4]],
                               ours[a.part_start[4]:]]).astype(np.float32)

    layers = (*(x for x, p in zip(of_b.layers, b.layers, strict=True) if not p.hair),
              *(x for x, p in zip(of_a.layers, a.layers, strict=True) if p.hair))
    return Occlusion(opaque(of_a.shut, of_b.shut), opaque(of_a.open, of_b.open), layers)


def _skin(a: Person, b: Person, ours: Floats, theirs: Floats) -> Floats:
    """Mixed occlusion of A's skin points; between base vertices B's is the mean of its ends."""
    spread = np.full(len(a.neutral), np.nan, np.float32)
    spread[b.skin_top.base] = theirs[:len(b.skin_top.base)]
    spread = spread[a.skin_top.base]
    count = len(a.skin_top.base)
    spread = np.where(np.isnan(spread), ours[:count], spread)
    ends = a.refinement.ends
    other = np.concatenate([spread, spread[ends].mean(1)])
    mine = ours[:count + len(ends)]
    return mine + _on_skin(a, face_weight()) * (other - mine)


def _on_skin(person: Person, values: Floats) -> Floats:
    """Values of base vertices at a person's drawn skin points, refined ones included."""
    on_base = values[person.skin_top.base]
    return np.concatenate([on_base, on_base[person.refinement.ends].mean(1)]).astype(np.float32)


def point_weight(person: Person) -> Floats:
    """`drawn_weight` (V,) of a person's merged opaque points; eyes, teeth and tongue belong to the
    face."""
    out = np.zeros(person.part_start[-1], np.float32)
    out[:person.part_start[1]] = _on_skin(person, drawn_weight())
    out[person.part_start[1]:person.part_start[4]] = 1.0
    return out



