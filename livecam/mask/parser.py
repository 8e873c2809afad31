"""What stands before a face: a network's map of hands and things, steadied over frames, as openings of the mask.

The network (card `parser`) sees the aligned crop at its own size, RGB 0..1, and gives `occluder` (1, 1, P, P) 0..1 and `classes`
(1, 10, P / 2, P / 2). Convention: maps are in the crop, pixel centres on pixel centres.

An opening leaves the wearer's own pixels in the picture, so doubt closes it: only what hangs together, holds a certain core, comes from beyond the
face (a hand has an arm, a beard has none) and is found again in the next frame and in the mirrored crop, is opened. Glasses never open, hair
neither. What the guard may count as hidden by a thing is told apart (`sure`): when eyes, nose and mouth would all be open nothing is sure, and
the guard covers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam import runtimes
from livecam.errors import ModelShapeError, StageError
from livecam.geometry import apply
from livecam.runtimes import Runtime
from livecam.store import Store
from livecam.types import F32, MESH_POINTS, U8, Alignment, Face

MODEL = "parser"
"""The model's card."""
HALF = {"precision": "fp16"}
"""On a card: a map of shares needs no more."""
GLASSES, OCCLUDER = 6, 7
"""Classes of the network."""
IDLE_PERIOD = 6
"""With nothing before the face and the crop much as it was, the network looks at every sixth frame: what comes in is drawn over for that long, which
shows nothing of the wearer. With something there it looks at every frame, because what a moving hand uncovers must be drawn at once."""
BLOCKS = 16
"""The crop in so many blocks a side tells whether it is much as it was..."""
CHANGED_LEVELS, CHANGED_BLOCKS = 30.0, 6
"""... or by so many grey levels, in so many blocks, another: then the network looks at once. A mouth that opens or lids that shut are less."""
NEW_SHARE = 0.65
"""Weight of a new map against the one before; less flickers less and follows less."""
OPEN_FROM, OPEN_AT = 0.5, 0.8
"""Between these shares of the map an opening goes from none to whole."""
CORE = 0.85
"""Within an opening some of the map must be as sure as this..."""
LEAST_CORE_SHARE = 0.0015
"""... over so much of the crop (25 pixels of 128 x 128)."""
INNER, INNER_FIVE = 0.9, 1.9
"""A thing comes from beyond the face: from outside of its outline drawn in by this factor (without a mesh: of the five points' drawn out)..."""
LEAST_BEYOND_SHARE = 0.0025
"""... with so much of the crop (41 pixels of 128 x 128)."""
SURE_GROWTH_PX = 3
"""Of 128 px: the soft edge around a thing belongs to it."""
PART_RADIUS = 0.22
"""Radius of what counts as eye, nose or mouth, in distances between the eyes."""
PART_OPEN = 0.25
"""Share of an eye, the nose or the mouth from which it counts as open."""
WATCHED_LOOKS = 4
"""A thing that a look found anew is looked at in the next frames too: what two looks agree on opens."""
LOOK_AGAIN_PERIOD = 2
"""While something is open, the mirrored crop is looked at in every second look."""
FORGET_AFTER = 30
"""Looks after which a face that is not there any more is forgotten."""


@dataclass(frozen=True, slots=True)
class Occluded:
    """What stands before a face. opening: (S, S) uint8, 255 where the wearer's picture stays as it is; sure: (S, S) uint8, 255 where a
    thing is so certain that the guard may take it for cover."""

    opening: U8
    sure: U8


@dataclass(slots=True)
class _Track:
    """What is known of one face: the steadied map (P, P), the crop's blocks at the last look, frames since then, looks so far, frames in which
    something found anew is still to be confirmed, and the mirrored crop's map."""

    share: F32
    blocks: F32 | None = None
    idle: int = 0
    looks: int = 0
    watch: int = 0
    seen: int = 0
    mirrored: F32 | None = None
    result: Occluded | None = None


