"""Draw a person: camera, occlusion, shadow, shading, hair, and the film at the end.

Convention: picture coordinates have (0, 0) at the centre of the top left pixel, x to the right, y
downwards. The camera looks along -z. Colours are linear until `develop`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.synth import glasses_draw, raster, screen, shade
from engines.synth.assets import Bytes, Floats, Ints
from engines.synth.expression import Pose
from engines.synth.light import Light
from engines.synth.person import Person, Points
from engines.synth.skin import to_linear

Screen = Callable[[Floats], tuple[Floats, Floats, Floats]]
"""Takes points to sample coordinates x, y and 1/distance."""

SHADOW_SIZE = 720
SHADOW_REACH_DM = 3.6
"""Half the side of the square that the shadow map covers around the face."""
AO_SIZE = 224
AO_DIRECTIONS = 56
BUMP = 2.6
STEEPEST = 2.0
"""Largest gradient of u or v per decimetre."""
LEAST_HAIR = 0.02
"""Glasses under less hair than this are not drawn under any."""
LUT = to_linear(np.arange(256, dtype=np.float32))


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole. focal_px; centre_px (x, y); position (3,) decimetres; size (width, height)."""

    focal_px: float
    centre_px: tuple[float, float]
    position: tuple[float, float, float]
    size: tuple[int, int]

    def project(self, points: NDArray[np.floating]) -> tuple[Floats, Floats, Floats]:
        """x, y in pixels and 1/distance of points (P, 3)."""
        return raster.project(np.ascontiguousarray(points, np.float32), np.array(self.position, np.float32),
                              self.focal_px, *self.centre_px)


@dataclass(frozen=True, slots=True)
class Occlusion:
    """Ambient occlusion 0..1 of the opaque points and of each layer, mouth shut and open."""

    shut: Floats
    open: Floats
    layers: tuple[Floats, ...]


@dataclass(frozen=True, slots=True)
class Planes:
    """What each sample shows, for labels: ids (H, W) int32 opaque triangle or -1; bary (H, W, 2)
    weights of its corners 0 and 1; veils: coverage (H, W) float32 0..1 of each layer; samples per
    pixel and axis; glasses (H, W) uint8: 1 where a frame or a lens is seen, None without any. ids, bary and
    veils tell what is there without glasses."""

    ids: Ints
    bary: Floats
    veils: tuple[Floats, ...]
    samples: int
    glasses: Bytes | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawn person: rgba (h, w, 4) float32 linear, premultiplied; origin (x, y) in the picture.

    points: what was drawn; planes: what each sample shows; None when nothing was drawn.
    """

    rgba: Floats
    origin: tuple[int, int]
    points: Points
    planes: Planes | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """What to draw: all by default. hair False leaves brows, lashes and hair out; triangles (K,)
    int32 picks opaque triangles of the person; shadow False draws none."""

    hair: bool = True
    triangles: Ints | None = None
    shadow: bool = True

    @property
    def glasses(self) -> bool:
        """Glasses go with the whole person alone."""
        return self.triangles is None


ALL = Parts()


def _light_frame(direction: NDArray[np.floating]) -> NDArray[np.float64]:
    d = np.asarray(direction, np.float64)
    d = d / np.linalg.norm(d)
    up = np.array([0.0, 1.0, 0.0]) if abs(d[1]) < 0.95 else np.array([1.0, 0.0, 0.0])
    x = np.cross(up, d)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(d, x), d])


def _map_transform(direction: NDArray[np.floating], centre: NDArray[np.floating], size: int,
                   reach: float) -> Floats:
    frame = _light_frame(direction)
    scale = size / (2 * reach)
    out = np.zeros((3, 4), np.float32)
    out[:2, :3] = frame[:2] * scale
    out[:2, 3] = size / 2 - out[:2, :3] @ centre
    out[2, :3] = frame[2]
    out[2, 3] = 100.0 - frame[2] @ centre
    return out


def _depth_map(person: Person, opaque: Floats, hair: Floats | None, xf: Floats, size: int,
               depth: Floats | None = None) -> Floats:
    out = np.zeros((size, size), np.float32) if depth is None else depth
    no_alpha = np.zeros((2, 2), np.uint8)

    def put(points: Floats, tri: Ints, uv: Floats, alpha: Bytes, flag: int) -> None:
        raster.raster_depth(*raster.affine(points, xf), tri, uv, alpha,
                            np.full(len(tri), flag, np.uint8), out)

    put(opaque, person.tri, person.uv, no_alpha, 0)
    if hair is not None:
        layer = person.layers[-1]
        put(hair, layer.top.tri, layer.top.uv, hair_alpha(person), 1)
    return out


def hair_alpha(person: Person) -> Bytes:
    """The hair's alpha (H, W) uint8 with its gain."""
    layer = person.layers[-1]
    return np.ascontiguousarray(
        np.clip(layer.texture[..., 3] * 255 * layer.gain, 0, 255).astype(np.uint8))


