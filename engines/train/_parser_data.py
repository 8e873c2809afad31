"""Batches for the parser: pairs shards, more things before the face, other places, cameras and lights.

Shards hold (N, 256, 256, ...) arrays by the keys wearer (BGR), classes, occluder (alpha), oval and wearer_five, true_five or landmarks; by
`seed`, if it is there, strands of hair are told from things. The rest of them is not read. Photos, if a folder of them is given, have no
labels: things are put before them, and only these are learnt.

Hair is hair, whether it grows as a fringe or hangs as a strand before the face: it is no thing, the parser does not open it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.evaluate.portraits import find_mesh
from engines.synth import _things, camera, film, occluders, scenes
from engines.train.errors import DataError
from livecam import align, detect, image, track
from livecam.align.arcface import template_px
from livecam.config import DetectConfig, RunConfig, TrackConfig
from livecam.geometry import apply
from livecam.store import Store
from livecam.track._landmarks import five_points
from livecam.types import MESH_POINTS, CropSpec

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

KEPT_PX = 160
"""Side at which samples are kept: somewhat more than the network's, so that a closer crop is not blurred."""
BACK_CLASS, HAIR_CLASS, OCCLUDER_CLASS, BODY_CLASS = 0, 5, 7, 9
EDGE_PX = 2
"""A thing's soft edge reaches so far beyond the pixels of its class, at KEPT_PX."""
OPAQUE = 128
"""Occluder alpha from which a pixel's class is the occluder's."""
TONES_SRGB = ((232, 196, 176), (218, 172, 148), (200, 148, 120), (170, 118, 90), (132, 88, 66), (98, 64, 50), (70, 46, 38))
HAIR_KINDS = ("strands",)
"""What of `occluders` is hair and no thing."""
ZONE_GROWTH_PX = 5
"""By so much the zone in which the parser counts is larger than the face's oval, at KEPT_PX."""
SHADOW_ONLY = 0.08
"""Share of extra occluders of which only the shadow is laid over the face: a shadow is no thing."""
SHADED = 0.15
"""Share of samples across whose face an edge of light and shadow runs."""
WORN = 0.5
"""Share of extra occluders that are lit unevenly, grained and blurred on their own."""
BACKS = 64
"""Backgrounds in a pool."""
UNKNOWN = 255
"""Class of pixels that no loss of classes looks at."""
REDRESSED = 0.6
"""Share of samples that get another background, clothes and hair colour."""
PHOTO_PX = 480
"""Longer side of a photo when its face is looked for."""
CANDIDATES = 6
"""Occluders of the pool among which the nearest in skin tone is taken."""


@dataclass(frozen=True, slots=True)
class Samples:
    """wearer (N, K, K, 3) uint8 BGR; classes, occluder (N, K, K) uint8; zone (N, K, K) uint8, 255 where a generator may draw: the face and
    somewhat more; five (N, 5, 2) float32 in pixels of K; skin (N, 3) float32 BGR; kinds (N,) str: what stands there already, "" for nothing."""

    wearer: U8
    classes: U8
    occluder: U8
    zone: U8
    five: F32
    skin: F32
    kinds: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.wearer)

    def joined(self, other: Samples) -> Samples:
        """These, then `other`'s."""
        return Samples(*(np.concatenate([getattr(self, f), getattr(other, f)]) for f in FIELDS))

    def only(self, rows: Sequence[int] | NDArray[np.integer]) -> Samples:
        """Some of them."""
        return Samples(*(getattr(self, f)[np.asarray(rows, np.int64)] for f in FIELDS))


FIELDS = ("wearer", "classes", "occluder", "zone", "five", "skin", "kinds")


@dataclass(frozen=True, slots=True)
class Pool:
    """Occluders before a standard face: layers (M, K, K, 5) uint8 colour BGR, alpha, shadow; hair (M,) bool: strands, which are no things;
    skin (M, 3) BGR; five (5, 2). backs (B, K, K, 3) uint8 BGR: patterns to stand behind people."""

    layers: U8
    hair: NDArray[np.bool_]
    skin: F32
    five: F32
    backs: U8

    def without_hair(self) -> Pool:
        """Things alone."""
        kept = ~self.hair
        return Pool(self.layers[kept], self.hair[kept], self.skin[kept], self.five, self.backs)


