"""Where a persona's points go on the wearer's face: pose, shape, lids.

Convention:
    Meshes are (468, 3) float32 x right, y down, z away from the camera. The persona's own frame is its frontal portrait in portrait pixels, centred
    on the mean of the rigid points. A pose takes it to the crop: crop = scale * (R @ persona) + shift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from livecam.swap import _mesh_points
from livecam.swap import _mesh_triangles as topology
from livecam.swap._mesh_map import Map, Shapes
from livecam.types import F32, F64

RIGID = (33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 10, 151, 9, 8, 127, 356, 234, 454, 67, 297, 54, 284, 21, 251, 162, 389, 93, 323, 2, 98, 327)
"""Points that expression hardly moves."""
RIM = (0.0, 0.12)
"""Distances from the outline, in face widths, between which the persona's own shape comes in; the outline stays the wearer's, or the seam would leave
it."""
EYE_CORNERS = ((33, 133), (362, 263))
LEARN_LEAST = 0.004
"""A wearer's mean shape keeps adapting by this share a frame (8 s at 30 fps) after its first second."""
SHUT_BELOW = 0.18
"""Measured on four personas with shut eyes: lashes 0 to 0.35 of the tracker's gap below its lower lid line."""
WINK_RATE, WINK_LEAST = 0.12, 0.45
"""A difference of the eyes' openings that lasts for about eight frames is a wink..."""
WINK_TURNED, WINK_FACING = 0.5, 0.75
"""... unless the far eye is seen so much narrower than the near one: of a turned head's far eye the tracker reads a third of its opening."""
LIPS_START, LIPS_LOW, LIPS_HIGH = 0.02, 0.004, 0.045
"""First guess and bounds of the gap left between closed lips (measured on portraits with shut mouths: 0.002 to 0.056, median 0.015)."""
LIPS_MARGIN = 0.003
LIPS_TURNED = 3.0
"""How much less is known of the gap on a head that is turned away."""
OPEN_LOW, OPEN_HIGH = 0.45, 1.1
"""Bounds of the lid opening that counts as a wearer's wide open; the first one seen is the first guess."""
OPEN_FASTER, OPEN_FAST, OPEN_SLOW = 0.3, 0.08, 0.002
"""Share of the way to a wider opening, in the first frames and later, and to a narrower one."""
OPEN_FIRST_FRAMES = 15
LID_JUMP, LID_CALM = 0.4, 0.4
"""A change of the opening as large as the first is believed at once (a blink), small ones by the second's share each frame: of the tracker's noise a
third is left on the demo clip, and blinks close as far."""


LIDS_SEEN, LIDS_SEEN_FROM, LIDS_SEEN_OVER = 0.7, 0.35, 0.3
"""Share of the map's own lids in open ones, from which opening on, and over which range it comes in. On 127 held-out pairs the persona's lids alone
were 0.365 of the eye's width apart, the answer's 0.341; points of the eyes were 3.36 % of the eye distance off, with this 2.89."""


@dataclass(frozen=True, slots=True)
class Pose:
    """scale, rotation (3, 3) float64 and shift (3,) float64: persona -> crop."""

    scale: float
    rotation: F64
    shift: F64

    def apply(self, points: F32) -> F32:
        """(..., 3) persona points in the crop."""
        return (self.scale * (points @ self.rotation.T) + self.shift).astype(np.float32)

    def undo(self, points: F32) -> F32:
        """(..., 3) crop points in the persona's frame."""
        return ((points - self.shift) @ self.rotation / self.scale).astype(np.float32)


def fit_pose(persona: F32, crop: F32) -> Pose:
    """Least-squares similarity of the rigid points (Umeyama 1991, in space)."""
    rotation, shift = np.empty((3, 3)), np.empty(3)
    scale = _mesh_points.fit_pose(persona, crop, topology.rows(RIGID), rotation, shift)
    return Pose(scale, rotation, shift) if 0.0 < scale < math.inf else fit_pose_plain(persona, crop)


