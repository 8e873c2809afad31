"""Another persona out of those that ship, in seconds: its shape is a convex mix of several, its skin mostly one's, its eyes another's.

What shows when pictures are averaged (two pairs of brows, half a beard, hair over hair) is taken from one parent alone; what averages well (shape of
the face, shading, wrinkles, cheeks) is mixed. Skin tone moves along the line on which the shipped personas' tones lie (melanin, mostly).
All of it follows from the seed and the sliders: the same ones make the same persona.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from livecam.errors import PersonaError
from livecam.persona import _files
from livecam.persona._warp import BROWS, CHIN, EYES, INNER_LIPS, LUMA, OUTER_LIPS, OVAL, Warp, region, skin_colour, skin_share
from livecam.types import F32, F64, MESH_POINTS, U8, Persona

PARENTS = 3
"""Personas that the shape is mixed from."""
LEAST_PARENTS = 4
LEAST_EYES = 0.15
"""Weight below which a parent is too far from the mix for its eyes to suit."""
AGE_WITHIN, MASCULINE_WITHIN, TONE_WITHIN = 16.0, 0.2, 0.35
"""How far a parent may be from what is wanted (years, and shares of the whole range) before it counts little."""
CHANCE = 0.9
"""Weight of chance beside likeness when parents are chosen."""
REGIONS: Mapping[str, tuple[int, ...]] = {
    "eyes": (168, 33, 263, 105, 334),
    "nose": (4, 98, 327, 195),
    "mouth": (13, 14, 61, 291),
    "jaw": (152, 172, 397),
}
"""Parts of the face, by landmarks in them, whose mix differs from the whole's."""
REGION_SHARE = 0.45
"""How much of a part's mix is its own."""
REGION_REACH = 0.22
"""How far around its landmarks a part's own mix reaches, as share of the face's width."""
CHARACTER = 1.2
"""Mixed shapes are moved away from the mean of all by this factor, because mixing takes character away."""
SHADE_SHARE = 0.3
"""Share of the other parents' skin in the face."""
HIDDEN_LUMA = 0.2
"""Log brightness by which two skins differ where one is hidden."""
BEARD_LUMA = -0.2
"""Log brightness of the chin against the cheeks below which somebody has a beard: then skins are not mixed."""
TONE_LIMIT = 0.9
"""Largest log change of a portrait's tone: further, its highlights and lips look painted."""
FIT_TRIES, FIT_GAIN = 12, 1.5
"""Mixes that are tried for a person (each takes about a second), and how much a parent's likeness counts, a standard deviation of it."""
JPEG_QUALITY = 92
NAMES = {
    False: ("Alma", "Bea", "Cleo", "Dora", "Elif", "Fay", "Greta", "Hana", "Ines", "Jun", "Kira", "Lena", "Maya", "Nia", "Olga", "Pia"),
    True: ("Abel", "Ben", "Cem", "Dario", "Emil", "Finn", "Goran", "Hugo", "Ivo", "Jonas", "Kai", "Leo", "Milan", "Nils", "Omar", "Pavel"),
}


@dataclass(frozen=True, slots=True)
class Sliders:
    """What is wanted; None leaves it to the seed. age: years, 18..80; tone: 0 the lightest of the shipped personas' skins .. 1 the darkest;
    masculine: 0..1; character: 0 the mean face .. 2 a strongly marked one."""

    age: float | None = None
    tone: float | None = None
    masculine: float | None = None
    character: float | None = None


@dataclass(frozen=True, slots=True)
class _Parent:
    """A shipped persona and what is known of it. tone: 0..1 along the line of tones."""

    persona: Persona
    age: float
    masculine: float
    tone: float
    skin: F64
    bearded: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """Who gives what. weights: convex, by parents' place; regions: the same for each of REGIONS; skin, eyes: places of the one whose they are."""

    parents: tuple[_Parent, ...]
    weights: F64
    regions: F64
    skin: int
    eyes: int
    tone: float
    character: float


@dataclass(frozen=True, slots=True)
class Mixed:
    """A new persona as its file holds it. portrait: (640, 640, 3) uint8 BGR."""

    tensors: Mapping[str, Any]
    metadata: Mapping[str, str]
    portrait: U8


def mix(seed: int, sliders: Sliders = Sliders(), name: str = "") -> Mixed:
    """A persona from `seed` and `sliders`, mixed from those that ship. Raises PersonaError when too few ship."""
    parents, line = _read_parents()
    plan = _plan(parents, seed, sliders)
    return _made(plan, parents, line, _texts(plan, seed, sliders, name))


