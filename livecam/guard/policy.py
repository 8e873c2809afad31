"""Worker side: may this finished frame go on air? In doubt it is covered.

The pipeline asks on the compute thread, for every frame:

    policy.must_search(frame, followed)          before anything is drawn; True: search it now, and tell `policy.searched(frame, detections)`
    policy.judge(frame, drawn, left_open)        after drawing; on COVER the pipeline pixelates the whole frame
A frame that never comes to `judge` (a stage raised) counts as covered.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from livecam.config import DetectConfig, GuardConfig
from livecam.guard import _change, _drawn
from livecam.guard._drawn import Drawn
from livecam.types import F32, U8, Detection, Face, Frame, Verdict

__all__ = ["Drawn", "Policy"]

LEAST_COVER_MS = 150.0
"""A cover lasts at least so long, so that it does not flicker."""
AFTER_LOSS_MS = 400.0
"""When one of several faces is lost, the others go on after so long without any unmasked face."""
HEAD = 0.25
"""Share of a drawn face's box added on each side: hair and ears, in which change is no news."""
MOST_OUTSIDE = 0.12
"""Share of a face's box that may lie outside the frame (left, right, above): of a face cut off more the mesh cannot be trusted."""
MOST_BELOW = 0.3
SAME_PLACE = 0.3
"""Overlap (intersection over union) from which a new track is the lost one again."""


class Policy:
    """Judges the frames of one camera, in their order. Not thread-safe."""

    def __init__(self, detect: DetectConfig, guard: GuardConfig) -> None:
        """detect: `max_age_ms` and `guard_score` are the guard's. guard: kept for its times."""
        self._max_age_ns = int(detect.max_age_ms * 1e6)
        self._score = detect.guard_score
        self._guard = guard
        self.reset()

    def reset(self) -> None:
        """The source changed (another camera, another format): what was seen so far is void."""
        self._scene = _change.Scene()
        self._sampler = _change.Sampler(16, 16)
        self._raw: U8 = np.zeros((0, 0, 3), np.uint8)
        self._asked_ns: int | None = None
        self._searched_ns: int | None = None
        self._found: tuple[Detection, ...] = ()
        self._vouched: dict[int, F32] = {}
        self._drawn: tuple[Face, ...] = ()
        self._cover_until_ns: int | None = None
        self._judged = False
        self._reason = ""

    # -- before drawing ------------------------------------------------------------------------------------------------------------------

    def must_search(self, frame: Frame, followed: int) -> bool:
        """Whether this very frame must go through the whole-frame search. frame: raw. followed: faces tracked in the frame before."""
        now_ns = frame.capture_ns
        if self._asked_ns is not None and not self._judged:
            self._cover(self._asked_ns, "a stage failed")
        if self._asked_ns is not None and now_ns < self._asked_ns:
            self.reset()  # another clock: nothing that is known about ages holds
        self._asked_ns, self._judged = now_ns, False
        height, width = frame.image.shape[:2]
        if self._sampler.size_px != (width, height):
            self._sampler = _change.Sampler(width, height)
        self._raw = self._sampler.whole(frame.image)
        self._scene.look(self._raw, (width, height), now_ns)
        if not followed or not self._drawn or self._covering(now_ns) or self._searched_ns is None:
            return True
        return now_ns - self._searched_ns > self._max_age_ns or self._scene.changed([_grow(f.box_px, HEAD) for f in self._drawn])

    def searched(self, frame: Frame, detections: Sequence[Detection]) -> None:
        """The faces in the frame of the last `must_search`. To be called whenever it was searched, asked for or not."""
        if frame.capture_ns == self._asked_ns:
            self._searched_ns = frame.capture_ns
            self._found = tuple(d for d in detections if not d.score < self._score)  # a score that is not a number counts
            self._scene.searched()

    # -- after drawing -------------------------------------------------------------------------------------------------------------------

    def judge(self, frame: Frame, drawn: Sequence[Drawn], left_open: Sequence[Face] = ()) -> tuple[Verdict, str]:
        """(verdict, reason) for the frame of the last `must_search`, whose image is now as it would go out.

        drawn: what was drawn over each face. left_open: tracked faces that are deliberately shown. The reason is "" for LIVE."""
        now_ns = frame.capture_ns
        if now_ns != self._asked_ns or self._judged:
            return self._cover(now_ns, "a frame came out of turn")
        self._judged = True
        reason = self._fault(frame, drawn, left_open)
        self._drawn = tuple(d.face for d in drawn)
        if reason:
            return self._cover(now_ns, reason)
        if self._covering(now_ns):
            return Verdict.COVER, self._reason
        self._cover_until_ns = None
        return Verdict.LIVE, ""

    def _cover(self, now_ns: int, reason: str, least_ms: float = LEAST_COVER_MS) -> tuple[Verdict, str]:
        self._cover_until_ns = max(self._cover_until_ns or 0, now_ns + int(least_ms * 1e6))
        self._reason = reason
        return Verdict.COVER, reason

    def _covering(self, now_ns: int) -> bool:
        return self._cover_until_ns is not None and now_ns < self._cover_until_ns

    def _fault(self, frame: Frame, drawn: Sequence[Drawn], left_open: Sequence[Face]) -> str:
        """Every rule is asked, so that what is learned (scene, tracks) does not hang on their order; the first reason counts."""
        height, width = frame.image.shape[:2]
        fresh = self._searched_ns == frame.capture_ns
        loose = self._loose(drawn, left_open, (width, height)) if fresh else 0
        reasons = [self._age_fault(frame.capture_ns, bool(drawn or left_open), fresh), "a face is not masked" if loose else ""]
        reasons.append(self._loss_fault(frame.capture_ns, drawn, left_open))
        for one in drawn:
            reasons.append(self._drawn_fault(one, frame.image))
        if fresh:
            zones = [zone for face in (*(d.face for d in drawn), *left_open) for zone in _person(face, width, height)]
            reasons.append(self._scene.news(zones, loose > 0))
        return next((reason for reason in reasons if reason), "")

    def _age_fault(self, now_ns: int, anybody: bool, fresh: bool) -> str:
        if self._searched_ns is None or not 0 <= now_ns - self._searched_ns <= self._max_age_ns:
            return "the last whole search is too old"
        return "" if anybody or fresh else "an empty picture was not searched"

    def _loose(self, drawn: Sequence[Drawn], left_open: Sequence[Face], size_px: tuple[int, int]) -> int:
        """How many faces of this frame's search are neither masked nor left open; the tracks that vouch for the others are kept."""
        loose = 0
        for detection in self._found:
            hider = next((d.face for d in drawn if _drawn.hides(d, detection, size_px)), None)
            hider = hider or next((f for f in left_open if _overlap(f.box_px, detection.box_px) >= SAME_PLACE), None)
            if hider is None:
                loose += 1
        self._vouched = {face.track_id: face.box_px for face in (*(d.face for d in drawn), *left_open)}
        return loose

    def _loss_fault(self, now_ns: int, drawn: Sequence[Drawn], left_open: Sequence[Face]) -> str:
        """A face that was there and is not any more, nor another track in its place."""
        here = {f.track_id: f.box_px for f in (*(d.face for d in drawn), *left_open)}
        before = {f.track_id: f.box_px for f in self._drawn} | self._vouched
        for number, box in before.items():
            if number in here or any(_overlap(box, other) >= SAME_PLACE for other in here.values()):
                continue
            self._vouched.pop(number, None)
            self._cover(now_ns, "a face was lost", AFTER_LOSS_MS)
            return "a face was lost"
        return ""

    def _drawn_fault(self, drawn: Drawn, final: U8) -> str:
        size_px = (final.shape[1], final.shape[0])
        reason = _drawn.fault(drawn, size_px)
        if reason:
            return reason
        if not _drawn.reached(drawn, self._raw, final, self._sampler):
            return "the drawing is not in the picture"
        return _cut_off(drawn.face, size_px)