def _sphere(count: int) -> Floats:
    """Evenly spread directions (count, 3) (Fibonacci)."""
    k = np.arange(count) + 0.5
    y = 1 - 2 * k / count
    r = np.sqrt(1 - y * y)
    a = np.pi * (1 + 5 ** 0.5) * k
    return np.stack([r * np.cos(a), y, r * np.sin(a)], 1).astype(np.float32)


def _visibility(person: Person, points: Points, with_hair: bool, centre: Floats,
                directions: int = AO_DIRECTIONS, side: int = AO_SIZE) -> tuple[Floats, list[Floats]]:
    normals = person.normals(points.opaque)
    sets = [(points.opaque, normals)]
    for layer, pts in zip(person.layers, points.layers, strict=True):
        sets.append((pts, raster.vertex_normals(pts, layer.top.tri)))
    seen = [np.zeros(len(p), np.float32) for p, _ in sets]
    total = [np.full(len(p), 1e-6, np.float32) for p, _ in sets]
    hair = points.layers[-1] if with_hair and person.look.hair else None
    for d in _sphere(directions):
        xf = _map_transform(d, centre, side, 3.2)
        solid = _depth_map(person, points.opaque, None, xf, side)
        full = solid if hair is None else _depth_map(person, points.opaque, hair, xf, side,
                                                      solid.copy())
        for k, (pts, nrm) in enumerate(sets):
            xyz = pts @ xf[:, :3].T + xf[:, 3]
            col = np.clip(np.rint(xyz[:, 0]).astype(int), 0, side - 1)
            row = np.clip(np.rint(xyz[:, 1]).astype(int), 0, side - 1)
            cosine = nrm @ d
            weight = np.abs(cosine) * 0.5 + 0.25 if k == len(sets) - 1 else np.clip(cosine, 0, 1)
            clear = 1 - np.clip((solid[row, col] - xyz[:, 2] - 0.05) / 0.08, 0, 1)
            veil = 1 - np.clip((full[row, col] - xyz[:, 2] - 0.07) / 0.10, 0, 1)
            seen[k] += weight * np.minimum(clear, 0.25 + 0.75 * veil)
            total[k] += weight
    ao = [np.clip(s / t * 1.12, 0, 1).astype(np.float32) for s, t in zip(seen, total, strict=True)]
    return ao[0], ao[1:]


def bake_occlusion(person: Person, directions: int = AO_DIRECTIONS, size: int = AO_SIZE
                   ) -> Occlusion:
    """Occlusion from so many sides over depth maps of so many samples a side, once per person."""
    centre = person.head_centre().astype(np.float32)
    shut = person.pose(Pose())
    wide = person.pose(Pose(actions={"jawOpen": 1.0, "mouthLowerDownLeft": 0.5,
                                     "mouthLowerDownRight": 0.5, "mouthUpperUpLeft": 0.5,
                                     "mouthUpperUpRight": 0.5}))
    ao_shut, layers = _visibility(person, shut, True, centre, directions, size)
    ao_open, _ = _visibility(person, wide, True, centre, directions, size)
    # Eyes see light from the front between the lids; the lids' own shade is drawn in the picture.
    eyes = slice(person.part_start[1], person.part_start[2])
    ao_shut[eyes] = ao_open[eyes] = 0.95
    mouth = slice(person.part_start[2], person.part_start[4])
    ao_shut[mouth] = np.maximum(ao_open[mouth] * 0.6, 0.12)
    ao_open[mouth] = np.clip(ao_open[mouth] * 1.25, 0.10, 1.0)
    layers[0] = np.maximum(layers[0], 0.8)
    return Occlusion(ao_shut, ao_open, tuple(layers))