def fit(embedding: F32, skin: F64, embed: Callable[[U8, F32], F32], tries: int = FIT_TRIES) -> tuple[Mixed, float]:
    """A mix of those that ship that comes near to a person: the best of `tries`, their parents the nearer to the embedding the likelier, their tone
    the person's. embedding: (128,) of length 1; skin: (3,) log of the person's B, G, R (`_warp.skin_colour`); embed: portrait and its landmarks ->
    (128,). Returns the mix and its cosine to `embedding`. Raises PersonaError."""
    parents, line = _read_parents()
    low, way = line
    sliders = Sliders(tone=float(np.clip((skin - low) @ way / max(float(way @ way), 1e-9), 0.0, 1.0)))
    own = [p.persona.embedding for p in parents]
    near = np.array([0.0 if one is None else float(one @ embedding) for one in own])
    likeness = FIT_GAIN * (near - near.max()) / max(float(near.std()), 1e-6)
    best: tuple[float, int, _Plan] | None = None
    for seed in range(tries):
        plan = _plan(parents, seed, sliders, likeness)
        mesh = _mixed_mesh(plan, parents, "neutral")
        score = float(embed(_portrait(plan, mesh, "neutral", line), mesh) @ embedding)
        if best is None or score > best[0]:
            best = (score, seed, plan)
    assert best is not None
    return _made(best[2], parents, line, _texts(best[2], best[1], sliders, "")), best[0]


def _made(plan: _Plan, parents: tuple[_Parent, ...], line: tuple[F64, F64], metadata: dict[str, str]) -> Mixed:
    """All pictures of a plan."""
    meshes = {pose: _mixed_mesh(plan, parents, pose) for pose in _files.PORTRAITS}
    images = {pose: _portrait(plan, meshes[pose], pose, line) for pose in _files.PORTRAITS}
    tensors: dict[str, Any] = {}
    for pose in _files.PORTRAITS:
        tensors[pose] = cv2.imencode(".jpg", images[pose], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].ravel()
        tensors[f"{pose}_mesh"] = meshes[pose]
    eyes, skin = plan.parents[plan.eyes].persona, plan.parents[plan.skin].persona
    for owner, parts in ((eyes, _files.EYES), (skin, _files.MOUTH_PARTS)):
        tensors |= {part: np.frombuffer(data, np.uint8) for part, data in _files.encoded(owner.id, parts).items()}
    metadata |= {key: eyes.metadata[key] for key in _files.RADII}
    metadata |= _boxes(skin, meshes["open_mouth"])
    return Mixed(tensors, metadata, images["neutral"])


def _read_parents() -> tuple[tuple[_Parent, ...], tuple[F64, F64]]:
    """The shipped personas, and the line of their tones: log B, G, R at the lightest, and from there to the darkest."""
    loaded = [_files.load(which) for which in _files.names()]
    if len(loaded) < LEAST_PARENTS:
        raise PersonaError(f"expected at least {LEAST_PARENTS} personas in the installation to mix from, found {len(loaded)}; install livecam again")
    skins = np.array([skin_colour(p.images["neutral"], p.meshes["neutral"]) for p in loaded])
    middle = skins.mean(axis=0)
    way = np.linalg.svd(skins - middle)[2][0]
    way = way if way.sum() < 0 else -way
    along = (skins - middle) @ way
    low, high = float(along.min()), float(along.max())
    tones = (along - low) / max(high - low, 1e-6)
    parents = [
        _Parent(one, _number(one, "age", 40.0), _number(one, "masculine", 0.5), float(tone), skin, _bearded(one, skin))
        for one, tone, skin in zip(loaded, tones, skins, strict=True)
    ]
    return tuple(parents), (middle + low * way, (high - low) * way)


def _number(persona: Persona, key: str, default: float) -> float:
    try:
        return float(persona.metadata.get(key, default))
    except ValueError:
        return default


def _bearded(persona: Persona, cheeks: F64) -> bool:
    chin = skin_colour(persona.images["neutral"], persona.meshes["neutral"], CHIN)
    return float((chin - cheeks) @ LUMA) < BEARD_LUMA


