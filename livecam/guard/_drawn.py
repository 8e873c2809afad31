"""Does the drawing really hide the face? Judged from what was drawn, not from boxes.

Convention: points are (x, y) in frame pixels (pixel centres); alpha is in the crop; `alignment.matrix` takes frame to crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

from livecam.types import F32, F64, U8, Alignment, Detection, Face, Swapped

INTERIOR = 0.75
"""Without a mesh, the face's interior is its outline drawn in by this factor: persona and wearer fade into each other in a band outside."""
OPAQUE = 217
"""Alpha from which a pixel counts as hidden (0.85)."""
HALF = 128
"""Alpha from which a pixel counts as drawn at all."""
LEAST_HIDDEN = 0.93
"""Share of the interior that must be hidden."""
MOST_OPEN = 0.25
"""Share of one eye, the nose or the mouth that may be open."""
CANVAS_PX = 128
"""Crops of twice this side and more are judged at every second, third ... pixel: the shares below need no more samples."""
MARGIN = 0.25
"""Canvas around the crop, as share of its side: what of the face lies outside the crop counts as open."""
NEAR = 0.05
"""A detector's point may lie so far (share of the crop's side) outside what is drawn: detector and mesh differ by that."""
LEAST_AREA = 0.3
"""The drawing's area as share of a detection's box; less is a mask on something small inside a larger face."""
SAME = 2
"""Grey levels: a pixel that differs less from the raw one was not drawn."""
MOST_SAME = 0.3
"""Share of undrawn samples of the interior from which the drawing has not reached the frame (0.09 at most in 960 good frames)."""
MOST_UNTOUCHED = 0.06
"""The same for samples whose neighbours are undrawn too: a part of the face that the drawing left out (0.002 at most in those)."""
MARKED = 12
"""Grey levels: what the hidden mark changes at most is 3; a sample that changed by more after drawing was overwritten."""
MOST_RETURNED = 0.05
"""Share of the interior's samples that may have gone back to the wearer's own after drawing."""
DETAIL_PX = 64
"""Side at which drawing and wearer are compared for fine detail."""
MOST_ALIKE = 0.92
"""Correlation of their fine detail from which the drawing is the wearer's own face (0.76 at most in those frames, 1 for a copy, lit as it may be)."""
OWN_FACE = "the drawing is the wearer's own face"
LEAST_DETAIL = 0.5
"""Grey levels: a wearer with less detail than this, in the dark, is like anything."""
SAME_FACE_APART, SAME_FACE_SIZE = 0.35, 1.6
"""A detection is of the tracked face when their middles are nearer than this share of its width and their widths differ by less than this factor."""
LEAST_SAMPLES = 12
"""Fewer samples of the interior that no thing hides say nothing."""
PARTS = {
    "an eye": (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    "the other eye": (362, 382, 381, 380, 374, 373, 390, 249, 263, 466, 388, 387, 386, 385, 384, 398),
    "the nose": (168, 129, 98, 2, 327, 358),
    "the mouth": (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
}
"""Outlines on MediaPipe's mesh (face_mesh_connections.py of mediapipe 0.10)."""
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
FEATURES = np.array([*BROWS, *(index for part in PARTS.values() for index in part)])
"""What the interior spans on a mesh: brows, eyes, nose and mouth, and all between them. Cheeks and jaw may fade: on a turned head the drawing's
edge runs through them."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Evidence that a face was masked in this frame.

    face: as tracked in this frame. alignment, alpha ((S, S) uint8), swapped: what the blend was given. wearer: (S, S, 3) uint8, the wearer's crop.
    occluder: (S, S) uint8, 255 where a parser saw something before the face, or None.
    """

    face: Face
    alignment: Alignment
    alpha: U8
    swapped: Swapped
    wearer: U8
    occluder: U8 | None = None


def outline(face: Face) -> F32:
    """(N, 2) float32 convex outline of the face in frame pixels: of its mesh, or an upright ellipse on the five points."""
    if face.mesh_px is not None:
        return cast(F32, cv2.convexHull(np.ascontiguousarray(face.mesh_px[:468, :2], np.float32)).reshape(-1, 2))
    eyes, mouth = face.five_px[:2].mean(axis=0), face.five_px[3:5].mean(axis=0)
    down = mouth - eyes
    side = np.array((-down[1], down[0]), np.float32)
    turn = np.linspace(0.0, 2.0 * np.pi, 32, endpoint=False)[:, None]
    return (eyes + 0.55 * down + 1.3 * np.cos(turn) * down + np.sin(turn) * side).astype(np.float32)


def shrink(points: F32, factor: float) -> F32:
    """`points` drawn in towards their mean."""
    middle = points.mean(axis=0)
    return middle + (points - middle) * np.float32(factor)


def interior(face: Face) -> F32:
    """(N, 2) float32 convex outline, in frame pixels, of what must be hidden entirely."""
    if face.mesh_px is None:
        return shrink(outline(face), INTERIOR)
    return cast(F32, cv2.convexHull(np.ascontiguousarray(face.mesh_px[FEATURES, :2], np.float32)).reshape(-1, 2))


def _apply(matrix: F64, points: F32) -> F32:
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def _fill(shape: tuple[int, int], polygon: F32) -> U8:
    canvas = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(canvas, np.rint(polygon * 16.0).astype(np.int32), 255, cv2.LINE_8, 4)
    return canvas


def fault(drawn: Drawn, frame_size_px: tuple[int, int]) -> str:
    """Why this drawing does not hide its face, "" if it does. frame_size_px: (width, height)."""
    alignment, alpha, crop, wearer = drawn.alignment, drawn.alpha, drawn.swapped.crop, drawn.wearer
    size = alignment.size_px
    if alpha.shape != (size, size) or alpha.dtype != np.uint8 or crop.shape != (size, size, 3) or crop.dtype != np.uint8:
        return f"the drawing is {crop.shape} {crop.dtype} with a mask {alpha.shape} {alpha.dtype}, not {size} px of 8 bits"
    points = drawn.face.mesh_px if drawn.face.mesh_px is not None else drawn.face.five_px
    if not (np.isfinite(alignment.matrix).all() and np.isfinite(points).all()):
        return "the face's position is not finite"
    return _crop_fault(crop, wearer, alpha) or _open_fault(drawn.face, alignment, alpha, drawn.occluder, frame_size_px)


def _crop_fault(crop: U8, wearer: U8, alpha: U8) -> str:
    """A drawing that is black, white or flat where the wearer is not."""
    step = max(1, crop.shape[0] // 32)
    inside = alpha[::step, ::step] >= OPAQUE
    if not inside.any():
        return "the mask is empty"
    (level, spread), (was, spread_was) = _spread(crop[::step, ::step, 1][inside]), _spread(wearer[::step, ::step, 1][inside])
    if spread < 3.0 and spread_was > 8.0:
        return "the drawing is flat"
    if (level < 8.0 and was > 30.0) or (level > 247.0 and was < 225.0):
        return "the drawing is black or white"
    return OWN_FACE if own_face(crop, wearer, alpha) else ""


def own_face(crop: U8, wearer: U8, alpha: U8) -> bool:
    """Whether a drawing is the wearer's own face, lit as it may be. crop, wearer: (S, S, 3) uint8; alpha: (S, S) uint8."""
    return _alike(crop, wearer, alpha) > MOST_ALIKE


def _alike(crop: U8, wearer: U8, alpha: U8) -> float:
    """Correlation of what is finer than three samples of DETAIL_PX, where the drawing is opaque: -1..1. Another face's differs there."""
    step = max(1, crop.shape[0] // DETAIL_PX)
    inside = alpha[::step, ::step] >= OPAQUE
    drawn, own = (_detail(image[::step, ::step, 1])[inside] for image in (crop, wearer))
    if len(own) < LEAST_SAMPLES:
        return 0.0
    drawn, own = drawn - drawn.mean(), own - own.mean()
    energy, own_energy = float(drawn @ drawn), float(own @ own)
    if own_energy < LEAST_DETAIL**2 * len(own) or energy == 0.0:
        return 0.0
    return float(drawn @ own) / (energy * own_energy) ** 0.5


def _detail(image: U8) -> F32:
    fine = np.ascontiguousarray(image, np.float32)
    return cast(F32, fine - cv2.blur(fine, (3, 3)))


def _spread(values: U8) -> tuple[float, float]:
    """Mean and standard deviation."""
    mean, deviation = cv2.meanStdDev(values)
    return float(mean[0, 0]), float(deviation[0, 0])


def _open_fault(face: Face, alignment: Alignment, alpha: U8, occluder: U8 | None, frame_size_px: tuple[int, int]) -> str:
    step = max(1, alignment.size_px // CANVAS_PX)
    if step > 1:
        alpha, occluder = np.ascontiguousarray(alpha[::step, ::step]), None if occluder is None else np.ascontiguousarray(occluder[::step, ::step])
        alignment = Alignment(alignment.matrix / step, alpha.shape[0])
    size = alignment.size_px
    pad = round(MARGIN * size)
    side = size + 2 * pad
    hidden = np.zeros((side, side), np.uint8)
    cv2.threshold(alpha, OPAQUE - 1, 255, cv2.THRESH_BINARY, dst=hidden[pad : pad + size, pad : pad + size])
    if occluder is not None:
        part = hidden[pad : pad + size, pad : pad + size]
        cv2.bitwise_or(part, occluder, dst=part)
    inner = _fill((side, side), _apply(alignment.matrix, interior(face)) + pad)
    seen = _frame_in_crop(face, alignment, frame_size_px, pad, side)
    if seen is not None:
        cv2.bitwise_and(inner, seen, dst=inner)
    whole = cv2.countNonZero(inner)
    if not whole:
        return "the face lies outside its drawing"
    share = cv2.countNonZero(cv2.bitwise_and(inner, hidden)) / whole
    if share < LEAST_HIDDEN:
        return f"only {share:.0%} of a face is masked"
    return _part_fault(face, alignment, hidden, seen, pad) if share < 1.0 else ""


def _frame_in_crop(face: Face, alignment: Alignment, frame_size_px: tuple[int, int], pad: int, side: int) -> U8 | None:
    """Canvas mask of what lies inside the frame; None when the whole face does."""
    width, height = frame_size_px
    x0, y0, x1, y1 = face.box_px
    if x0 >= 0 and y0 >= 0 and x1 <= width - 1 and y1 <= height - 1:
        return None
    corners = np.array(((-0.5, -0.5), (width - 0.5, -0.5), (width - 0.5, height - 0.5), (-0.5, height - 0.5)), np.float32)
    mapped = _apply(alignment.matrix, corners) + pad
    return _fill((side, side), np.clip(mapped, -16000.0, 16000.0))


def _part_fault(face: Face, alignment: Alignment, hidden: U8, seen: U8 | None, pad: int) -> str:
    if face.mesh_px is None:
        return ""
    side = hidden.shape[0]
    all_placed = _apply(alignment.matrix, face.mesh_px[FEATURES, :2]) + np.float32(pad)
    start = len(BROWS)
    for name, indices in PARTS.items():
        placed = all_placed[start : start + len(indices)]
        start += len(indices)
        x, y, width, height = cv2.boundingRect(placed)
        x0, y0, x1, y1 = max(x - 1, 0), max(y - 1, 0), min(x + width + 1, side), min(y + height + 1, side)
        if x0 < x1 and y0 < y1 and cv2.countNonZero(hidden[y0:y1, x0:x1]) == (y1 - y0) * (x1 - x0):
            continue  # hidden with all around it
        points = cv2.convexHull(placed).reshape(-1, 2)
        part = _fill((hidden.shape[0], hidden.shape[1]), cast(F32, points))
        if seen is not None:
            cv2.bitwise_and(part, seen, dst=part)
        whole = cv2.countNonZero(part)
        if whole and cv2.countNonZero(cv2.bitwise_and(part, hidden)) < (1.0 - MOST_OPEN) * whole:
            return f"{name} is open"
    return ""


def _same_face(box: F32, found: F32) -> bool:
    """Whether a detection is of the tracked face itself, by place and size, and not of another one before it."""
    width, other = float(box[2] - box[0]), float(found[2] - found[0])
    apart = float(np.linalg.norm((box[:2] + box[2:] - found[:2] - found[2:]) / 2.0))
    return apart < SAME_FACE_APART * width and width / SAME_FACE_SIZE < other < width * SAME_FACE_SIZE


def hides(drawn: Drawn, detection: Detection, frame_size_px: tuple[int, int]) -> bool:
    """Whether the face that the detector saw lies inside what was drawn (its points, or the middle of its box, and not a much larger box)."""
    x0, y0, x1, y1 = (float(v) for v in detection.box_px)
    middle = np.array((((x0 + x1) / 2, (y0 + y1) / 2),), np.float32)
    points = middle if detection.five_px is None else np.concatenate((detection.five_px, middle))
    limit = np.array(frame_size_px, np.float32) - 1.0
    points = points[((points >= 0.0) & (points <= limit)).all(axis=1)]
    area = max(0.0, min(x1, limit[0]) - max(x0, 0.0)) * max(0.0, min(y1, limit[1]) - max(y0, 0.0))
    if not len(points):
        return False
    matrix = drawn.alignment.matrix
    scale2 = abs(float(np.linalg.det(matrix[:, :2])))
    covered = drawn.alpha
    if drawn.occluder is not None and _same_face(drawn.face.box_px, detection.box_px):
        covered = cv2.max(drawn.alpha, drawn.occluder)  # a mouth behind a hand is hidden; a second face before the first is not
    if np.count_nonzero(covered >= HALF) < LEAST_AREA * area * scale2:
        return False
    reach = max(1, round(NEAR * covered.shape[0]))
    grown = cv2.dilate(covered, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    x, y = np.rint(_apply(matrix, points)).astype(int).T
    size = grown.shape[0]
    if not ((x >= 0) & (x < size) & (y >= 0) & (y < size)).all():
        return False
    return bool((grown[y, x] >= HALF).all())


def _sampled(mask: U8, matrix: F64, scale: float, grid: tuple[int, int, int], shape: tuple[int, ...]) -> U8:
    """The crop's `mask` at the samples (x0 + step * i, y0 + step * j) of a picture `scale` times the frame's size: (h, w) uint8."""
    x0, y0, step = grid
    to_frame = np.array(((step / scale, 0.0, (x0 + 0.5) / scale - 0.5), (0.0, step / scale, (y0 + 0.5) / scale - 0.5)))
    both = matrix[:, :2] @ to_frame
    both[:, 2] += matrix[:, 2]
    # WARP_INVERSE_MAP: the matrix takes a sample to the crop.
    return cast(U8, cv2.warpAffine(mask, both, (shape[1], shape[0]), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, borderValue=(0,)))


@dataclass(frozen=True, slots=True)
class _Grid:
    """Which samples of a picture lie around a face's interior. box: x0, y0, x1, y1 in samples; scale: samples a frame pixel; hull: in samples."""

    box: tuple[int, int, int, int]
    step: int
    scale: float
    hull: F32

    def of(self, samples: U8) -> U8:
        x0, y0, x1, y1 = self.box
        return samples[y0 : y1 : self.step, x0 : x1 : self.step]

    def inside(self, drawn: Drawn) -> U8:
        """(h, w) uint8, 255 in the interior, less what a thing hides; all 0 when that leaves too little to judge: `fault` has judged the opening."""
        x0, y0, x1, y1 = self.box
        shape = (y1 - y0, x1 - x0)
        inside = np.ascontiguousarray(_fill(shape, self.hull - np.array((x0, y0), np.float32))[:: self.step, :: self.step])
        if drawn.occluder is None:
            return inside
        thing = _sampled(drawn.occluder, drawn.alignment.matrix, self.scale, (x0, y0, self.step), inside.shape)
        inside = cast(U8, cv2.bitwise_and(inside, cv2.bitwise_not(thing)))
        return inside if cv2.countNonZero(inside) >= LEAST_SAMPLES else np.zeros_like(inside)


def _grid(face: Face, shape: tuple[int, ...], frame_size_px: tuple[int, int]) -> _Grid | None:
    """For samples of `shape`; None when the interior is too small there to say anything."""
    scale = shape[1] / frame_size_px[0]
    hull = (interior(face) + np.float32(0.5)) * np.float32(scale) - np.float32(0.5)
    (low_x, low_y), (high_x, high_y) = hull.min(axis=0), hull.max(axis=0)
    x0, y0 = max(int(low_x), 0), max(int(low_y), 0)
    x1, y1 = min(int(high_x) + 2, shape[1]), min(int(high_y) + 2, shape[0])
    if x1 - x0 < 3 or y1 - y0 < 3:
        return None
    return _Grid((x0, y0, x1, y1), 1 + (x1 - x0) // 48, scale, hull)  # a large face needs no more samples than a small one


def _near(a: U8, b: U8, levels: int) -> U8:
    """(h, w) uint8, 255 where all three colours differ by no more than `levels`."""
    return cast(U8, cv2.inRange(cv2.absdiff(a, b), (0, 0, 0), (levels, levels, levels)))


def reached(drawn: Drawn, raw: U8, after: U8, frame_size_px: tuple[int, int]) -> bool:
    """Whether the drawing is really in the picture, all of it. raw, after: samples of the frame before and after drawing. frame_size_px: (width,
    height)."""
    grid = _grid(drawn.face, raw.shape, frame_size_px)
    if grid is None:
        return True
    inside = grid.inside(drawn)
    same = cv2.bitwise_and(_near(grid.of(raw), grid.of(after), SAME), inside)
    whole = cv2.countNonZero(inside)
    untouched = cv2.erode(same, np.ones((3, 3), np.uint8), borderValue=(0,))
    return cv2.countNonZero(same) <= MOST_SAME * whole and cv2.countNonZero(untouched) <= MOST_UNTOUCHED * whole


def stayed(drawn: Drawn, raw: U8, after: U8, final: U8, frame_size_px: tuple[int, int]) -> bool:
    """Whether the drawing is still there when the frame is finished. raw, after, final: samples before drawing, after it, and as it would go out."""
    grid = _grid(drawn.face, raw.shape, frame_size_px)
    if grid is None:
        return True
    finished = grid.of(final)
    overwritten = cv2.bitwise_not(_near(finished, grid.of(after), MARKED))
    if not cv2.countNonZero(overwritten):
        return True
    inside = grid.inside(drawn)
    returned = cv2.bitwise_and(cv2.bitwise_and(overwritten, inside), _near(finished, grid.of(raw), MARKED))
    return cv2.countNonZero(returned) <= MOST_RETURNED * cv2.countNonZero(inside)
