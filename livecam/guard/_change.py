"""What in the raw picture is new: cheap block means against the last searched frame, and against the scene as it is without anybody new.

Convention: the picture is seen as COLUMNS x rows blocks of mean colour; block maps are (rows, COLUMNS), row first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam.types import F32, U8

COLUMNS = 64
"""Blocks across: 20 px at 720p, half of the smallest face that matters."""
FINE = 4
"""Samples per block and direction."""
LEAST_CHANGE = 11.0
"""Grey levels of a block's mean (largest of the three colours) that count as change; more when the camera is noisier."""
NOISE_FACTOR = 6.0
SETTLE_MS = 1200.0
"""Something new that stays as it is for so long, with no face found in it, belongs to the scene."""
EPISODE_MS = 6000.0
"""Something that keeps moving (a curtain, a screen) for so long with no face found in it is tolerated where it is."""
CALMING = 0.25
"""While nothing is new, such unrest is forgotten so many times as slowly as it was gathered: a curtain rests at either end of its swing."""
LEARN = 0.03
"""Share of a frame that goes into the scene's means: light changes over seconds are followed."""
FORGET = 0.9995
"""Tolerance falls by this factor a frame."""
LIGHT_GAIN = (0.6, 1.7)
"""A lamp or a cloud changes a region's brightness by a factor in this range; a face in front of it by a larger one, or by another colour."""
LIGHT_TINT = 1.4
"""Ratio of the largest to the smallest factor of the three colours that still is light (a warm lamp); skin before a grey wall has 1.5 and more."""
LIGHT_BLOCKS = 5
"""Blocks across the neighbourhood over which light is taken as even; half a face has brows, eyes, hair and an outline in it."""
LIGHT_SHARE = 0.9
"""Share of a region's blocks that must be lit otherwise for it to be the same scene."""
RATE_MS = 45.0
"""What comes in changes a block by the threshold within two frames, a fading light does not."""
ELBOW = 0.08
"""Share of a body's width by which it may reach further at the lower edge."""
CLIPPED = 225.0
"""A block with a colour above this is partly overexposed: its brightness does not follow the light in proportion."""
_EDGE_DEPTH = np.ones((3, 2), np.uint8)
_RISING = np.ones((5, 3), np.uint8)
"""Blocks of what comes from below beside a body: more than a shoulder that sways, less than half a head."""
_INNER = np.ones((3, 3), np.uint8)
_PAIR = np.ones((2, 2), np.uint8)

Boxes = Sequence[tuple[float, float, float, float]]


class Sampler:
    """Every n-th pixel of frames of one size: (rows * FINE, COLUMNS * FINE, 3) uint8."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self.size_px = (width_px, height_px)
        self._grid = (COLUMNS * FINE, max(6, round(COLUMNS * height_px / width_px)) * FINE)

    def whole(self, image: U8) -> U8:
        return cast(U8, cv2.resize(image, self._grid, interpolation=cv2.INTER_NEAREST))


def _largest(colours: F32) -> F32:
    """Largest of the three colours; three times as fast as `.max(axis=2)`."""
    return np.maximum(np.maximum(colours[..., 0], colours[..., 1]), colours[..., 2])


def _middle(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Median along the first axis (the upper one of two)."""
    half = values.shape[0] // 2
    return np.partition(values, half, axis=0)[half]