def fit_pose_plain(persona: F32, crop: F32) -> Pose:
    """`fit_pose` by a singular value decomposition; also for points that make a flat or mirrored figure."""
    index = topology.rows(RIGID)
    a, b = persona[index].astype(np.float64), crop[index].astype(np.float64)
    am, bm = a.mean(axis=0), b.mean(axis=0)
    ac, bc = a - am, b - bm
    u, singular, vt = np.linalg.svd(bc.T @ ac)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((singular * sign).sum() / (ac * ac).sum())
    return Pose(scale, rotation, bm - scale * rotation @ am)


@dataclass(frozen=True, slots=True)
class Eye:
    """One eye of a persona, in its own frame, relative to the middle of its corners.

    upper, lower: (9, 3) lid lines wide open; shut: (9, 3) the line where they meet. middle: (3,) of the corners. iris: (3,) centre, looking ahead.
    spread: (468, 18) how far other points follow the 18 lid points. width: between the corners. ball: radius of the eyeball.
    index: the 18 points, upper then lower.
    """

    index: tuple[int, ...]
    middle: F32
    upper: F32
    lower: F32
    shut: F32
    iris: F32
    spread: F32
    width: float
    ball: float


def make_eye(rest: F32, shut_mesh: F32, upper: tuple[int, ...], lower: tuple[int, ...], iris: F32, ball_per_iris: float) -> Eye:
    """The eye of a persona from its neutral and closed meshes. iris: (5, 3) points in the persona's frame."""
    up, low = rest[list(upper)], rest[list(lower)]
    middle = (up[0] + up[-1]) / 2
    ends = shut_mesh[[upper[0], upper[-1]]]
    shut = shut_line(shut_mesh, upper, lower) - (ends[0] + ends[1]) / 2
    width = float(np.linalg.norm(up[0] - up[-1]))
    contour = np.concatenate([up, low])
    gap = np.linalg.norm(rest[:, None, :2] - contour[None, :, :2], axis=2)
    share = 1.0 / (gap * gap + (0.03 * width) ** 2)
    share /= share.sum(axis=1, keepdims=True)
    fall = np.clip(1.0 - gap.min(axis=1) / (0.5 * width), 0.0, 1.0)
    spread = share * (fall * fall * (3 - 2 * fall))[:, None]
    spread[list(upper + lower)] = 0.0
    radius = float(np.linalg.norm(iris[1:, :2] - iris[0, :2], axis=1).mean())
    lines = (up - middle, low - middle, shut.astype(np.float32))
    return Eye(upper + lower, middle, *lines, iris[0] - middle, spread.astype(np.float32), width, radius * ball_per_iris)


def shut_line(mesh: F32, upper: tuple[int, ...], lower: tuple[int, ...]) -> F32:
    """(9, 3) where the lids of a shut eye meet. The tracker leaves a gap between them, all of it (and SHUT_BELOW more) on the upper lid."""
    up, low = mesh[list(upper)], mesh[list(lower)]
    return (low + np.float32(SHUT_BELOW) * (low - up)).astype(np.float32)


def jaw_open(local: F32, width: float) -> float:
    """Gap between the inner lips of a mesh (468, 3), as share of the face's width."""
    return float(np.linalg.norm(local[13] - local[14])) / width


def teaches(frontal: float, jaw: float) -> float:
    """How much one frame says of a mean shape, 0..1: turned heads and open mouths less. frontal: cosine of the turn; jaw: see jaw_open."""
    return max(0.0, 2.0 * frontal - 1.0) * max(0.05, 1.0 - 4.0 * jaw)


