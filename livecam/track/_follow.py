"""Following faces from frame to frame, whatever network finds the landmarks.

A frame goes this way: each track looks where its face was; a track without a good score, with a degenerate box or outside the frame is lost; of two
tracks on one face the older stays.  If the frame was searched, detections are given to tracks; a track that lies elsewhere than its detection starts
anew from it, and a detection without a track begins one.  Numbers only count up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from livecam import geometry
from livecam.config import TrackConfig
from livecam.errors import StageError
from livecam.track._landmarks import Landmarker, Landmarks, box_of
from livecam.track._region import Region
from livecam.track._smooth import Smoother
from livecam.types import F32, F64, U8, Detection, Face, Frame

SAME_IOU = 0.3
"""Boxes of detector and mesh differ in forehead and chin; of one face they overlap by 0.5 and more."""
NEAR = 0.6
"""A detection whose centre is nearer to a track's than this share of their mean side is of the same face."""
CONVERGED_IOU = 0.55
"""Two faces cannot overlap so much and both be seen."""
LEAST_SIDE_PX = 10.0
"""Below it a mesh is noise."""
MOST_SIDES = 4.0
"""A box larger than so many frames is none."""
LEAST_VISIBLE = 0.2
"""Share of a box inside the frame below which the face has left it."""
FAST_SHIFT, FAST_TURN_DEG = 0.03, 2.0
"""A region that moved by more than this share of its side, or turned by more, between two frames is expected to go on so."""
OFF_SHIFT, OFF_TURN_DEG = 0.05, 3.0
"""A face found so far from the middle of where it was looked for is looked at once more: the network drags landmarks to the middle of its crop."""
LONGEST_GAP_NS = 1_000_000_000
"""After a gap between frames longer than this the old places say nothing."""


@dataclass(slots=True)
class _Track:
    """One face being followed. found: what was seen last, and where to look next. before: where it was one frame earlier, None if not followed."""

    number: int
    found: Landmarks
    smoother: Smoother
    before: Region | None = None

    @property
    def box_px(self) -> F32:
        return box_of(self.found.points_px)


Finish = Callable[[Face, F64], Face]
"""Adds to a face what only this kind of landmarks knows, from the smoothed points."""


