"""Glasses put on a head: their mesh, fitted to the nose, the eyes, the temples and the ears of a neutral base mesh.

The front is a curved, tilted sheet z = z0 - x^2 / 2R + tilt * (y - middle) that is moved forward until rims, lenses and hinges stand clear of
brows, nose, cheeks and corneas; between the lenses the bridge arches over the nose, and pads lie on its sides. The temples run from the
hinges along the tautest line outside the head to where the ears begin, and bend down behind them. One side is fitted and mirrored (people
are symmetrical).

Convention: as in `identity`: decimetres, y up, z towards the viewer, x > 0 the subject's left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from engines.synth import raster
from engines.synth.assets import Bytes, Floats, Ints
from engines.synth.expression import joints
from engines.synth.glasses import EDGE_V, OUTLINES, TRIM_V, Glasses, outline_points
from engines.synth.glasses_mesh import GLASS_EDGE, METAL, MIRROR, PLASTIC, Mesh
from engines.synth.identity import base_mesh

EAR_TOP_NEAR = (0.74, 7.33, 0.56)
"""Where the left ear begins above, on the base mesh: the nearest vertex is what temples lie on."""
HEAD_HALF_WIDTH_DM = 0.70
"""Of the head for which `glasses.OUTLINES` are meant, before the ears."""
MAP_STEP_DM = 0.01
FRONT_RADIUS_DM = 3.2
"""Curvature of the front around the face."""
RIM_CLEAR_DM, LENS_CLEAR_DM, CORNEA_CLEAR_DM = 0.022, 0.05, 0.125
"""Room behind rims, lenses (lids), and before the eye."""
FARTHEST_DM = 0.24
"""No front stands further before the cornea than this, whatever the nose."""
CORNEA_DM = 0.125
"""From the eye's middle to its front."""
TEMPLE_CLEAR_DM = 0.012
FORWARD_DM = {"rim": 0.03, "lens": 0.02, "bridge": 0.09, "temple": 0.01}
"""Parts are drawn before surfaces that lie no further before them: cheeks that rise in a smile move glasses, they do not pierce them, and
a persona's nose, higher than the wearer's, is under the wearer's bridge."""
BRIDGE_CLEAR_DM = 0.010
BRIDGES_DM = (0.080, 0.088, 0.096, 0.105, 0.115)
"""Half distances between the lenses: the least one that lets the front sit near is taken."""
EDGE_POINTS, LENS_RINGS = 48, 5


@dataclass(frozen=True, slots=True)
class Fitted:
    """Glasses on a head. points (P, 3): frame's, then lenses'; tri (T, 3), uv (T, 3, 2), kind (T,) of the frame; lens_tri (U, 3) of the lenses;
    lens_up (P,) 0 at a lens' lower, 1 at its upper edge; middles (2,): points in the lenses' middles."""

    points: Floats
    tri: Ints
    uv: Floats
    kind: Bytes
    lens_tri: Ints
    lens_up: Floats
    middles: tuple[int, int]
    forward: Floats