def _five_of(data: np.lib.npyio.NpzFile) -> F32:
    for key in ("wearer_five", "true_five"):
        if key in data:
            return np.asarray(data[key], np.float32)
    mesh = np.asarray(data["landmarks"], np.float32)
    return np.stack([mesh[:, list(pair), :2].mean(1) for pair in occluders.MESH_FIVE], 1)


def _shrunk(picture: U8, side: int, labels: bool = False) -> U8:
    if picture.shape[0] == side:
        return picture
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_NEAREST if labels else cv2.INTER_AREA), np.uint8)


def _things_only(cover: U8, classes: U8) -> U8:
    """The alpha of things: pairs also count the wearer's own hair before the face, which is another class."""
    near = cv2.dilate((classes == OCCLUDER_CLASS).astype(np.uint8), np.ones((2 * EDGE_PX + 1, 2 * EDGE_PX + 1), np.uint8))
    return np.where((near > 0) & (classes != HAIR_CLASS), cover, np.uint8(0))


def _zone_of(oval: U8) -> U8:
    """The face's oval with what lies next to it."""
    reach = 2 * ZONE_GROWTH_PX + 1
    round_one = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    return np.asarray(cv2.dilate((oval >= OPAQUE).astype(np.uint8) * np.uint8(255), round_one), np.uint8)


def kind_of(seed: int) -> str:
    """What a rendered sample of this seed has before the face, "" for nothing: as `pairs` and `picture` draw it."""
    chosen = scenes.sample(np.random.default_rng([seed, 0x5C])).occluder_seed
    if chosen < 0:
        return ""
    return str(np.random.default_rng([chosen, 3]).choice(list(occluders.KINDS), p=list(occluders.KINDS.values())))


def read_photos(paths: Sequence[Path]) -> Samples:
    """Crops of the faces that livecam finds in pictures: classes all UNKNOWN, nothing before the face (a hand in one of them is noise). Raises
    DataError when there is no face in any."""
    spec = CropSpec(KEPT_PX, "arcface_112_v2", 0.78, (0.0, -0.06))
    store = Store(RunConfig().cache_dir)
    detector, tracker = detect.load("yunet", DetectConfig(), store, 1), track.load("mediapipe", TrackConfig(), store, 1)
    crops: list[U8] = []
    fives: list[F32] = []
    zones: list[U8] = []
    for path in paths:
        picture = cv2.imread(str(path))
        if picture is None:
            continue
        scale = PHOTO_PX / max(picture.shape[:2])
        picture = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        mesh = find_mesh(picture, detector, tracker)
        if mesh is None:
            continue
        five = five_points(mesh)
        alignment = align.align(five, spec)
        crops.append(image.crop(picture, alignment))
        fives.append(apply(alignment.matrix, five).astype(np.float32))
        hull = cv2.convexHull(apply(alignment.matrix, mesh[:MESH_POINTS, :2]).astype(np.float32))
        zones.append(_zone_of(np.asarray(cv2.fillConvexPoly(np.zeros((KEPT_PX, KEPT_PX), np.uint8), np.rint(hull).astype(np.int32), 255), np.uint8)))
    if not crops:
        raise DataError(f"expected pictures of faces, found none among {len(paths)}; name another --photos")
    nothing = np.zeros((len(crops), KEPT_PX, KEPT_PX), np.uint8)
    cheeks = [np.median(crop[80:110, 55:105].reshape(-1, 3), 0).astype(np.float32) for crop in crops]
    return Samples(np.stack(crops), nothing + np.uint8(UNKNOWN), nothing, np.stack(zones), np.stack(fives), np.stack(cheeks), np.full(len(crops), ""))


def _skin_of(picture: U8, classes: U8) -> F32:
    skin = picture[classes == 1]
    return np.median(skin, 0).astype(np.float32) if len(skin) > 20 else np.array([120, 140, 180], np.float32)