def _cut_off(face: Face, size_px: tuple[int, int]) -> str:
    x0, y0, x1, y1 = (float(v) for v in face.box_px)
    width, height = max(x1 - x0, 1.0), max(y1 - y0, 1.0)
    outside = max(-x0, x1 - size_px[0], 0.0) / width, max(-y0, 0.0) / height
    below = max(y1 - size_px[1], 0.0) / height
    return "a face is cut off by the edge" if max(outside) > MOST_OUTSIDE or below > MOST_BELOW else ""


def _grow(box: F32, share: float) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(v) for v in box)
    dx, dy = share * (x1 - x0), share * (y1 - y0)
    return x0 - dx, y0 - dy, x1 + dx, y1 + dy


def _person(face: Face, width_px: int, height_px: int) -> list[tuple[float, float, float, float]]:
    """Zones of the frame in which what moves is this person's: head with hair, and the body below it."""
    x0, y0, x1, y1 = (float(v) for v in face.box_px)
    w, h = x1 - x0, y1 - y0
    return [(x0 - 0.6 * w, y0 - 0.7 * h, x1 + 0.6 * w, float(height_px)), (x0 - 1.1 * w, y1, min(x1 + 1.1 * w, float(width_px)), float(height_px))]


def _overlap(a: F32, b: F32) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    both = float(np.prod(np.maximum(high - low, 0.0)))
    return both / max(float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - both, 1e-6)