@dataclass(frozen=True, slots=True)
class Relief:
    """A height map of a head; row 0 is the least of the second axis, columns run along the first."""

    height: Floats
    low: tuple[float, float]

    def at(self, a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
        """Heights at places; -9 where there is nothing."""
        rows, columns = self.height.shape
        i = np.clip(np.rint((np.asarray(a) - self.low[0]) / MAP_STEP_DM).astype(int), 0, columns - 1)
        j = np.clip(np.rint((np.asarray(b) - self.low[1]) / MAP_STEP_DM).astype(int), 0, rows - 1)
        return self.height[j, i].astype(np.float64)


def relief(base: Floats, axes: tuple[int, int, int], low: tuple[float, float], high: tuple[float, float]) -> Relief:
    """Height map of the body along axes[2] over axes[0] and axes[1] between low and high."""
    mesh = base_mesh()
    tri = np.ascontiguousarray(mesh.tri[mesh.groups["body"]])
    width, rows = (int((high[k] - low[k]) / MAP_STEP_DM) + 1 for k in range(2))
    xs, ys = (((base[:, axes[k]] - low[k]) / MAP_STEP_DM).astype(np.float32) for k in range(2))
    depth = np.zeros((rows, width), np.float32)
    none = np.zeros((2, 2), np.uint8)
    raster.raster_depth(xs, ys, np.ascontiguousarray(base[:, axes[2]] + 10), tri, np.zeros((len(tri), 3, 2), np.float32), none,
                        np.zeros(len(tri), np.uint8), depth)
    return Relief(np.where(depth > 0, depth - 10, -9).astype(np.float32), low)


@lru_cache(maxsize=1)
def ear_top() -> int:
    """Base vertex where the left ear begins above."""
    mesh = base_mesh()
    body = np.unique(mesh.tri[mesh.groups["body"]])
    off = ((mesh.vertices[body] - np.array(EAR_TOP_NEAR, np.float32)) ** 2).sum(1)
    return int(body[np.argmin(off)])


@dataclass(frozen=True, slots=True)
class _Front:
    """The sheet on which lenses lie, and where: middle (x, y) of the left lens; half its width; edge (N, 2) of unit width."""

    glasses: Glasses
    middle: tuple[float, float]
    half: float
    edge: Floats
    z0: float

    def z(self, x: NDArray[np.floating] | float, y: NDArray[np.floating] | float) -> NDArray[np.float64]:
        """The sheet's depth at places."""
        tilt = np.tan(np.deg2rad(self.glasses.tilt_deg))
        return np.asarray(self.z0 - np.square(x) / (2 * FRONT_RADIUS_DM) + tilt * (np.asarray(y) - self.middle[1]), np.float64)

    def normal(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """Unit normals (N, 3) at x (N,)."""
        tilt = np.tan(np.deg2rad(self.glasses.tilt_deg))
        n = np.stack([np.asarray(x) / FRONT_RADIUS_DM, np.full(len(x), -tilt), np.ones(len(x))], 1)
        return n / np.linalg.norm(n, axis=1, keepdims=True)

    def places(self, share: float = 1.0, more: float = 0.0) -> NDArray[np.float64]:
        """x, y (N, 2) of the lens' edge, at a share of its size, grown by `more` dm."""
        xy = np.array(self.middle) + self.edge.astype(np.float64) * self.half * share
        return xy + more * self.outward()

    def outward(self) -> NDArray[np.float64]:
        """Unit normals (N, 2) of the edge in the front's plane."""
        along = np.roll(self.edge, -1, 0).astype(np.float64) - np.roll(self.edge, 1, 0)
        out = np.stack([along[:, 1], -along[:, 0]], 1)
        return np.asarray(out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9), np.float64)

    def at(self, xy: NDArray[np.floating]) -> NDArray[np.float64]:
        """Points (N, 3) of the sheet."""
        return np.concatenate([np.asarray(xy, np.float64), self.z(xy[:, 0], xy[:, 1])[:, None]], 1)


def _placed(glasses: Glasses, base: Floats, face: Relief, width: float) -> _Front:
    """The front where it sits best: the narrowest bridge that is not pushed away from the eyes by the nose."""
    eye = base[joints()["l-eye"]].mean(0).astype(np.float64)
    edge = outline_points(glasses.shape, glasses.height, EDGE_POINTS)
    half = OUTLINES[glasses.shape].half_width * glasses.size * width / HEAD_HALF_WIDTH_DM - 0.5 * glasses.rim_dm
    best: _Front | None = None
    least = eye[2] + CORNEA_DM + CORNEA_CLEAR_DM
    for bridge in BRIDGES_DM:
        front = _Front(glasses, (bridge + half + glasses.rim_dm * 0.5, float(eye[1]) - glasses.drop_dm), half, edge, 0.0)
        z0 = max(least - float(front.z(eye[0], eye[1])), _clear(front, face))
        front = _Front(glasses, front.middle, half, edge, z0)
        if best is None or z0 < best.z0 - 0.012:
            best = front
        if z0 < least + 0.06:
            break
    assert best is not None
    most = float(eye[2]) + CORNEA_DM + FARTHEST_DM - float(best.z(eye[0], eye[1])) + best.z0
    return _Front(glasses, best.middle, half, edge, min(best.z0, most))


def _clear(front: _Front, face: Relief) -> float:
    """The least z0 with room behind rims and lenses."""
    needs: list[float] = []
    rim, deep = front.glasses.rim_dm, front.glasses.depth_dm
    rings = ((1.0, rim, RIM_CLEAR_DM + deep / 2), (1.0, 0.0, RIM_CLEAR_DM + deep / 2), (0.8, 0.0, LENS_CLEAR_DM), (0.5, 0.0, LENS_CLEAR_DM))
    for share, more, room in rings:
        xy = front.places(share, more)
        needs.append(float((face.at(xy[:, 0], xy[:, 1]) + room - front.z(xy[:, 0], xy[:, 1])).max()))
    return max(needs)


def _rim(mesh: Mesh, front: _Front) -> None:
    """The rim around the lens; of half-rims above alone, of rimless ones the lens' bare edge."""
    g = front.glasses
    width = np.full(EDGE_POINTS, g.rim_dm)
    deep = np.full(EDGE_POINTS, g.depth_dm)
    up = front.edge[:, 1] / max(float(np.abs(front.edge[:, 1]).max()), 1e-6)
    parts: list[tuple[NDArray[np.bool_], int, float | None, float]] = []
    if g.shape == "rimless":
        parts.append((np.ones(EDGE_POINTS, bool), GLASS_EDGE, EDGE_V, 0.25))
        width[:], deep[:] = 0.007, 0.016
    elif g.shape == "half-rim":
        parts.append((up > -0.12, METAL, TRIM_V, 1.0))
        parts.append((up <= 0.05, GLASS_EDGE, EDGE_V, 0.25))
    elif g.shape == "browline":
        parts.append((up > 0.15, PLASTIC, None, 1.0))
        parts.append((up <= 0.3, METAL, TRIM_V, 1.0))
        width = np.where(up > 0.15, 0.030 + 0.55 * g.rim_dm * np.clip((up - 0.15) / 0.4, 0, 1), 0.012)
        deep = np.where(up > 0.15, g.depth_dm, 0.016)
    else:
        parts.append((np.ones(EDGE_POINTS, bool), PLASTIC if g.acetate else METAL, None if g.acetate else TRIM_V, 1.0))
    if g.acetate and g.shape in ("square", "cat-eye", "rectangular", "panto"):
        width = width * (1 + 0.35 * np.clip(up, 0, 1))
    for chosen, kind, band, size in parts:
        half = np.where(chosen, width * size / 2, 0.004)
        xy = front.places(1.0) + front.outward() * half[:, None]
        normal = front.normal(xy[:, 0])
        out = np.concatenate([front.outward(), np.zeros((EDGE_POINTS, 1))], 1)
        out = out - (out * normal).sum(1, keepdims=True) * normal
        wide = out * half[:, None]
        thick = normal * (deep * (size if size == 1 else 0.5) / 2)[:, None]
        if chosen.all():
            mesh.tube(front.at(xy), wide, thick, kind, band, closed=True, forward=FORWARD_DM["rim"])
        else:
            run = _run(chosen)
            mesh.tube(front.at(xy)[run], wide[run], thick[run], kind, band, forward=FORWARD_DM["rim"])


def _run(chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The indices of the one run of True in a ring."""
    first = int(np.flatnonzero(chosen & ~np.roll(chosen, 1))[0])
    return (first + np.arange(int(chosen.sum()))) % len(chosen)


def _lens(front: _Front) -> tuple[Floats, Ints, Floats]:
    """Points (P, 3) of the left lens, the middle one first; triangles; how far up (P,) 0..1."""
    g = front.glasses
    points = [front.at(np.array([front.middle]))]
    bulge = 0.022 * g.bulge * (front.half / 0.26) ** 2
    points[0][0, 2] += bulge
    for ring in range(1, LENS_RINGS + 1):
        share = ring / LENS_RINGS
        at = front.at(front.places(share))
        at[:, 2] += bulge * (1 - share ** 2)
        points.append(at)
    all_points = np.concatenate(points)
    k = np.arange(EDGE_POINTS)
    after = (k + 1) % EDGE_POINTS
    tri = [np.stack([np.zeros_like(k), 1 + k, 1 + after], 1)]
    for ring in range(LENS_RINGS - 1):
        a, b = 1 + ring * EDGE_POINTS, 1 + (ring + 1) * EDGE_POINTS
        tri.append(np.stack([a + k, b + k, b + after], 1))
        tri.append(np.stack([a + k, b + after, a + after], 1))
    y = all_points[:, 1]
    up = (y - y.min()) / max(float(y.max() - y.min()), 1e-6)
    return all_points.astype(np.float32), np.concatenate(tri).astype(np.int32), up.astype(np.float32)


def _bridge(mesh: Mesh, front: _Front, face: Relief) -> None:
    """The bridge, from lens to lens; pilot's glasses have a bar above it."""
    g = front.glasses
    levels = [0.34] if g.acetate or g.shape not in ("aviator",) else [0.30, 0.86]
    for level in levels:
        xy = front.places(1.0)
        inner = xy[xy[:, 0] < front.middle[0]]
        wanted = front.middle[1] + level * float(np.abs(front.edge[:, 1]).max()) * front.half
        start = inner[np.argmin(np.abs(inner[:, 1] - wanted))]
        half_height = (0.032 if g.acetate else 0.010) if g.rim_dm < 0.03 or not g.acetate else 0.042
        thick = g.depth_dm / 2 if g.acetate else 0.008
        x = np.linspace(start[0] + 0.004, 0.0, 9)
        y = start[1] + (0.020 if level < 0.5 else -0.005) * (1 - (x / max(start[0], 1e-3)) ** 2)
        nose = np.max([face.at(x, y + d) for d in (-half_height, 0.0, half_height)], 0)
        z = np.maximum(front.z(x, y), nose + thick + BRIDGE_CLEAR_DM)
        # Taut and smooth: no kink where the nose begins.
        z = np.maximum(z, z[-1] - (x / start[0]) ** 2 * max(z[-1] - front.z(x, y)[0], 0))
        half = np.stack([x, y, z], 1)
        path = np.concatenate([half, half[-2::-1] * [-1, 1, 1]])
        from_middle = np.abs(path[:, :1]) / start[0]
        wide = [0.0, half_height, 0.0] * (0.75 + 0.35 * from_middle ** 2)
        along = np.gradient(path, axis=0)
        deep = np.cross(along, [0.0, 1.0, 0.0])
        deep = deep / np.linalg.norm(deep, axis=1, keepdims=True) * thick
        plastic = g.acetate and g.shape != "browline"
        mesh.tube(path, wide, deep, PLASTIC if plastic else METAL, None if plastic else TRIM_V,
                  forward=FORWARD_DM["bridge"])


def _pads(mesh: Mesh, front: _Front, face: Relief) -> None:
    """A nose pad between rim and nose; with an arm where the frame is of metal."""
    g = front.glasses
    plastic = g.acetate and g.shape != "browline"
    xy = front.places(1.0)
    inner = xy[xy[:, 0] < front.middle[0] - 0.5 * front.half]
    root = inner[np.argmin(np.abs(inner[:, 1] - (front.middle[1] - 0.05)))]
    back = float(front.z(root[0], root[1])) - g.depth_dm / 2
    x = np.linspace(max(root[0] - 0.05, 0.03), root[0] + 0.03, 17)
    gap = np.abs(face.at(x, np.full(len(x), root[1] - 0.02)) - (back - 0.045))
    px, py = float(x[np.argmin(gap)]), float(root[1]) - 0.02
    pz = float(face.at(np.array([px]), np.array([py]))[0])
    slope = float(face.at(np.array([px - 0.02]), np.array([py]))[0] - face.at(np.array([px + 0.02]), np.array([py]))[0]) / 0.04
    normal = np.array([np.clip(slope, 0.3, 4.0), 0.0, 1.0])
    normal /= np.linalg.norm(normal)
    middle = np.array([px, py, pz]) + 0.010 * normal
    up = np.array([0.12, 1.0, 0.1])
    reach = np.linspace(-1, 1, 7)
    round_ = np.sqrt(np.clip(1 - reach ** 2, 0.02, 1))[:, None]
    side = np.cross(up, normal)
    side /= np.linalg.norm(side)
    mesh.tube(middle + reach[:, None] * 0.045 * up, side * 0.022 * round_, normal * 0.008 * round_, PLASTIC if plastic else GLASS_EDGE,
              None if plastic else EDGE_V)
    arm = np.stack([np.array([root[0], root[1] + 0.03, back]), np.array([(root[0] + px) / 2, root[1] + 0.02, (back + pz) / 2 - 0.01]),
                    middle + 0.008 * normal])
    size = 0.012 if plastic else 0.005
    mesh.tube(arm, np.tile([0.0, size, 0.0], (3, 1)), np.tile([size * 0.7, 0.0, size * 0.7], (3, 1)), PLASTIC if plastic else METAL,
              None if plastic else TRIM_V)


def _taut(z: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The concave hull of x over falling z: the shortest line from its first to its last point outside all others."""
    kept: list[int] = []
    for k in range(len(z)):
        while len(kept) > 1:
            i, j = kept[-2], kept[-1]
            if (x[j] - x[i]) * (z[i] - z[k]) > (x[k] - x[i]) * (z[i] - z[j]):
                break
            kept.pop()
        kept.append(k)
    return np.interp(-z, -z[kept], x[kept])


def _temple(mesh: Mesh, front: _Front, side: Relief, ear: NDArray[np.float64]) -> None:
    """Endpiece, hinge and temple in one tube, from the rim to behind the ear."""
    g = front.glasses
    up = float(front.edge[:, 1].max()) * front.half
    y0 = front.middle[1] + OUTLINES[g.shape].hinge * up
    xy = front.places(1.0, g.rim_dm * 0.5)
    outer = xy[xy[:, 0] > front.middle[0]]
    start = outer[np.argmin(np.abs(outer[:, 1] - y0))]
    top = ear + np.array([0.0, 0.012, 0.0])
    thick = 0.016 if g.acetate else 0.008
    z_hinge = float(front.z(start[0] + 0.04, start[1]))
    z = np.linspace(z_hinge - 0.03, top[2], 26)
    part = (z_hinge - z) / (z_hinge - top[2])
    y = start[1] + (top[1] - start[1]) * part
    # Beside the ear the head's own side counts, as it is just above.
    beside = np.where(z < ear[2] + 0.10, ear[1] + 0.07, y)
    need = np.max([side.at(z, beside + d) for d in (-0.03, 0.0, 0.03)], 0) + thick + TEMPLE_CLEAR_DM
    need[0] = max(need[0], float(start[0]) + 0.035)
    x = _taut(z, need)
    bend = np.linspace(0, 1, 8)[1:]
    tail = np.stack([x[-1] - 0.05 * bend, top[1] - 0.05 * bend - 0.30 * bend ** 2, top[2] - 0.06 - 0.20 * bend], 1)
    z_start = float(front.z(start[0], start[1]))
    head = np.array([[start[0] - 0.01, start[1], z_start], [(start[0] + x[0]) / 2, start[1], z_start - 0.002],
                     [x[0] - 0.010, start[1], z_hinge - 0.002], [x[0] - 0.001, start[1], z_hinge - 0.012]])
    path = np.concatenate([head, np.stack([x, y, z], 1), tail])
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    rise = np.array([0.0, 1.0, 0.0]) - along * along[:, 1:2]
    rise /= np.linalg.norm(rise, axis=1, keepdims=True)
    out = np.cross(rise, along)
    share = np.linspace(0, 1, len(path))
    tall = (g.temple_dm * (1 - share) + min(g.temple_dm, 0.036) * share) / 2
    tall[:3] = np.minimum(tall[:3], np.array([0.7, 0.85, 1.0]) * max(g.temple_dm, 0.03) / 2)
    plastic = g.acetate
    mesh.tube(path, rise * tall[:, None], out * thick / 2, PLASTIC if plastic else METAL, None if plastic else TRIM_V, forward=FORWARD_DM["temple"])


def fit(glasses: Glasses, base: Floats) -> Fitted:
    """The mesh of glasses on a neutral base mesh (19158, 3)."""
    eye = base[joints()["l-eye"]].mean(0).astype(np.float64)
    ear = base[ear_top()].astype(np.float64)
    face = relief(base, (0, 1, 2), (0.0, float(eye[1]) - 0.8), (1.0, float(eye[1]) + 0.7))
    side = relief(base, (2, 1, 0), (float(eye[2]) - 1.6, float(eye[1]) - 0.6), (float(eye[2]) + 0.4, float(eye[1]) + 0.6))
    before_ear = np.linspace(ear[2] + 0.15, eye[2] - 0.35, 12)
    width = float(side.at(before_ear, np.full(12, eye[1])).max())
    front = _placed(glasses, base, face, width)
    mesh = Mesh()
    _rim(mesh, front)
    _temple(mesh, front, side, ear)
    _pads(mesh, front, face)
    mesh.mirror()
    _bridge(mesh, front, face)
    points = np.concatenate(mesh.points)
    lens, lens_tri, up = _lens(front)
    count, more = len(points), len(lens)
    lens_forward = np.full(2 * more, FORWARD_DM["lens"], np.float32)
    lens_tri = np.concatenate([lens_tri, lens_tri[:, ::-1] + more]).astype(np.int32)
    return Fitted(np.concatenate([points, lens, lens * MIRROR]), np.concatenate(mesh.tri), np.concatenate(mesh.uv), np.concatenate(mesh.kind),
                  lens_tri + np.int32(count),
                  np.concatenate([np.zeros(count, np.float32), up, up]), (count, count + more),
                  np.concatenate([*mesh.forward, lens_forward]))