def read_shards(paths: Sequence[Path], most: int = 0) -> Samples:
    """All samples of these shards (`most` at the most, 0 is all). Raises DataError."""
    parts: dict[str, list[NDArray[np.generic] | str]] = {name: [] for name in FIELDS}
    count = 0
    for path in paths:
        try:
            with np.load(path) as data:
                rows = [data["wearer"], data["classes"], data["occluder"], data["oval"], _five_of(data)]
                seeds = data.get("seed")
        except (OSError, KeyError, ValueError) as error:
            expected = "a pairs shard with wearer, classes, occluder, oval and true_five"
            raise DataError(f"expected {expected} in {path}, found: {error}; make it anew") from error
        left = len(rows[0]) if not most else min(len(rows[0]), most - count)
        for k in range(left):
            kind = "" if seeds is None else kind_of(int(seeds[k]))
            for name, value in zip(FIELDS, (*_sample(*(row[k] for row in rows), kind), kind), strict=True):
                parts[name].append(value)
        count += left
        if most and count >= most:
            break
    if not count:
        raise DataError("expected at least one sample, found no shards; make a set with: python -m engines synth pairs")
    kinds_of_number = (np.uint8, np.uint8, np.uint8, np.uint8, np.float32, np.float32, np.str_)
    return Samples(*(np.stack(parts[name]).astype(kind) for name, kind in zip(FIELDS, kinds_of_number, strict=True)))


def _sample(picture: U8, classes: U8, cover: U8, oval: U8, five: F32, kind: str) -> tuple[U8, U8, U8, U8, F32, F32]:
    """One row of a shard at KEPT_PX: wearer, classes, occluder, zone, five, skin."""
    scale = KEPT_PX / picture.shape[0]
    small, kinds = _shrunk(picture, KEPT_PX), _shrunk(classes, KEPT_PX, True)
    things = _things_only(_shrunk(cover, KEPT_PX), kinds)
    if kind in HAIR_KINDS:
        kinds, things = np.where(kinds == OCCLUDER_CLASS, np.uint8(HAIR_CLASS), kinds), np.zeros_like(things)
    return small, kinds, things, _zone_of(_shrunk(oval, KEPT_PX)), (five + 0.5) * scale - 0.5, _skin_of(small, kinds)


def standard_five() -> F32:
    """Five points of a face that looks ahead, in pixels of a kept sample: ArcFace's template as livecam's crop takes it."""
    return template_px(CropSpec(KEPT_PX, "arcface_112_v2", 0.78, (0.0, -0.06))).astype(np.float32)


def make_pool(count: int, seed: int, five: F32, kinds: Sequence[str] = ()) -> Pool:
    """`count` occluders before a standard face, of all skin tones; kinds: only these, in turn."""
    layers = np.zeros((count, KEPT_PX, KEPT_PX, 5), np.uint8)
    skin = np.zeros((count, 3), np.float32)
    hair = np.zeros(count, np.bool_)
    for k in range(count):
        rng = np.random.default_rng([seed, 11, k])
        tone = np.clip(np.array(TONES_SRGB[k % len(TONES_SRGB)]) * np.exp(rng.normal(0, 0.06)) * np.exp(rng.normal(0, 0.03, 3)), 10, 250)
        for _ in range(5):
            made = occluders.place(rng, five, KEPT_PX, tuple(tone.tolist()), kinds[k % len(kinds)] if kinds else None)
            if np.count_nonzero(made.alpha) > 0.01 * made.alpha.size:
                break
        layers[k, ..., :3], layers[k, ..., 3], layers[k, ..., 4] = made.image, made.alpha, made.shadow
        skin[k], hair[k] = tone[::-1], made.kind in HAIR_KINDS
    return Pool(layers, hair, skin, five, np.stack([make_back(np.random.default_rng([seed, 13, k]), five) for k in range(BACKS)]))