def _tangents(points: Floats, tri: Ints, uv: Floats) -> Floats:
    """Direction of growing v (P, 3) at each point: along the strands of most hair textures."""
    grad = raster.surface_gradients(points, tri, uv, STEEPEST)[:, 1]
    out = raster.gather_corners(np.ascontiguousarray(grad), tri, len(points))
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)


def _extent(camera: Camera, person: Person, points: Points, parts: Parts
            ) -> tuple[int, int, int, int]:
    xs, ys, _ = camera.project(points.opaque)
    if parts.triangles is not None:
        used = np.unique(person.tri[parts.triangles])
        xs, ys = xs[used], ys[used]
    if parts.hair and person.look.hair:
        hx, hy, _ = camera.project(points.layers[-1])
        xs, ys = np.concatenate([xs, hx]), np.concatenate([ys, hy])
    if points.glasses is not None and parts.glasses:
        gx, gy, _ = camera.project(points.glasses)
        xs, ys = np.concatenate([xs, gx]), np.concatenate([ys, gy])
    width, height = camera.size
    seen = ys < height + 60
    if not seen.any():
        return 0, 0, 0, 0
    xs, ys = xs[seen], ys[seen]
    x0, x1 = int(np.clip(xs.min() - 3, 0, width)), int(np.clip(xs.max() + 4, 0, width))
    y0, y1 = int(np.clip(ys.min() - 3, 0, height)), int(np.clip(ys.max() + 4, 0, height))
    return x0, y0, max(x1, x0), max(y1, y0)


def _thinning(points: Floats, normals: Floats, camera: Floats) -> Floats:
    """How much of the hair covers at each point (P,) for a camera (3,): less where it is seen edge on."""
    view = camera - points
    view /= np.linalg.norm(view, axis=1, keepdims=True)
    facing = np.abs((normals * view).sum(1))
    x = np.clip((facing - 0.01) / 0.27, 0, 1)
    return (x * x * (3 - 2 * x)).astype(np.float32)


