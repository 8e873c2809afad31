"""Worker side: may this finished frame go on air? In doubt it is covered.

The pipeline asks on the compute thread, for every frame:

    policy.must_search(raw, capture_ns)           before anything is drawn; True: search it now, and tell `policy.searched(detections)`
    policy.drew(drawn_over)                       after drawing, before the mark: the mark changes every pixel, so that an undrawn face seems drawn
    policy.judge(final, faces, drawn, open_ids)   after that -> Judgement; on COVER the pipeline pixelates the whole frame
    policy.failed(reason)                         instead of `judge`, when any stage raised
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from livecam import geometry
from livecam.config import DetectConfig
from livecam.guard import _change, _drawn
from livecam.guard._drawn import OWN_FACE, Drawn, own_face
from livecam.types import F32, U8, Detection, Face, Verdict

__all__ = ["OWN_FACE", "Drawn", "Judgement", "Policy", "own_face"]

LEAST_COVER_MS = 150.0
"""A cover lasts at least so long, so that it does not flicker."""
AFTER_LOSS_MS = 400.0
"""When one of several faces is lost, the others go on after so long without any unmasked face."""
HEAD = 0.25
"""Share of a drawn face's box added on each side: hair and ears, in which change is no news."""
MOST_OUTSIDE = 0.03
"""Share of a face's box that may lie outside the frame (left, right, above): of a face cut off the network draws all into the part that is left."""
AT_EDGE = 0.1
"""A face nearer to the frame's edge than this share of its box is searched for on every frame: whether the mesh fits is for the detector to say."""
MOST_BELOW = 0.3
SAME_PLACE = 0.3
"""Overlap (intersection over union) from which a new track is the lost one again."""
FARTHEST_LEAP = 0.4
"""Share of its own width by which a face may move from one frame to the next: landmarks follow from the frame before, and beyond this they lag."""
WIDEST_TURN_DEG = 12.0
"""The same for a turn in the picture's plane."""
MOST_GROWTH = 1.3
"""The same for its size, larger or smaller by this factor."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """verdict, and for COVER a short reason for the table (e.g. "a face is not masked")."""

    verdict: Verdict
    reason: str = ""


class Policy:
    """Judges the frames of one camera, in their order. Not thread-safe."""

    def __init__(self, detect: DetectConfig) -> None:
        """detect: `max_age_ms` and `guard_score` are the guard's."""
        self._max_age_ns = int(detect.max_age_ms * 1e6)
        self._score = detect.guard_score
        self.reset()

    def reset(self) -> None:
        """The source changed (another camera, another format): what was seen so far is void."""
        self._scene = _change.Scene()
        self._sampler = _change.Sampler(16, 16)
        self._raw: U8 = np.zeros((0, 0, 3), np.uint8)
        self._unmarked: U8 | None = None
        self._asked_ns: int | None = None
        self._searched_ns: int | None = None
        self._found: tuple[Detection, ...] = ()
        self._vouched: dict[int, F32] = {}
        self._faces: tuple[Face, ...] = ()
        self._cover_until_ns: int | None = None
        self._judged = False
        self._reason = ""

    # -- before drawing ------------------------------------------------------------------------------------------------------------------

    def must_search(self, image: U8, capture_ns: int) -> bool:
        """Whether this very frame must go through the whole-frame search. image: (H, W, 3) uint8 BGR, raw: call it before anything is drawn."""
        if self._asked_ns is not None and not self._judged:
            self._cover(self._asked_ns, "a stage failed")
        if self._asked_ns is not None and capture_ns < self._asked_ns:
            self.reset()  # another clock: nothing that is known about ages holds
        self._asked_ns, self._judged, self._unmarked = capture_ns, False, None
        height, width = image.shape[:2]
        if self._sampler.size_px != (width, height):
            self._sampler = _change.Sampler(width, height)
        self._raw = self._sampler.whole(image)
        self._scene.look(self._raw, (width, height), capture_ns)
        if not self._faces or self._covering(capture_ns) or self._searched_ns is None:
            return True
        if any(_at_edge(face, (width, height)) for face in self._faces):
            return True
        return capture_ns - self._searched_ns > self._max_age_ns or self._scene.changed([_grow(f.box_px, HEAD) for f in self._faces])

    def searched(self, detections: Sequence[Detection]) -> None:
        """The faces in the frame of the last `must_search`. To be called whenever it was searched, asked for or not."""
        self._searched_ns = self._asked_ns
        self._found = tuple(d for d in detections if not d.score < self._score)  # a score that is not a number counts
        self._scene.searched()

    # -- after drawing -------------------------------------------------------------------------------------------------------------------

    def drew(self, image: U8) -> None:
        """Keeps samples of the frame of the last `must_search` as it is after drawing and before the mark. image: (H, W, 3) uint8."""
        if image.shape[:2] == self._sampler.size_px[::-1]:
            self._unmarked = self._sampler.whole(image)

    def judge(self, image: U8, faces: Sequence[Face], drawn: Sequence[Drawn], open_ids: frozenset[int] = frozenset()) -> Judgement:
        """Judges the frame of the last `must_search`. image: (H, W, 3) uint8, as it would go out. faces: all that are tracked in it.
        drawn: one for each that was masked. open_ids: track numbers deliberately left open."""
        now_ns = self._asked_ns
        if now_ns is None or self._judged or image.shape[:2] != self._sampler.size_px[::-1]:
            return self._cover(now_ns or 0, "a frame came out of turn")
        self._judged = True
        reason = self._fault(image, now_ns, faces, drawn, open_ids)
        self._faces = tuple(faces)
        if reason:
            return self._cover(now_ns, reason)
        if self._covering(now_ns):
            return Judgement(Verdict.COVER, self._reason)
        self._cover_until_ns = None
        return Judgement(Verdict.LIVE)

    def failed(self, reason: str) -> Judgement:
        """A stage raised on the frame of the last `must_search`: COVER."""
        self._judged = True
        return self._cover(self._asked_ns or 0, reason)

    def _cover(self, now_ns: int, reason: str, least_ms: float = LEAST_COVER_MS) -> Judgement:
        self._cover_until_ns = max(self._cover_until_ns or 0, now_ns + int(least_ms * 1e6))
        self._reason = reason
        return Judgement(Verdict.COVER, reason)

    def _covering(self, now_ns: int) -> bool:
        return self._cover_until_ns is not None and now_ns < self._cover_until_ns

    def _fault(self, image: U8, now_ns: int, faces: Sequence[Face], drawn: Sequence[Drawn], open_ids: frozenset[int]) -> str:
        """Every rule is asked, so that what is learned (scene, tracks) does not hang on their order; the first reason counts."""
        height, width = image.shape[:2]
        fresh = self._searched_ns == now_ns
        left_open = [face for face in faces if face.track_id in open_ids]
        loose = self._loose(drawn, left_open, (width, height)) if fresh else 0
        hidden = {d.face.track_id for d in drawn} | open_ids
        reasons = [
            self._age_fault(now_ns, bool(faces), fresh),
            "a face is not masked" if loose or any(face.track_id not in hidden for face in faces) else "",
            self._loss_fault(now_ns, faces, fresh),
            self._leap_fault(faces),
            *(self._drawn_fault(one, image) for one in drawn),
        ]
        if fresh:
            zones = [zone for face in faces for zone in _person(face, width, height)]
            reasons.append(self._scene.news(zones, loose > 0))
        return next((reason for reason in reasons if reason), "")

    def _age_fault(self, now_ns: int, anybody: bool, fresh: bool) -> str:
        if self._searched_ns is None or not 0 <= now_ns - self._searched_ns <= self._max_age_ns:
            return "the last whole search is too old"
        return "" if anybody or fresh else "an empty picture was not searched"

    def _loose(self, drawn: Sequence[Drawn], left_open: Sequence[Face], size_px: tuple[int, int]) -> int:
        """How many faces of this frame's search are neither masked nor left open."""
        return sum(
            not any(_drawn.hides(d, found, size_px) for d in drawn) and not any(_overlap(f.box_px, found.box_px) >= SAME_PLACE for f in left_open)
            for found in self._found
        )

    def _loss_fault(self, now_ns: int, faces: Sequence[Face], fresh: bool) -> str:
        """A face that was there, now or at the last search, and is not any more, nor another track in its place."""
        here = {f.track_id: f.box_px for f in faces}
        before = {f.track_id: f.box_px for f in self._faces} | self._vouched
        lost = [n for n, box in before.items() if n not in here and not any(_overlap(box, other) >= SAME_PLACE for other in here.values())]
        self._vouched = here if fresh else {n: box for n, box in self._vouched.items() if n not in lost}
        if not lost:
            return ""
        self._cover(now_ns, "a face was lost", AFTER_LOSS_MS)
        return "a face was lost"

    def _leap_fault(self, faces: Sequence[Face]) -> str:
        """A face that moved, turned or grew further since the last frame than landmarks are sure to follow."""
        before = {face.track_id: face.five_px for face in self._faces}
        for face in faces:
            was = before.get(face.track_id)
            if was is None:
                continue
            moved, turned_deg, grown = geometry.motion(was, face.five_px)
            if moved > FARTHEST_LEAP * float(face.box_px[2] - face.box_px[0]) or turned_deg > WIDEST_TURN_DEG:
                return "a face moves too fast to be followed surely"
            if not 1.0 / MOST_GROWTH < grown < MOST_GROWTH:
                return "a face grows or shrinks too fast to be followed surely"
        return ""

    def _drawn_fault(self, drawn: Drawn, final: U8) -> str:
        size_px = (final.shape[1], final.shape[0])
        reason = _drawn.fault(drawn, size_px)
        if reason:
            return reason
        finished = self._sampler.whole(final)
        after = finished if self._unmarked is None else self._unmarked
        if not _drawn.reached(drawn, self._raw, after, size_px):
            return "the drawing is not in the picture"
        if not _drawn.stayed(drawn, self._raw, after, finished, size_px):
            return "the drawing was overwritten"
        return _cut_off(drawn.face, size_px)


def _cut_off(face: Face, size_px: tuple[int, int]) -> str:
    x0, y0, x1, y1 = (float(v) for v in face.box_px)
    width, height = max(x1 - x0, 1.0), max(y1 - y0, 1.0)
    outside = max(-x0, x1 - size_px[0], 0.0) / width, max(-y0, 0.0) / height
    below = max(y1 - size_px[1], 0.0) / height
    return "a face is cut off by the edge" if max(outside) > MOST_OUTSIDE or below > MOST_BELOW else ""


def _at_edge(face: Face, size_px: tuple[int, int]) -> bool:
    x0, y0, x1, y1 = (float(v) for v in face.box_px)
    return min(x0, size_px[0] - x1) < AT_EDGE * (x1 - x0) or y0 < AT_EDGE * (y1 - y0)


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