@dataclass(slots=True)
class Wearer:
    """What is learnt of one tracked face over time; changes with every frame.

    mean: (468, 3) shape in the persona's frame; slow: what the map of shapes sees of it; lips_closed: gap between the inner lips
    of the tracked mesh when the mouth is shut, as share of the face's width; wink: 0..1 for how long one eye has been shut alone.
    """

    mean: F32 | None = None
    slow: F32 | None = None
    frames: int = 0
    lips_closed: float = LIPS_START
    wink: float = 0.0
    open_reference: F64 = field(default_factory=lambda: np.full(2, OPEN_LOW))
    lids: F64 = field(default_factory=lambda: np.zeros(2))
    gaze_rest: F64 = field(default_factory=lambda: np.zeros(2))
    gaze: F64 = field(default_factory=lambda: np.zeros(2))

    def learn(self, shape: F32, frontal: float, jaw: float) -> F32:
        """The running mean of the wearer's shape in the persona's frame; turned heads and open mouths teach less. Returns it."""
        if self.mean is None:
            self.mean = shape.copy()
        rate = max(1.0 / (self.frames + 1.0), LEARN_LEAST) * teaches(frontal, jaw)
        self.mean += np.float32(rate) * (shape - self.mean)
        self.frames += 1
        return self.mean

    def close_lips(self, mesh: F32, seen: F32, pose: Pose, width: float) -> None:
        """Give the inner lips of `mesh` (crop, in place) the opening of the wearer's (`seen`), less the gap that the tracker leaves when shut.

        width: of the persona's face."""
        above, below = topology.rows(topology.MOUTH_UPPER), topology.rows(topology.MOUTH_LOWER)
        upper, lower = seen[above], seen[below]
        gap = abs(float((lower[5] - upper[5]) @ pose.rotation[:, 1])) / (pose.scale * width)
        rate = 0.1 if gap < self.lips_closed else 0.001
        self.lips_closed = min(max(self.lips_closed + rate * (gap - self.lips_closed), LIPS_LOW), LIPS_HIGH)
        turned = 1.0 + LIPS_TURNED * (1.0 - float(pose.rotation[2, 2]))
        idle = self.lips_closed * 1.25 * turned + LIPS_MARGIN
        share = max(0.0, gap - idle * math.exp(-0.5 * max(0.0, gap - idle) / idle)) / max(gap, 1e-6)
        middle = (mesh[above] + mesh[below]) / 2
        half = (lower - upper) * np.float32(share / 2)
        mesh[above] = middle - half
        mesh[below] = middle + half

    def openness(self, raw: F64, widths: F64) -> F64:
        """(2,) lid opening relative to what is wide open for this wearer, 0..1.15. widths: of the two eyes as seen.

        Eyes blink together, and one eye's reading is often wrong for a few frames: a difference is believed only when it lasts (a wink)."""
        if self.frames == 0:
            self.open_reference = raw
        rate = np.where(raw > self.open_reference, OPEN_FASTER if self.frames < OPEN_FIRST_FRAMES else OPEN_FAST, OPEN_SLOW)
        self.open_reference = np.clip(self.open_reference + rate * (raw - self.open_reference), OPEN_LOW, OPEN_HIGH)
        each = np.clip((raw / self.open_reference - 0.08) / 0.87, 0.0, 1.15)
        self.wink += WINK_RATE * (float(abs(each[0] - each[1]) > WINK_LEAST) - self.wink)
        believed = 0.3 + 0.7 * min(max((self.wink - 0.4) / 0.3, 0.0), 1.0)
        facing = float(widths.min()) / max(float(widths.max()), 1e-6)
        believed *= min(max((facing - WINK_TURNED) / (WINK_FACING - WINK_TURNED), 0.0), 1.0)
        both = float(each @ widths**2) / max(float((widths**2).sum()), 1e-6)
        change = both + believed * (each - both) - self.lids
        self.lids = self.lids + change * (1.0 if self.frames == 0 else np.clip(np.abs(change) / LID_JUMP, LID_CALM, 1.0))
        return self.lids