def _plan(parents: tuple[_Parent, ...], seed: int, sliders: Sliders, likeness: F64 | None = None) -> _Plan:
    """likeness: (P,) how near each parent is to somebody, in place of age and sex."""
    rng = np.random.default_rng(seed)
    # All are drawn whether a slider takes their place or not: moving one slider leaves the rest as it was.
    drawn = (rng.uniform(20, 68), rng.uniform(0, 1), float(rng.uniform() < 0.5), rng.uniform(0.8, 1.2))
    given = (sliders.age, sliders.tone, sliders.masculine, sliders.character)
    age, tone, masculine, character = (float(d if g is None else g) for d, g in zip(drawn, given, strict=True))
    fit = np.array(
        [
            -0.5 * (((p.age - age) / AGE_WITHIN) ** 2 + ((p.masculine - masculine) / MASCULINE_WITHIN) ** 2 + ((p.tone - tone) / TONE_WITHIN) ** 2)
            for p in parents
        ]
    )
    if likeness is not None:
        fit = likeness - 0.5 * np.array([((p.tone - tone) / TONE_WITHIN) ** 2 for p in parents])
    score = fit + CHANCE * rng.gumbel(size=len(parents))
    chosen = np.argsort(-score)[:PARENTS]
    weights = _convex(0.4 * score[chosen], rng.dirichlet(np.full(PARENTS, 3.0)))
    regions = np.stack([_convex(np.zeros(PARENTS), rng.dirichlet(np.full(PARENTS, 0.8))) for _ in REGIONS])
    # The skin is that of the parent nearest in tone, age and sex; the eyes are any parent's.
    skin = int(np.argmax(fit[chosen] + np.log(weights)))
    eyes = int(rng.integers(PARENTS))
    if weights[eyes] < LEAST_EYES:
        eyes = skin
    return _Plan(tuple(parents[i] for i in chosen), weights, regions, skin, eyes, tone, CHARACTER * character)


def _convex(score: F64, chance: F64) -> F64:
    """Weights above 0 that sum to 1."""
    raw = np.exp(np.clip(score - score.max(), -2.0, 0.0)) * (0.1 + chance)
    return raw / raw.sum()


def _mixed_mesh(plan: _Plan, everybody: tuple[_Parent, ...], pose: str) -> F32:
    """(478, 3) landmarks: mixed by weights that vary smoothly over the face, then moved away from everybody's mean."""
    meshes = np.stack([p.persona.meshes[pose] for p in plan.parents]).astype(np.float64)
    neutral = np.stack([p.persona.meshes["neutral"] for p in everybody]).astype(np.float64).mean(axis=0)
    width = float(np.ptp(neutral[:MESH_POINTS, 0]))
    own = np.zeros((len(neutral), len(plan.parents)))
    total = np.zeros((len(neutral), 1))
    for landmarks, weights in zip(REGIONS.values(), plan.regions, strict=True):
        gap = np.linalg.norm(neutral[:, None, :2] - neutral[None, list(landmarks), :2], axis=2).min(axis=1) / width
        near = np.exp(-0.5 * (gap / (REGION_REACH / 2)) ** 2)[:, None]
        own += near * weights
        total += near
    share = REGION_SHARE * np.minimum(total, 1.0)
    weights = (1.0 - share) * plan.weights + share * own / np.maximum(total, 1e-9)
    mixed = np.einsum("nk,knd->nd", weights, meshes)
    # Character is the neutral face's: an open mouth is not to be opened more.
    rest = np.stack([p.persona.meshes["neutral"] for p in plan.parents]).astype(np.float64)
    marked = np.einsum("nk,knd->nd", weights, rest) - neutral
    return (mixed + (plan.character - 1.0) * marked).astype(np.float32)


def _portrait(plan: _Plan, mesh: F32, pose: str, line: tuple[F64, F64]) -> U8:
    first = plan.parents[plan.skin]
    size = (first.persona.images[pose].shape[1], first.persona.images[pose].shape[0])
    warp = Warp(mesh, size)
    picture = warp(first.persona.images[pose], first.persona.meshes[pose]).astype(np.float32)
    for place, other in enumerate(plan.parents):
        if place != plan.skin and not (first.bearded or other.bearded):
            seen = warp(other.persona.images[pose], other.persona.meshes[pose]).astype(np.float32)
            seen = (seen + 4.0) * np.exp(first.skin - other.skin).astype(np.float32) - 4.0
            share = SHADE_SHARE * float(plan.weights[place] / max(1.0 - plan.weights[plan.skin], 1e-6))
            picture += share * (_mixable(mesh, size) * _alike(picture, seen))[..., None] * (seen - picture)
    if plan.eyes != plan.skin and pose != "closed_eyes":
        owner = plan.parents[plan.eyes].persona
        theirs = warp(owner.images[pose], owner.meshes[pose]).astype(np.float32)
        for eye in EYES:
            picture += region(mesh, eye, size, 1.0)[..., None] * (theirs - picture)
    levels = _levels(picture)
    share = skin_share(levels, mesh, eyes_open=pose != "closed_eyes")
    return _toned(levels, share, first, plan.tone, line)