class Follower:
    """The tracker behind all members of this room. Called from one thread, once a frame."""

    def __init__(
        self,
        config: TrackConfig,
        landmarker: Landmarker,
        stable: NDArray[np.intp],
        finish: Finish,
        licence: str,
        trusts_detector: bool = False,
    ) -> None:
        """stable: points whose similarity is the face's. trusts_detector: a track that a search does not find is lost (landmarks without a score)."""
        self.licence = licence
        self._config = config
        self._landmarker = landmarker
        self._stable = stable
        self._finish = finish
        self._trusts_detector = trusts_detector
        self._tracks: list[_Track] = []
        self._next_number = 1
        self._last_ns: int | None = None

    def update(self, frame: Frame, detections: tuple[Detection, ...] | None) -> tuple[Face, ...]:
        """Faces in `frame`, smoothed, oldest track first; see Tracker. Raises StageError for a picture that is none."""
        image = frame.image
        if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < 1:
            raise StageError(f"track expects a picture (H, W, 3) uint8, found {image.shape} {image.dtype}")
        passed_ns = 0 if self._last_ns is None else frame.capture_ns - self._last_ns
        self._last_ns = frame.capture_ns
        if not -LONGEST_GAP_NS <= passed_ns <= LONGEST_GAP_NS:
            self._drop(self._tracks)
        seen = [self._follow(image, track) for track in self._tracks]
        lost = [track for track, found in zip(self._tracks, seen, strict=True) if found is None]
        for track, found in zip(self._tracks, seen, strict=True):
            track.before, track.found = (track.found.region, found) if found else (None, track.found)
        if detections is not None:
            lost = self._meet(image, detections, lost)
        self._drop(lost)
        self._part()
        return tuple(self._face(track, passed_ns / 1e9) for track in self._tracks)

    def reset(self) -> None:
        """Forget all faces; their numbers stay used."""
        self._drop(self._tracks)
        self._last_ns = None

    def _follow(self, image: U8, track: _Track) -> Landmarks | None:
        """Looks where the track's face should be by now, and once more if it is not in the middle there."""
        region = _expected(track)
        found = self._look(image, region, track.number)
        if found is None and region is not track.found.region:
            region = track.found.region
            found = self._look(image, region, track.number)
        if found is None or not region.differs(found.region, OFF_SHIFT, OFF_TURN_DEG):
            return found
        return self._look(image, found.region, track.number)

    def _look(self, image: U8, region: Region, number: int) -> Landmarks | None:
        """The landmarks in `region`, None when there is no face."""
        if not region.ok():
            return None
        found = self._landmarker.find(image, region, number)
        return found if self._good(found, image) else None

    def _good(self, found: Landmarks, image: U8) -> bool:
        if not found.ok() or found.score < self._config.min_score:
            return False
        height, width = image.shape[:2]
        x0, y0, x1, y1 = box_of(found.points_px).tolist()
        inside = max(min(x1, width) - max(x0, 0.0), 0.0) * max(min(y1, height) - max(y0, 0.0), 0.0)
        shorter, longer = min(x1 - x0, y1 - y0), max(x1 - x0, y1 - y0)
        return shorter >= LEAST_SIDE_PX and longer <= MOST_SIDES * max(height, width) and inside >= LEAST_VISIBLE * shorter * longer

    def _meet(self, image: U8, detections: tuple[Detection, ...], lost: list[_Track]) -> list[_Track]:
        """Gives detections to tracks and begins new ones; returns the tracks that are still lost."""
        pairs, free = _match([track.box_px for track in self._tracks], detections)
        unseen = [track for i, track in enumerate(self._tracks) if i not in pairs and track not in lost] if self._trusts_detector else []
        still_lost = [*lost, *unseen]
        for i, track in enumerate(self._tracks):
            detection, overlap = pairs.get(i, (None, 0.0))
            if detection is None or (overlap >= SAME_IOU and track not in lost):
                continue
            self._landmarker.forget(track.number)
            found = self._seed(image, detection, track.number)
            if found is not None:
                track.before, track.found = None, found
                track.smoother.reset()
                still_lost = [t for t in still_lost if t is not track]
        room = self._config.max_faces - len(self._tracks) + len(still_lost)
        for detection in sorted(free, key=_area, reverse=True)[: max(room, 0)]:
            self._begin(image, detection, still_lost)
        return still_lost

    def _seed(self, image: U8, detection: Detection, number: int) -> Landmarks | None:
        """Looks at the detection, then once more where the landmarks say: a box is a coarse place."""
        first = self._look(image, self._landmarker.seed(detection), -1)
        return None if first is None else self._look(image, first.region, number)

    def _begin(self, image: U8, detection: Detection, lost: list[_Track]) -> None:
        number = self._next_number
        found = self._seed(image, detection, number)
        if found is None:
            self._landmarker.forget(number)
            return
        box = box_of(found.points_px)
        if any(geometry.iou(box, track.box_px)[0, 0] > CONVERGED_IOU for track in self._tracks if track not in lost):
            self._landmarker.forget(number)
            return
        self._next_number += 1
        self._tracks.append(_Track(number, found, Smoother(self._stable)))

    def _part(self) -> None:
        """Of tracks that have come to lie on one face, the older stays."""
        doubles: list[_Track] = []
        for i, track in enumerate(self._tracks):
            older = [t for t in self._tracks[:i] if t not in doubles]
            if any(geometry.iou(track.box_px, t.box_px)[0, 0] > CONVERGED_IOU for t in older):
                doubles.append(track)
        self._drop(doubles)

    def _drop(self, tracks: list[_Track]) -> None:
        gone = {track.number for track in tracks}
        for number in gone:
            self._landmarker.forget(number)
        self._tracks = [track for track in self._tracks if track.number not in gone]

    def _face(self, track: _Track, passed_s: float) -> Face:
        points, five = track.smoother(track.found.points_px, track.found.five_px, passed_s)
        face = Face(track.number, box_of(points), five.astype(np.float32), track.found.score)
        return self._finish(face, points)


def _expected(track: _Track) -> Region:
    """Where to look now: a fast face is expected to go on as it went."""
    now, before = track.found.region, track.before
    if before is None or not before.differs(now, FAST_SHIFT, FAST_TURN_DEG):
        return now
    return now.onward(before)


def _area(detection: Detection) -> float:
    x0, y0, x1, y1 = detection.box_px.tolist()
    return max(x1 - x0, 0.0) * max(y1 - y0, 0.0)


def _match(boxes: list[F32], detections: tuple[Detection, ...]) -> tuple[dict[int, tuple[Detection, float]], list[Detection]]:
    """Pairs by overlap, best first, then by nearness: {index of box: (detection, IoU)}, and the detections that no box took."""
    if not boxes or not detections:
        return {}, list(detections)
    a, b = np.stack(boxes).astype(np.float64), np.stack([d.box_px for d in detections]).astype(np.float64)
    overlap = geometry.iou(a, b)
    centre_a, centre_b = (a[:, :2] + a[:, 2:]) / 2, (b[:, :2] + b[:, 2:]) / 2
    sides = (_side(a)[:, None] + _side(b)[None]) / 2
    apart = np.linalg.norm(centre_a[:, None] - centre_b[None], axis=2) / np.maximum(sides, 1e-6)
    merit = np.where((overlap > 0.1) | (apart < NEAR), overlap + 0.1 * (1.0 - np.minimum(apart, 1.0)) + 1e-6, 0.0)
    pairs: dict[int, tuple[Detection, float]] = {}
    taken: set[int] = set()
    for flat in np.argsort(-merit, axis=None).tolist():
        i, j = divmod(flat, len(detections))
        if merit[i, j] <= 0:
            break
        if i not in pairs and j not in taken:
            pairs[i] = (detections[j], float(overlap[i, j]))
            taken.add(j)
    return pairs, [d for j, d in enumerate(detections) if j not in taken]


def _side(boxes: F64) -> F64:
    return np.sqrt(np.maximum(np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1), 0.0))