@dataclass(frozen=True, slots=True)
class Transfer:
    """By how much the wearer's points move towards where the persona's features belong: what the map says, nothing at the outline. weight:
    (468, 1); unit: distance between the persona's eyes; rest: (468, 3) the persona's mesh in that unit."""

    weight: F32
    unit: float
    rest: F32
    map: Map

    def slow(self, mean: F32) -> F32:
        """What the map sees of the wearer's mean shape (468, 3) and the persona's; to be kept for some frames."""
        return self.map.slow(self.rest - in_unit(mean, self.unit), self.rest)

    def apply(self, local: F32, mean: F32, rotation: F64, lids: F64, slow: F32 | None = None) -> F32:
        """(468, 3) of what is added to the wearer's mesh, all in the persona's frame. local: (468, 3) the wearer's mesh; lids: see Shapes."""
        now, own = (in_unit(mesh, self.unit) for mesh in (local, mean))
        added = np.zeros_like(local)
        # In depth it would turn triangles at the far eye away, and leave it open.
        added[:, :2] = self.weight * np.float32(self.unit) * self.map.apply(Shapes(now, self.rest - own, self.rest, rotation, lids), slow)
        return added


def in_unit(mesh: F32, unit: float) -> F32:
    """Points in another unit of length."""
    return (mesh / np.float32(unit)).astype(np.float32)


def make_transfer(rest: F32, learnt: Map) -> Transfer:
    """The transfer on a persona's neutral mesh."""
    width = float(np.ptp(rest[:, 0]))
    gap = np.linalg.norm(rest[:, None, :2] - rest[None, list(topology.OVAL), :2], axis=2).min(axis=1) / width
    weight = np.clip((gap - RIM[0]) / (RIM[1] - RIM[0]), 0.0, 1.0)
    eyes = [rest[[i, j]].mean(axis=0) for i, j in EYE_CORNERS]
    unit = math.dist(eyes[0].tolist(), eyes[1].tolist())
    return Transfer(weight[:, None].astype(np.float32), unit, in_unit(rest, unit), learnt)


def lid_lines(eye: Eye, openness: float) -> tuple[F32, F32]:
    """Upper and lower lid, (9, 3) each, relative to the middle of the corners: the persona's own, at `openness` 0 (shut) .. 1."""
    share = np.float32(openness)
    upper, lower = eye.shut + (eye.upper - eye.shut) * share, eye.shut + (eye.lower - eye.shut) * share
    return upper.astype(np.float32), lower.astype(np.float32)


def place_lids(mesh: F32, eye: Eye, openness: float, pose: Pose) -> F32:
    """Move the lids (and, fading, the skin around them) of `mesh` (crop, in place) to the persona's at `openness`; (3,) middle of the corners.

    Of open lids LIDS_SEEN stay where the map of shapes has brought them."""
    index = topology.rows(eye.index)
    middle = (mesh[eye.index[0]] + mesh[eye.index[8]]) / 2
    target = np.concatenate(lid_lines(eye, openness)) @ (pose.scale * pose.rotation.T).astype(np.float32) + middle
    seen = np.float32(LIDS_SEEN * min(max((openness - LIDS_SEEN_FROM) / LIDS_SEEN_OVER, 0.0), 1.0))
    target += seen * (mesh[index] - target)
    _mesh_points.move_lids(mesh, index, target, eye.spread)
    return middle


def mesh_openness(mesh: F32) -> F64:
    """(2,) lid opening read off a mesh, for trackers that do not say: height over width, 0.3 counts as wide open."""
    out = np.empty(2)
    for k, (upper, lower) in enumerate(((topology.RIGHT_UPPER, topology.RIGHT_LOWER), (topology.LEFT_UPPER, topology.LEFT_LOWER))):
        tall = np.linalg.norm(mesh[list(upper[3:6]), :2] - mesh[list(lower[3:6]), :2], axis=1).mean()
        wide = np.linalg.norm(mesh[upper[0]] - mesh[upper[-1]])
        out[k] = np.clip((tall / max(float(wide), 1e-3) - 0.06) / 0.24, 0.0, 1.2)
    return out