def make_back(rng: np.random.Generator, five: F32) -> U8:
    """A background (K, K, 3) BGR: coarse patterns of cloth, walls and blobs, in or out of focus."""
    spot = occluders.find_spot(five, KEPT_PX, (128.0, 128.0, 128.0))
    out = np.zeros((KEPT_PX, KEPT_PX, 3), np.float32)
    for k in range(int(rng.integers(1, 4))):
        x, y = _things.grid(spot, rng.uniform(0, KEPT_PX, 2), float(rng.uniform(-90, 90)))
        coarse = float(rng.uniform(0.3, 6))
        tone = _things.pattern(rng, spot, x / coarse, y / coarse)
        edge = np.clip(x / float(rng.uniform(0.5, 30)) + 0.5, 0, 1)[..., None] if k else np.float32(1)
        out = out + (tone - out) * edge
    out = out * (1 + 0.1 * _things.grain(rng, spot.size, float(rng.uniform(0.3, 16)))[..., None])
    image = np.clip(film.tone(np.maximum(out, 0).astype(np.float32)), 0, 255)[..., ::-1]
    return np.ascontiguousarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 5)))).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Change:
    """How much batches are changed. extra: share of samples that get one more occluder; degree: of place, light and camera, 0..1."""

    extra: float = 0.6
    degree: float = 1.0