def _mixable(mesh: F32, size: tuple[int, int]) -> F32:
    """(H, W) where skins may be averaged: the face without brows, eyes and mouth, well inside the outline."""
    width = float(np.ptp(mesh[:MESH_POINTS, 0]))
    out = region(mesh, OVAL, size, 0.04 * width, -0.13 * width)
    for part in (*EYES, *BROWS, OUTER_LIPS):
        out = out * (1.0 - region(mesh, part, size, 0.012 * width, 0.03 * width))
    return out.astype(np.float32)


def _alike(first: F32, second: F32) -> F32:
    """(H, W) near 1 where two skins differ as skins do, 0 where one of them is hidden, by hair say."""
    small = [cv2.GaussianBlur(np.log(np.maximum(p, 0) + 8.0) @ LUMA, (0, 0), 3.0) for p in (first, second)]
    off = np.abs(small[0] - small[1]) / HIDDEN_LUMA
    hidden = cv2.dilate((off > 1.0).astype(np.uint8), np.ones((25, 25), np.uint8)).astype(np.float32)
    return (1.0 - cv2.GaussianBlur(hidden, (0, 0), 8.0)).astype(np.float32)


def _toned(picture: U8, share: F32, owner: _Parent, tone: float, line: tuple[F64, F64]) -> U8:
    """`picture` with the colour of what is skin ((H, W), 0..1) moved along the line of tones to `tone`."""
    light, way = line
    wanted = light + tone * way + 0.5 * (owner.skin - (light + owner.tone * way))
    change = wanted - owner.skin
    length = float(np.abs(change).max())
    change = (change * min(1.0, TONE_LIMIT / max(length, 1e-6))).astype(np.float32)
    return _levels((picture.astype(np.float32) + 4.0) * np.exp(share[..., None] * change) - 4.0)


def _levels(picture: F32) -> U8:
    return np.rint(np.clip(picture, 0, 255)).astype(np.uint8)


def _boxes(owner: Persona, mesh: F32) -> dict[str, str]:
    """Where the mouth's parts stand in the mixed picture: moved and scaled as their owner's inner lips are."""
    lips, theirs = (m[list(INNER_LIPS), :2].astype(np.float64) for m in (mesh, owner.meshes["open_mouth"]))
    scale = float(np.ptp(lips[:, 0]) / max(np.ptp(theirs[:, 0]), 1e-6))
    out: dict[str, str] = {}
    for key in _files.BOXES:
        x, y, w, h = json.loads(owner.metadata[key])
        # Upper teeth hang from the upper lip's middle (13), the others stand on the lower one's (14).
        anchor = 13 if key.startswith("teeth_upper") else 14
        corner = mesh[anchor, :2] + scale * (np.array([x, y]) - owner.meshes["open_mouth"][anchor, :2])
        out[key] = json.dumps([round(float(v), 2) for v in (*corner, w * scale, h * scale)])
    return out


def _texts(plan: _Plan, seed: int, sliders: Sliders, name: str) -> dict[str, str]:
    masculine = float(plan.weights @ [p.masculine for p in plan.parents])
    age = round(float(plan.weights @ [p.age for p in plan.parents]))
    names = NAMES[masculine > 0.5]
    name = name or names[seed % len(names)]
    slug = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower()).strip("-") or "persona"
    shares = {p.persona.id: round(float(w), 4) for p, w in zip(plan.parents, plan.weights, strict=True)}
    kin = ", ".join(p.persona.name for p in plan.parents)
    return {
        "format": _files.FORMAT, "version": _files.UNSIGNED, "id": f"{slug}-{seed}", "name": name, "kind": "synthetic",
        "description": f"{'Man' if masculine > 0.5 else 'Woman'} of about {age}, mixed from {kin}",
        "age": str(age), "masculine": f"{masculine:.2f}", "licence": _licence(plan), "seed": str(seed), "maker": "livecam persona new",
        "parents": json.dumps(shares),
        "parts": json.dumps({"skin": plan.parents[plan.skin].persona.id, "eyes": plan.parents[plan.eyes].persona.id}),
        "sliders": json.dumps({k: v for k in ("age", "tone", "masculine", "character") if (v := getattr(sliders, k)) is not None}),
        "tone": f"{plan.tone:.3f}",
    }  # fmt: skip


def _licence(plan: _Plan) -> str:
    return "; ".join(sorted({p.persona.licence for p in plan.parents}))