class Renderer:
    """Draws one person; keeps what does not change from frame to frame."""

    def __init__(self, person: Person, occlusion: Occlusion | None = None,
                 supersample: int = 2, sparse: bool = False,
                 shadow_size: int = SHADOW_SIZE) -> None:
        """occlusion: baked here when None; supersample: samples per pixel and axis; sparse: shade
        outlines at every sample but surfaces once for four (three times as fast)."""
        self.person = person
        self.shadow_size = shadow_size
        self.occlusion = bake_occlusion(person) if occlusion is None else occlusion
        self.supersample = supersample
        self.sparse = sparse
        self._alpha = hair_alpha(person) if person.look.hair else np.zeros((2, 2), np.uint8)

    def draw(self, pose: Pose, camera: Camera, light: Light, parts: Parts = ALL,
             points: Points | None = None, clip: tuple[int, int, int, int] | None = None) -> Drawn:
        """Draw the person at a pose; an empty picture (0, 0, 4) when out of the frame.

        points: the person's points at the pose if known; clip: only this part x0, y0, x1, y1.
        """
        points = self.person.pose(pose) if points is None else points
        x0, y0, x1, y1 = _extent(camera, self.person, points, parts)
        if clip is not None:
            x0, y0, x1, y1 = max(x0, clip[0]), max(y0, clip[1]), min(x1, clip[2]), min(y1, clip[3])
        if x1 - x0 < 2 or y1 - y0 < 2:
            return Drawn(np.zeros((0, 0, 4), np.float32), (x0, y0), points)
        image, planes = self._samples(points, camera, light, parts, (x0, y0, x1 - x0, y1 - y0))
        size = (x1 - x0, y1 - y0)
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return Drawn(small, (x0, y0), points, planes)

    def _samples(self, points: Points, camera: Camera, light: Light, parts: Parts,
                 box: tuple[int, int, int, int]) -> tuple[Floats, Planes]:
        ss = self.supersample
        x0, y0, width, height = box
        px_per_dm = camera.focal_px * ss / max(
            camera.position[2] - float(points.eyes[:, 2].mean()), 1.0)

        def on_screen(p: Floats) -> tuple[Floats, Floats, Floats]:
            x, y, inv = camera.project(p)
            return ((x - x0 + 0.5) * ss - 0.5).astype(np.float32), (
                (y - y0 + 0.5) * ss - 0.5).astype(np.float32), inv

        shape = (height * ss, width * ss)
        depth = np.zeros(shape, np.float32)
        ids = np.full(shape, -1, np.int32)
        bary = np.zeros((*shape, 2), np.float32)
        xs, ys, inv = on_screen(points.opaque)
        tri, cull, keep = self.person.tri, self.person.cull, parts.triangles
        if keep is not None:
            tri, cull = tri[keep], cull[keep]
        raster.raster_ids(xs, ys, inv, tri, cull, depth, ids, bary)
        if keep is not None:
            ids = np.where(ids >= 0, keep[np.maximum(ids, 0)], -1).astype(np.int32)
        pair = self.person.glasses if parts.glasses else None
        worn = None if pair is None or points.glasses is None else glasses_draw.find(pair, points.glasses, on_screen, depth)
        full = depth if worn is None else worn.depth
        stage = self._stage(points, camera, light, parts, full, px_per_dm)
        image = self._shade(points, ids, bary, full, stage, px_per_dm)
        veils: tuple[Floats, ...] = ()
        if parts.hair:
            veils = self._hair(points, stage, image, depth, on_screen)
        if pair is None or worn is None:
            return image, Planes(ids, bary, veils, ss)
        glasses_draw.lay_over(pair, worn, stage, image)
        before = np.zeros_like(image)
        if parts.hair and self.person.look.hair and veils[-1][worn.mask].max(initial=0) > LEAST_HAIR:
            before = self._hair_before(points, stage, worn, on_screen)
        return image, Planes(ids, bary, veils, ss, glasses_draw.lay_hair(before, worn, image))

    def _stage(self, points: Points, camera: Camera, light: Light, parts: Parts, depth: Floats, px_per_dm: float) -> shade.Stage:
        shadow, xf, lamps = self._shadow(points, light, parts)
        return shade.Stage(np.array(camera.position, np.float32), lamps, light.ambient_rows(), shadow, xf,
                           *screen.mean_distances(depth, px_per_dm))

    def _occlusion(self, points: Points) -> Floats:
        part = np.float32(points.opening)
        return self.occlusion.shut * (1 - part) + self.occlusion.open * part

    def _shadow(self, points: Points, light: Light, parts: Parts
                ) -> tuple[Floats, Floats, Floats]:
        size = self.shadow_size
        lamps = light.lamp_rows(size / (2 * SHADOW_REACH_DM))
        centre = points.eyes[:, :3].mean(0) + np.array([0, -0.8, -0.8], np.float32)
        xf = _map_transform(lamps[0, :3], centre, size, SHADOW_REACH_DM)
        if not parts.shadow:
            return np.zeros((size, size), np.float32), xf, lamps
        out = np.zeros((size, size), np.float32)
        _depth_map(self.person, points.opaque, None, xf, size, out)
        if self.person.look.hair and parts.hair:
            layer = self.person.layers[-1]
            raster.raster_depth(*raster.affine(points.layers[-1], xf), layer.top.tri, layer.top.uv,
                                self._alpha, np.ones(len(layer.top.tri), np.uint8), out)
        if self.person.glasses is not None and points.glasses is not None and parts.glasses:
            glasses_draw.cast_shadow(self.person.glasses, points.glasses, xf, out)
        return out, xf, lamps

    def _shade(self, points: Points, ids: Ints, bary: Floats, depth: Floats, stage: shade.Stage, px_per_dm: float) -> Floats:
        person = self.person
        normals = person.normals(points.opaque)
        grad = raster.surface_gradients(points.opaque, person.tri, person.uv, STEEPEST)
        maps = person.skin_maps
        slot, at = shade.pick_samples(ids, depth, person.material, self.sparse)
        shaded = shade.shade_samples(
            at, ids, bary, person.tri, person.uv, person.material, points.opaque, normals,
            self._occlusion(points).astype(np.float32, copy=False), grad, stage.camera, stage.lamps,
            stage.ambient, stage.shadow, stage.xf, points.eyes, maps.albedo, maps.slopes, maps.gloss,
            person.eye_tex, person.teeth_tex, person.tongue_tex, person.cloth_tex, LUT,
            shade.MATERIALS, BUMP, stage.near, stage.wide, depth)
        return screen.compose(slot, shaded, ids, person.material, px_per_dm)

    def _hair(self, points: Points, stage: shade.Stage, image: Floats, depth: Floats, on_screen: Screen
              ) -> tuple[Floats, ...]:
        veils = tuple(np.zeros(depth.shape, np.float32) for _ in self.person.layers)
        for k, veil in enumerate(veils):
            self._layer(k, points, stage, image, depth, on_screen, veil)
        return veils

    def _hair_before(self, points: Points, stage: shade.Stage, worn: glasses_draw.Worn, on_screen: Screen) -> Floats:
        """Hair (H, W, 4) that hangs before glasses, premultiplied; nothing elsewhere."""
        image = np.zeros((*worn.front.shape, 4), np.float32)
        rows, columns = np.flatnonzero(worn.mask.any(1)), np.flatnonzero(worn.mask.any(0))
        box = (float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1]))
        depth = np.where(worn.mask, worn.front / (1 + glasses_draw.HAIR_DM * worn.front), np.float32(raster.FAR)).astype(np.float32)
        self._layer(len(self.person.layers) - 1, points, stage, image, depth, on_screen, np.zeros_like(depth), box)
        return image

    def _layer(self, k: int, points: Points, stage: shade.Stage, image: Floats, depth: Floats, on_screen: Screen, veil: Floats,
               box: tuple[float, float, float, float] | None = None) -> None:
        """Draw layer k (brows, lashes, hair) into image and veil; only triangles that reach into box x0, y0, x1, y1 if given."""
        layer, pts = self.person.layers[k], points.layers[k]
        is_hair = bool(self.person.look.hair) and k == len(self.person.layers) - 1
        normals = raster.vertex_normals(pts, layer.top.tri)
        lit, sheen = np.zeros_like(pts), np.zeros_like(pts)
        shade.shade_points(
            pts, normals, _tangents(pts, layer.top.tri, layer.top.uv), self.occlusion.layers[k], stage.camera, stage.lamps,
            stage.ambient, stage.shadow, stage.xf, layer.shine, lit, sheen)
        xs, ys, inv = on_screen(pts)
        order = np.argsort(inv[layer.top.tri].mean(1), kind="stable").astype(np.int32)
        if box is not None:
            x, y = xs[layer.top.tri[order]], ys[layer.top.tri[order]]
            order = order[(x.max(1) >= box[0]) & (y.max(1) >= box[1]) & (x.min(1) <= box[2]) & (y.min(1) <= box[3])]
        cover = layer.keep * (_thinning(pts, normals, stage.camera) if is_hair else np.float32(1))
        raster.blend_sorted(order, xs, ys, inv, layer.top.tri, layer.top.uv, lit, sheen, cover, layer.texture, layer.gain,
                            0.0005 if is_hair else 0.004, depth, image, veil)