def make_batch(samples: Samples, pool: Pool, rng: np.random.Generator, count: int, size: int, change: Change
               ) -> tuple[F32, NDArray[np.int64], F32, F32]:
    """x (N, 3, size, size) RGB 0..1; classes (N, size / 2, size / 2); occluder, zone (N, 1, size, size) 0..1."""
    x = np.zeros((count, 3, size, size), np.float32)
    classes = np.zeros((count, size // 2, size // 2), np.int64)
    cover, where = np.zeros((count, 1, size, size), np.float32), np.zeros((count, 1, size, size), np.float32)
    for k, index in enumerate(rng.integers(0, len(samples), count)):
        picture, kinds, alpha, zone = one_sample(samples, int(index), pool, rng, size, change)
        x[k] = picture[..., ::-1].transpose(2, 0, 1) / np.float32(255)
        classes[k], cover[k, 0], where[k, 0] = kinds[::2, ::2], alpha / np.float32(255), zone / np.float32(255)
    return x, classes, cover, where


def one_sample(samples: Samples, index: int, pool: Pool, rng: np.random.Generator, size: int, change: Change) -> tuple[U8, U8, U8, U8]:
    """picture (size, size, 3) BGR, classes, occluder, zone (size, size), all uint8."""
    move = _move(rng, size, change.degree)
    flip = bool(rng.random() < 0.5)
    picture, kinds, alpha, zone = (_moved(v[index], move, size, labels) for v, labels in
                                   ((samples.wearer, False), (samples.classes, True), (samples.occluder, False), (samples.zone, True)))
    if flip:
        picture, kinds, alpha, zone = (np.ascontiguousarray(v[:, ::-1]) for v in (picture, kinds, alpha, zone))
    if rng.random() < REDRESSED * change.degree:
        picture = _redress(picture, kinds, pool.backs[int(rng.integers(len(pool.backs)))], rng)
    if rng.random() < SHADED * change.degree:
        picture = _shaded(picture, rng)
    if rng.random() < change.extra:
        five = samples.five[index] @ move[:, :2].T + move[:, 2]
        if flip:
            five = np.array([size - 1, 0]) + five[[1, 0, 2, 4, 3]] * np.array([-1, 1])
        picture, alpha, kinds = put_extra(picture, alpha, kinds, five.astype(np.float32), samples.skin[index], pool, rng, change.degree)
    return _photo(picture, rng, change.degree), kinds, alpha, zone


def _redress(picture: U8, kinds: U8, back: U8, rng: np.random.Generator) -> U8:
    """Another background, other clothes, other hair: what tells a thing from these must not be their colour."""
    out = picture.astype(np.float32)
    if rng.random() < 0.7:
        weight = cv2.blur((kinds == BACK_CLASS).astype(np.float32), (3, 3))[..., None]
        size = picture.shape[0]
        out += (cv2.resize(back, (size, size), interpolation=cv2.INTER_AREA) - out) * weight
    for kind, amount in ((BODY_CLASS, 0.5), (HAIR_CLASS, 0.35)):
        weight = cv2.blur((kinds == kind).astype(np.float32), (3, 3))[..., None]
        out *= 1 + (np.exp(rng.normal(0, amount) + rng.normal(0, amount / 2, 3)) - 1) * weight
    return np.clip(out, 0, 255).astype(np.uint8)


def _move(rng: np.random.Generator, size: int, degree: float) -> F32:
    """Kept sample -> network's input, (2, 3)."""
    scale = size / KEPT_PX * float(np.exp(rng.normal(-0.05, 0.12) * degree))
    a = np.deg2rad(rng.normal(0, 7 * degree))
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) * scale
    shift = (size - 1) / 2 - turn @ np.full(2, (KEPT_PX - 1) / 2) + rng.normal(0, 0.04 * size * degree, 2)
    return np.concatenate([turn, shift[:, None]], 1).astype(np.float32)


def _moved(picture: U8, move: F32, size: int, labels: bool) -> U8:
    flags = cv2.INTER_NEAREST if labels else cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(picture, move, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _shaded(picture: U8, rng: np.random.Generator) -> U8:
    """An edge of light and shadow, sharp or soft, across the picture: not what the network is to open."""
    size = picture.shape[0]
    a, middle = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.75, 2) * size
    x, y = np.meshgrid(np.arange(size) - middle[0], np.arange(size) - middle[1])
    across, along = np.cos(a) * x + np.sin(a) * y, np.cos(a) * y - np.sin(a) * x
    edge = across + rng.normal(0, 0.1) * size * np.sin(along / size * rng.uniform(2, 9) + rng.uniform(0, 6))
    share = 1 / (1 + np.exp(-np.clip(edge / rng.uniform(0.5, 12), -30, 30)))
    if rng.random() < 0.4:
        share *= 1 / (1 + np.exp(-np.clip((rng.uniform(0.1, 0.3) * size - edge) / rng.uniform(0.5, 12), -30, 30)))
    low = rng.uniform(0.35, 0.9) * np.exp(rng.normal(0, 0.05, 3))
    return np.clip(picture * (1 + (low - 1) * share[..., None]), 0, 255).astype(np.uint8)


def _worn(layers: U8, rng: np.random.Generator) -> U8:
    """A thing (S, S, 4) colour and alpha, lit unevenly, with a grain, out of focus or in motion."""
    size = layers.shape[0]
    light = cv2.resize(rng.normal(0, 0.16, (3, 3)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    grain = cv2.resize(rng.normal(0, rng.uniform(0, 0.07), (size // 2, size // 2)).astype(np.float32), (size, size))
    colour = np.clip(layers[..., :3] * np.exp(light + grain)[..., None], 0, 255)
    alpha = layers[..., 3:].astype(np.float32) / 255
    if rng.random() < 0.5:
        return np.dstack([colour, layers[..., 3]]).astype(np.uint8)
    together = np.dstack([colour * alpha, alpha]).astype(np.float32)
    if rng.random() < 0.4:
        reach, turn = int(rng.integers(3, 10)), float(rng.uniform(0, 180))
        line = np.zeros((reach, reach), np.float32)
        line[reach // 2] = 1
        line = cv2.warpAffine(line, cv2.getRotationMatrix2D(((reach - 1) / 2, (reach - 1) / 2), turn, 1), (reach, reach))
        together = cv2.filter2D(together, -1, line / max(float(line.sum()), 1e-3))
    else:
        together = cv2.GaussianBlur(together, (0, 0), float(rng.uniform(0.4, 1.6)))
    colour = together[..., :3] / np.maximum(together[..., 3:], 1e-3)
    return np.clip(np.dstack([colour, 255 * together[..., 3]]), 0, 255).astype(np.uint8)


def put_extra(picture: U8, alpha: U8, kinds: U8, five: F32, skin: F32, pool: Pool, rng: np.random.Generator, degree: float = 0.0
              ) -> tuple[U8, U8, U8]:
    """One occluder of the pool before a sample's face: new picture, alpha and classes. Strands count as hair. degree: how much it is
    changed on its own, and how often only its shadow is laid."""
    chosen = rng.integers(0, len(pool.layers), CANDIDATES)
    index = int(chosen[np.argmin(np.abs(np.log((pool.skin[chosen] + 8) / (skin + 8))).sum(1))])
    source = pool.five.copy()
    layers = pool.layers[index]
    if rng.random() < 0.5:
        layers = np.ascontiguousarray(layers[:, ::-1])
        source = np.array([KEPT_PX - 1, 0], np.float32) + source[[1, 0, 2, 4, 3]] * np.array([-1, 1], np.float32)
    move = fit_similarity(source, five)
    turn = cv2.getRotationMatrix2D((float(five[2, 0]), float(five[2, 1])), float(rng.normal(0, 10)), float(np.exp(rng.normal(0, 0.15))))
    move = turn[:, :2] @ np.concatenate([move[:, :2], move[:, 2:]], 1) + np.concatenate([np.zeros((2, 2)), turn[:, 2:]], 1)
    move[:, 2] += rng.normal(0, 6, 2)
    size = picture.shape[0]
    moved = cv2.warpAffine(layers[..., :4], move, (size, size), borderMode=cv2.BORDER_REPLICATE)
    shade = cv2.warpAffine(layers[..., 4], move, (size, size), borderMode=cv2.BORDER_REPLICATE)
    # The hand's tone is brought to the person's, most of the way.
    gain = np.exp(np.log((skin + 8) / (pool.skin[index] + 8)) * rng.uniform(0.6, 1.1))
    moved[..., :3] = np.clip(moved[..., :3] * gain, 0, 255).astype(np.uint8)
    if rng.random() < WORN * degree:
        moved = _worn(np.asarray(moved, np.uint8), rng)
    if rng.random() < SHADOW_ONLY * degree:
        return np.asarray(cv2.multiply(picture, cv2.merge([255 - np.asarray(shade, np.uint8)] * 3), scale=1 / 255), np.uint8), alpha, kinds
    thing = occluders.Occluder(np.ascontiguousarray(moved[..., :3]), np.ascontiguousarray(moved[..., 3]), "", np.asarray(shade, np.uint8))
    if pool.hair[index]:
        before = thing.alpha >= OPAQUE
        return occluders.over(picture, thing), np.where(before, np.uint8(0), alpha), np.where(before, np.uint8(HAIR_CLASS), kinds)
    total = 255 - (255 - alpha.astype(np.uint16)) * (255 - thing.alpha) // 255
    kinds = np.where(thing.alpha >= OPAQUE, np.uint8(OCCLUDER_CLASS), kinds)
    return occluders.over(picture, thing), total.astype(np.uint8), kinds


def fit_similarity(source: F32, target: F32) -> NDArray[np.float64]:
    """Least-squares rotation, scale and shift (2, 3) of points (N, 2) onto points (N, 2)."""
    s, t = source - source.mean(0), target - target.mean(0)
    norm = float((s ** 2).sum())
    a, b = float((s * t).sum()) / norm, float((s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]).sum()) / norm
    turn = np.array([[a, -b], [b, a]])
    return np.concatenate([turn, (target.mean(0) - turn @ source.mean(0))[:, None]], 1)


def _photo(picture: U8, rng: np.random.Generator, degree: float) -> U8:
    if rng.random() < 0.35 * degree:
        return camera.apply(picture, camera.sample(rng), int(rng.integers(1 << 31)))
    gain = np.exp(rng.normal(0, 0.22 * degree) + rng.normal(0, 0.08 * degree, 3))
    gamma, lift = np.exp(rng.normal(0, 0.22 * degree)), rng.uniform(0, 14 * degree)
    ramp = np.arange(256, dtype=np.float64)[:, None] / 255
    table = np.clip(255 * (ramp * gain) ** gamma * (1 - lift / 255) + lift, 0, 255).astype(np.uint8)
    out = np.asarray(cv2.LUT(picture, np.ascontiguousarray(table[None])), np.uint8)
    if rng.random() < 0.08 * degree:
        out = np.repeat(cv2.cvtColor(out, cv2.COLOR_BGR2GRAY)[..., None], 3, 2)
    if rng.random() < 0.4 * degree:
        noise = rng.normal(0, rng.uniform(1, 7), out.shape).astype(np.float32)
        out = cv2.convertScaleAbs(np.clip(out + noise, 0, 255))
    return np.asarray(out, np.uint8)