class Scene:
    """The picture in blocks: since the last search, and over time. Boxes are in frame pixels."""

    def __init__(self) -> None:
        self._size_px = (0, 0)
        self._now: F32 = np.zeros((0, 0, 3), np.float32)
        self._searched: F32 | None = None
        self._mean: F32 | None = None
        self._tolerance: F32 = np.zeros((0, 0), np.float32)
        self._known: NDArray[np.bool_] = np.zeros((0, 0), np.bool_)
        """Seen without anybody, and settled."""
        self._uncovered: NDArray[np.bool_] = np.zeros((0, 0), np.bool_)
        """Was behind somebody, and has not settled since: its mean says nothing."""
        self._candidate: F32 = self._now
        self._since_ns: NDArray[np.int64] = np.zeros((0, 0), np.int64)
        self._restless_ms = 0.0
        self._learned_ns = 0
        self._now_ns = 0
        self._threshold = LEAST_CHANGE
        self._before: F32 | None = None
        self._before_ns = 0
        self._abrupt_ns: NDArray[np.int64] = np.zeros((0, 0), np.int64)
        """When a block last changed faster than light fades."""

    def look(self, fine: U8, size_px: tuple[int, int], now_ns: int) -> None:
        """Takes the next raw picture. fine: of `Sampler.whole`. size_px: (width, height) of the frame."""
        shape = (COLUMNS, fine.shape[0] // FINE)
        blocks = cv2.resize(fine, shape, interpolation=cv2.INTER_AREA).astype(np.float32)
        if size_px != self._size_px or blocks.shape != self._now.shape:
            self._begin(blocks, size_px, now_ns)
        else:
            noise = float(_middle(_largest(np.abs(blocks[::3, ::3] - self._now[::3, ::3])).reshape(-1)))
            self._threshold += 0.1 * (max(LEAST_CHANGE, min(NOISE_FACTOR * noise, 3.0 * LEAST_CHANGE)) - self._threshold)
        self._now, self._now_ns = blocks, now_ns
        if self._before is None or now_ns - self._before_ns >= RATE_MS * 1e6:
            if self._before is not None:
                self._abrupt_ns[_largest(np.abs(blocks - self._before)) > self._threshold] = now_ns
            self._before, self._before_ns = blocks, now_ns

    def _begin(self, blocks: F32, size_px: tuple[int, int], now_ns: int) -> None:
        rows, columns = blocks.shape[:2]
        self._size_px = size_px
        self._searched, self._mean = None, blocks.copy()
        self._before, self._before_ns = blocks, now_ns
        self._abrupt_ns = np.full((rows, columns), now_ns, np.int64)
        self._candidate = blocks.copy()
        self._tolerance = np.zeros((rows, columns), np.float32)
        self._known = np.zeros((rows, columns), np.bool_)
        self._uncovered = np.zeros((rows, columns), np.bool_)
        self._since_ns = np.full((rows, columns), now_ns, np.int64)
        self._restless_ms, self._learned_ns, self._threshold = 0.0, now_ns, LEAST_CHANGE

    def searched(self) -> None:
        """The picture of the last `look` was searched as a whole."""
        self._searched = self._now

    def changed(self, hidden: Boxes) -> bool:
        """Whether anything big enough to be a face's part is new since the last search, outside the `hidden` boxes."""
        if self._searched is None:
            return True
        far = self._distance(self._searched) > self._threshold
        for box in hidden:
            far[self._slices(box)] = False
        return bool(cv2.erode(far.view(np.uint8), _PAIR, borderType=cv2.BORDER_CONSTANT, borderValue=(0,)).any())

    def _distance(self, other: F32) -> F32:
        """Largest difference of a block's colours, a common change of light taken out."""
        few_now, few_other = self._now[1::4, 1::4].reshape(-1, 3), other[1::4, 1::4].reshape(-1, 3)
        gain = np.clip(_middle((few_now + np.float32(4.0)) / (few_other + np.float32(4.0))), 0.7, 1.4)
        return _largest(np.abs(self._now - other * gain.astype(np.float32)))

    def _slices(self, box: tuple[float, float, float, float]) -> tuple[slice, slice]:
        """Blocks that lie in `box` at least in part."""
        width, height = self._size_px
        rows, columns = self._now.shape[:2]
        x0, x1 = int(max(0.0, box[0]) * columns / width), int(np.ceil(max(0.0, box[2]) * columns / width))
        y0, y1 = int(max(0.0, box[1]) * rows / height), int(np.ceil(max(0.0, box[3]) * rows / height))
        return slice(y0, y1), slice(x0, x1)

    def news(self, people: Boxes, face_seen: bool) -> str:
        """Learns the scene, and says what in it is new: "" (nothing), or a reason to cover.

        people: zones of those who are masked: the scene inside is not known.
        face_seen: whether the detector saw any face outside of what is masked (then nothing is learned)."""
        assert self._mean is not None
        far = self._distance(self._mean)
        limit = np.maximum(self._tolerance * 1.2, self._threshold)
        theirs = np.zeros(far.shape, np.bool_)
        for box in people:
            theirs[self._slices(box)] = True
        fresh = self._without_light(far > limit, theirs | self._uncovered)
        found = self._entering(fresh & ~theirs & ~self._uncovered, self._beside(people)) if people else self._anywhere(fresh | ~self._known)
        self._learn(fresh, theirs, far, bool(found), face_seen)
        return found

    def _without_light(self, fresh: NDArray[np.bool_], unknown: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """`fresh` less the regions in which the known scene is only lit otherwise: in proportion, or by and by. unknown: where nothing is known."""
        assert self._mean is not None
        seen = fresh & ~unknown
        if not seen.any():
            return fresh
        gradual = self._now_ns - self._abrupt_ns > SETTLE_MS * 1e6
        lit = self._lit() | gradual
        count, labels = cv2.connectedComponents(seen.view(np.uint8), connectivity=8)
        kept = fresh.copy()
        for label in range(1, count):
            region = labels == label
            if (lit & region).sum() >= LIGHT_SHARE * region.sum():
                kept[region] = False
                self._mean[region] = self._now[region]
        return kept

    def _lit(self) -> NDArray[np.bool_]:
        """(rows, COLUMNS): whether a block shows the known scene in another light: its neighbourhood changed by one factor a colour, and it with it.

        A block that is or was overexposed says little: it only has to keep its colour."""
        assert self._mean is not None
        now, mean = self._now + np.float32(4.0), self._mean + np.float32(4.0)
        each = now / mean
        clipped = np.maximum(now, mean).max(axis=2) > CLIPPED
        certain = (~clipped & ~self._uncovered).astype(np.float32)[..., None]
        around = cv2.blur(each * certain, (LIGHT_BLOCKS, LIGHT_BLOCKS)) / np.maximum(cv2.blur(certain, (LIGHT_BLOCKS, LIGHT_BLOCKS))[..., None], 1e-3)
        fits = _largest(np.abs(now - mean * around)) <= self._threshold
        low, high = each.min(axis=2), each.max(axis=2)
        plausible = (low >= LIGHT_GAIN[0]) & (high <= LIGHT_GAIN[1]) & (high <= LIGHT_TINT * low)
        return plausible & (fits | clipped)

    def _anywhere(self, new: NDArray[np.bool_]) -> str:
        """Nobody is there: anything that is big enough, less at an edge than inside."""
        grown = np.pad(new, 1, mode="edge").view(np.uint8)
        return "something moves into the empty picture" if cv2.erode(grown, _INNER)[1:-1, 1:-1].any() else ""

    def _beside(self, people: Boxes) -> NDArray[np.bool_]:
        """(COLUMNS,): where the lower edge is clear of everybody's body, elbows included."""
        clear = np.ones(self._now.shape[1], np.bool_)
        for x0, y0, x1, y1 in people:
            elbow = ELBOW * (x1 - x0)
            clear[self._slices((x0 - elbow, y0, x1 + elbow, y1))[1]] = False
        return clear

    def _entering(self, new: NDArray[np.bool_], beside: NDArray[np.bool_]) -> str:
        """Somebody is there: whatever else comes in from the left, the right or above, or from below beside them. A hand at the rim counts too: it
        could be a face."""
        rim = np.zeros(new.shape, np.bool_)
        rim[:, :2] = rim[:2] = rim[:, -2:] = True
        low = np.zeros(new.shape, np.bool_)
        low[-2:] = beside
        if not (new & (rim | low)).any():
            return ""
        count, labels = cv2.connectedComponents(new.view(np.uint8), connectivity=8)
        for label in set(np.unique(labels[rim | low]).tolist()) - {0} if count > 1 else ():
            here = labels == label
            if (here & rim).any():
                mask = np.pad(here, ((1, 1), (1, 1)), mode="edge").view(np.uint8)
                large = cv2.erode(mask, _EDGE_DEPTH).any() or cv2.erode(mask, _EDGE_DEPTH.T).any()
            else:
                large = cv2.erode((here & beside).view(np.uint8), _RISING, borderValue=(0,)).any()
            if large:
                return "something comes in at the edge"
        return ""

    def _learn(self, fresh: NDArray[np.bool_], theirs: NDArray[np.bool_], far: F32, found: bool, face_seen: bool) -> None:
        assert self._mean is not None
        self._known &= ~theirs
        self._uncovered |= theirs
        if face_seen:
            self._restless_ms, self._learned_ns = 0.0, self._now_ns
            self._since_ns[:] = self._now_ns
            return
        calm = ~fresh & ~self._uncovered
        weight = (calm * np.float32(LEARN))[..., None]
        self._mean += weight * (self._now - self._mean)
        self._tolerance *= np.float32(FORGET)
        unsettled = (fresh | ~self._known) & ~theirs
        if unsettled.any():
            moved = self._distance(self._candidate) > np.maximum(self._tolerance, self._threshold)
            restart = moved | ~unsettled
            self._candidate[restart] = self._now[restart]
            self._since_ns[restart] = self._now_ns
            settled = unsettled & (self._now_ns - self._since_ns >= SETTLE_MS * 1e6)
            self._mean[settled] = self._now[settled]
            self._known |= settled
            self._uncovered &= ~settled
        else:
            self._since_ns[:] = self._now_ns
            self._candidate = self._now.copy()
        self._tolerate(fresh & ~theirs, unsettled, far, found)

    def _tolerate(self, fresh: NDArray[np.bool_], unsettled: NDArray[np.bool_], far: F32, found: bool) -> None:
        """What keeps moving for a whole episode is made tolerable where it moves."""
        assert self._mean is not None
        step_ms = (self._now_ns - self._learned_ns) / 1e6
        self._learned_ns = self._now_ns
        self._restless_ms = max(0.0, self._restless_ms + (step_ms if found else -CALMING * step_ms))
        if found and self._restless_ms > EPISODE_MS:
            # Its neighbours too: a curtain swings a little further next time; twice: its mean will drift to either end of the swing.
            near = cv2.dilate(np.where(fresh & self._known, far, np.float32(0.0)), np.ones((5, 5), np.uint8))
            self._tolerance = np.maximum(self._tolerance, 2.0 * near).astype(np.float32)
            strange = unsettled & ~self._known
            self._mean[strange] = self._now[strange]
            self._known |= strange
            self._uncovered &= ~strange