@dataclass(slots=True)
class Occlusion:
    """The network at work on the faces of one camera. Called from one thread, once a frame and face."""

    network: Runtime
    size_px: int
    licence: str
    idle_period: int = IDLE_PERIOD
    """With nothing before a face the network looks at every so manieth frame."""
    _tracks: dict[int, _Track] = field(default_factory=dict[int, _Track])
    _input: F32 = field(default_factory=lambda: np.zeros(0, np.float32))
    _count: int = 0

    def see(self, wearer: U8, face: Face, alignment: Alignment) -> Occluded | None:
        """What stands before `face`; None when nothing does. wearer: (S, S, 3) uint8 BGR, the aligned crop of this frame.

        Raises StageError for a crop of another shape and for a map that is not finite.
        """
        size = alignment.size_px
        if wearer.shape != (size, size, 3) or wearer.dtype != np.uint8:
            raise StageError(f"expected a crop ({size}, {size}, 3) uint8, got {wearer.shape} {wearer.dtype}; cut it out by the same alignment")
        self._count += 1
        track = self._track(face.track_id)
        track.idle += 1
        blocks = _blocks(wearer)
        if track.result is None and not track.watch and track.idle < self.idle_period and not _changed(track.blocks, blocks):
            return None
        track.idle, track.blocks = 0, blocks
        self._look(track, wearer, face, alignment)
        return track.result

    def reset(self) -> None:
        """The source changed: forget all faces."""
        self._tracks.clear()

    def _track(self, track_id: int) -> _Track:
        track = self._tracks.setdefault(track_id, _Track(np.zeros((self.size_px, self.size_px), np.float32)))
        track.seen = self._count
        if len(self._tracks) > 1:
            limit = self._count - FORGET_AFTER * len(self._tracks)
            self._tracks = {k: t for k, t in self._tracks.items() if t.seen >= limit}
        return track

    def _look(self, track: _Track, wearer: U8, face: Face, alignment: Alignment) -> None:
        small = wearer
        if wearer.shape[0] != self.size_px:
            small = cast(U8, cv2.resize(wearer, (self.size_px, self.size_px), interpolation=cv2.INTER_AREA))
        share = self._map(small)
        track.share = share if not track.looks else (NEW_SHARE * share + (1.0 - NEW_SHARE) * track.share).astype(np.float32)
        track.looks += 1
        beyond = _beyond(face, alignment, self.size_px)
        track.watch = track.watch - 1 if track.watch else WATCHED_LOOKS if track.result is None and _things(share, beyond) is not None else 0
        accepted = _things(track.share, beyond)
        if accepted is None:
            track.result, track.mirrored = None, None
            return
        open_parts = _parts_open(accepted, face, alignment, self.size_px)
        if track.mirrored is None or track.looks % LOOK_AGAIN_PERIOD == 0:
            track.mirrored = np.ascontiguousarray(self._map(np.ascontiguousarray(small[:, ::-1]))[:, ::-1])
        accepted = _things(np.minimum(track.share, track.mirrored), beyond)
        track.result = None if accepted is None else _occluded(accepted, alignment.size_px, all(open_parts))

    def _map(self, small: U8) -> F32:
        """The occluder's share (P, P) of a crop (P, P, 3), 0 where the network sees glasses."""
        blob = cv2.dnn.blobFromImage(small, 1.0 / 255.0, swapRB=True)
        if not self._input.size:
            self._input = np.ascontiguousarray(blob, np.float32)
        else:
            self._input[...] = blob
        result = self.network.run({"x": self._input})
        share, classes = result["occluder"][0, 0], result["classes"][0]
        glasses = (classes[GLASSES] > classes[OCCLUDER]).astype(np.uint8)
        out = np.where(cv2.resize(glasses, (self.size_px, self.size_px), interpolation=cv2.INTER_NEAREST) > 0, np.float32(0), share)
        if not np.isfinite(out.sum()):
            raise StageError("expected a finite map of what stands before the face, got NaN or infinity; install livecam again")
        return cast(F32, out)


def _blocks(wearer: U8) -> F32:
    """Mean colours of the crop's blocks, (BLOCKS, BLOCKS, 3)."""
    return cast(U8, cv2.resize(wearer, (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA)).astype(np.float32)


def _changed(before: F32 | None, now: F32) -> bool:
    """Whether enough blocks differ, a common change of light taken out."""
    if before is None:
        return True
    gain = (now.mean(axis=(0, 1)) + 1.0) / (before.mean(axis=(0, 1)) + 1.0)
    far = np.abs(now - before * np.clip(gain, 0.7, 1.4)).max(axis=2)
    return int(np.count_nonzero(far > CHANGED_LEVELS)) >= CHANGED_BLOCKS


def _beyond(face: Face, alignment: Alignment, size_px: int) -> U8:
    """(P, P) 1 beyond the face's inner part, else 0."""
    points, factor = (face.five_px, INNER_FIVE) if face.mesh_px is None else (face.mesh_px[:MESH_POINTS, :2], INNER)
    placed = (apply(alignment.matrix, points) + 0.5) * (size_px / alignment.size_px) - 0.5
    middle = placed.mean(axis=0)
    hull = cv2.convexHull((middle + (placed - middle) * factor).astype(np.float32))
    return cast(U8, cv2.fillConvexPoly(np.ones((size_px, size_px), np.uint8), np.rint(hull).astype(np.int32), (0,)))


def _things(share: F32, beyond: U8) -> F32 | None:
    """`share` where it belongs to a connected thing with a certain core that comes from beyond the face, 0 elsewhere; None when there is none."""
    over = (share >= OPEN_FROM).astype(np.uint8)
    if not over.any():
        return None
    count, found = cv2.connectedComponents(over, connectivity=4)
    labels = cast(NDArray[np.int32], found)
    core = np.bincount(labels[share >= CORE], minlength=count)
    outside = np.bincount(labels[beyond > 0], minlength=count)
    kept = (core >= LEAST_CORE_SHARE * share.size) & (outside >= LEAST_BEYOND_SHARE * share.size)
    kept[0] = False
    return np.where(kept[labels], share, np.float32(0)) if kept.any() else None


def _occluded(share: F32, size_px: int, all_open: bool) -> Occluded:
    opening = np.clip((share - OPEN_FROM) * (255.0 / (OPEN_AT - OPEN_FROM)), 0.0, 255.0).astype(np.uint8)
    sure = np.zeros_like(opening)
    if not all_open:
        reach = 2 * max(1, round(SURE_GROWTH_PX * share.shape[0] / 128)) + 1
        sure = cv2.dilate((share >= OPEN_FROM).astype(np.uint8) * np.uint8(255), np.ones((reach, reach), np.uint8))
    full = (size_px, size_px)
    return Occluded(cast(U8, cv2.resize(opening, full, interpolation=cv2.INTER_LINEAR)),
                    cast(U8, cv2.resize(np.asarray(sure, np.uint8), full, interpolation=cv2.INTER_NEAREST)))


def _parts_open(share: F32, face: Face, alignment: Alignment, size_px: int) -> tuple[bool, ...]:
    """Whether more than PART_OPEN of each eye, the nose and the mouth is open."""
    scale = size_px / alignment.size_px
    five = (apply(alignment.matrix, face.five_px) + 0.5) * scale - 0.5
    radius = max(2.0, PART_RADIUS * float(np.linalg.norm(five[1] - five[0])))
    places = (five[0], five[1], five[2], (five[3] + five[4]) / 2.0)
    return tuple(_open_share(share, place, radius) > PART_OPEN for place in places)


def _open_share(share: F32, place: NDArray[Any], radius: float) -> float:
    size = share.shape[0]
    x0, y0 = (int(np.clip(v - radius, 0, size - 1)) for v in place)
    x1, y1 = (int(np.clip(v + radius, 0, size - 1)) + 1 for v in place)
    return float(np.mean(share[y0:y1, x0:x1] >= OPEN_FROM))


def nothing_before(wearer: U8, face: Face, alignment: Alignment) -> Occluded | None:
    """`Occlusion.see` without a network."""
    del wearer, face, alignment


def opened(alpha: U8, seen: Occluded | None) -> U8:
    """`alpha` (S, S) uint8 with the opening taken out; as it is when there is none."""
    if seen is None:
        return alpha
    return cast(U8, cv2.multiply(alpha, cv2.bitwise_not(seen.opening), scale=1.0 / 255.0))


def load(store: Store, threads: int = 1) -> Occlusion | None:
    """The network that comes with livecam; None when it does not. Raises ModelFileError (damaged), ModelShapeError (another network)."""
    if MODEL not in store.cards or not store.file_path(MODEL).exists():
        return None
    network = runtimes.place(store.elsewhere, store.path(MODEL), threads, store.compiled_dir, HALF if store.elsewhere else None)
    return wrap(network, store.card(MODEL).licence)


def wrap(network: Runtime, licence: str = "") -> Occlusion:
    """An open network as Occlusion. Raises ModelShapeError when its tensors are not those of the module's text."""
    inputs, outputs = {s.name: s.shape for s in network.inputs}, {s.name: s.shape for s in network.outputs}
    shape = inputs.get("x", ())
    size = shape[-1] if len(shape) == 4 else 0
    if size < 16 or shape != (1, 3, size, size) or outputs.get("occluder") != (1, 1, size, size) or len(outputs.get("classes", ())) != 4:
        raise ModelShapeError(f"expected x (1, 3, P, P) -> occluder (1, 1, P, P), classes (1, 10, P / 2, P / 2), found {inputs} -> {outputs}; "
                              "install livecam again")
    return Occlusion(network, size, licence)


__all__ = ["Occluded", "Occlusion", "load", "nothing_before", "opened", "wrap"]
