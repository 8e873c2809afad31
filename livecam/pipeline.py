"""Frame to finished frame, readable from top to bottom.

`Pipeline.process` never lets a frame out that it did not finish: whatever goes wrong on the way, the whole picture is pixelated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from livecam import align, blend, image, mask
from livecam.blend.colour import ColourMatch
from livecam.blend.offset import SeamOffset
from livecam.config import Config
from livecam.detect import Detector
from livecam.errors import DeviceLostError, LivecamError, StageError, UsageError
from livecam.guard import cover, second
from livecam.guard.policy import OWN_FACE, Drawn, Judgement, Policy, own_face
from livecam.mark import Marker
from livecam.mask import Occluded, Occlusion, nothing_before
from livecam.swap import Swapper
from livecam.telemetry import Telemetry
from livecam.track import Tracker
from livecam.types import F32, MESH_POINTS, U8, Alignment, CropSpec, Detection, Face, Frame, Persona, Swapped, Verdict

LARGE_FACE_PX = 300.0
"""Above this width of the face, a generator that takes any size draws into a crop LARGE_CROP times as wide: detail would be lost else."""
LARGE_CROP = 1.5
LOCAL_COVER_BLOCKS = 6
"""Blocks across the crop of a face that is covered on its own because it was not chosen."""


class FrameOnCard(Protocol):
    """A card that the frame lies on while it is drawn (livecam/gpu/card.py)."""

    def begin(self, image: U8) -> None:
        """The frame goes up, raw."""
        ...

    def end(self) -> None:
        """The frame is finished or given up."""
        ...

    def crop(self, image: U8, alignment: Alignment) -> U8:
        """As `livecam.image.crop`."""
        ...

    def blend(self, image: U8, alignment: Alignment, crop: U8, alpha: U8) -> tuple[int, int, int, int]:
        """As `livecam.blend.blend`: what it drew is in `image` too."""
        ...


class Examiner(Protocol):
    """A second opinion on whether the wearer can be recognised (livecam/app/second_check.py). Never waits."""

    def is_due(self, now_ns: int) -> bool:
        """Whether a face is wanted now."""
        ...

    def offer(self, pair: second.Pair, now_ns: int) -> None:
        """The same crop before drawing and of the finished picture."""
        ...

    def reason(self) -> str:
        """Why the picture is to be covered, "" when it is not."""
        ...


@dataclass(slots=True)
class Stages:
    """The frame path's operations. A benchmark or a fault test wraps the fields."""

    search: Callable[[U8], tuple[Detection, ...]]
    track: Callable[[Frame, tuple[Detection, ...] | None], tuple[Face, ...]]
    align: Callable[[F32, CropSpec], Alignment]
    crop: Callable[[U8, Alignment], U8]
    swap: Callable[[U8, Face, Alignment], Swapped]
    colour: Callable[[U8, U8, U8, int], U8]
    mask: Callable[[Swapped, Face, Alignment], U8]
    blend: Callable[[U8, Alignment, U8, U8], tuple[int, int, int, int]]
    mark: Callable[[U8], None]
    occlude: Callable[[U8, Face, Alignment], Occluded | None] = nothing_before
    begin: Callable[[U8], None] = lambda image: None
    end: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Choice:
    """Whom to mask: `largest` only, the track numbers `chosen` (empty: all); `left_open` are shown unmasked on purpose."""

    largest: bool = False
    chosen: frozenset[int] = frozenset()
    left_open: frozenset[int] = frozenset()

    @staticmethod
    def parse(faces: str, leave_open: str) -> Choice:
        """From the options --faces and --leave-open. Raises UsageError."""
        named = {"all": Choice(), "largest": Choice(largest=True)}.get(faces.strip().lower())
        chosen = frozenset() if named else _numbers(faces, "--faces", "all, largest, or track numbers such as 1,3")
        left_open = _numbers(leave_open, "--leave-open", "track numbers such as 2") if leave_open.strip() else frozenset[int]()
        return Choice(bool(named and named.largest), chosen, left_open)

    def masks(self, face: Face, faces: tuple[Face, ...]) -> bool:
        """Whether `face` is to be masked by the persona."""
        if self.largest:
            return face.track_id == max(faces, key=_area).track_id
        return not self.chosen or face.track_id in self.chosen


@dataclass(frozen=True, slots=True)
class Finished:
    """What may go out. image: the frame's own array, drawn or pixelated. stages_ms: {stage: (wall, cpu)} of this frame."""

    image: U8
    verdict: Verdict
    reason: str
    faces: int
    stages_ms: Mapping[str, tuple[float, float]]


def _numbers(text: str, option: str, expected: str) -> frozenset[int]:
    try:
        return frozenset(int(word) for word in text.split(","))
    except ValueError:
        raise UsageError(f"{option} expected {expected}, found {text!r}") from None


def _area(face: Face) -> float:
    return float(np.prod(np.maximum(face.box_px[2:] - face.box_px[:2], 0)))


class Pipeline:
    """The frame path of one camera. Used by one thread."""

    def __init__(
        self,
        detector: Detector,
        tracker: Tracker,
        swapper: Swapper,
        config: Config,
        telemetry: Telemetry,
        occlusion: Occlusion | None = None,
        card: FrameOnCard | None = None,
    ) -> None:
        """occlusion: what sees hands and things before a face; without it the mask is the generator's alone. card: where the frame is drawn, when
        that is not the CPU; detector, tracker and swapper run there too then."""
        self.on_card = card is not None
        self.device_lost = ""
        """Why the card does nothing more; "" while it works. Every frame is covered then."""
        self.swapper = swapper
        self.worn = ""
        self.telemetry = telemetry
        self.choice = Choice.parse(config.swap.faces, config.swap.leave_open)
        self.policy = Policy(config.detect)
        self.notices: dict[str, str] = {}
        self.examiner: Examiner | None = None
        self.occlusion = occlusion
        self.most_crop_px = 0
        """Generators that take any size get no larger crops; 0: as they choose."""
        self._score = config.detect.score
        self._cover_blocks = config.guard.cover_blocks
        self._tracker = tracker
        self._marker = Marker(config.mark, config.run_number)
        colour = (SeamOffset if getattr(swapper, "matches_colour", False) else ColourMatch)(config.swap.tone)
        drawing = (swapper.swap, colour.match, mask.alpha, blend.blend, self._marker.mark)
        self.stages = Stages(detector.detect, tracker.update, align.align, image.crop, *drawing)
        if occlusion is not None:
            self.stages.occlude = occlusion.see
        if card is not None:
            self.stages.begin, self.stages.end, self.stages.crop, self.stages.blend = card.begin, card.end, card.crop, card.blend

    def wear(self, persona: Persona) -> None:
        """Makes `persona` the identity from the next frame on."""
        self.swapper.wear(persona)
        self.now_worn(persona.id)

    def now_worn(self, persona_id: str) -> None:
        """The generator draws this persona from now on: the hidden mark says so."""
        self.worn = persona_id
        self._marker.wear(persona_id)

    def reset(self) -> None:
        """The source changed: forget what was followed and what was searched."""
        self._tracker.reset()
        self.policy.reset()
        if self.occlusion is not None:
            self.occlusion.reset()

    def process(self, frame: Frame) -> Finished:
        """Draws into `frame.image` in place and says whether it may go out as it is; if not, the whole picture is pixelated first."""
        faces = 0
        try:
            judgement, faces = self._draw(frame)
        except DeviceLostError as error:
            self.device_lost = str(error)
            judgement = self.policy.failed(str(error))
        except LivecamError as error:
            judgement = self.policy.failed(str(error))
        except Exception as error:  # noqa: BLE001 - whatever a stage threw, this frame must not go out as it is
            judgement = self.policy.failed(f"{type(error).__name__}: {error}")
        finally:
            self.stages.end()
        if judgement.verdict is not Verdict.LIVE:
            with self.telemetry.span("guard"):
                cover.pixelate(frame.image, self._cover_blocks)
            with self.telemetry.span("mark"):
                self._marker.mark_flat(frame.image)  # not `stages.mark`: should this raise, the worker ends, and nothing goes out
        return Finished(frame.image, judgement.verdict, judgement.reason, faces, self.telemetry.end_frame())

    def _draw(self, frame: Frame) -> tuple[Judgement, int]:
        span, stages, policy = self.telemetry.span, self.stages, self.policy
        with span("guard"):
            search = policy.must_search(frame.image, frame.capture_ns)
        with span("crop"):
            stages.begin(frame.image)
        found: tuple[Detection, ...] | None = None
        if search:
            with span("search"):
                found = stages.search(frame.image)
                policy.searched(found)
        sure = None if found is None else tuple(d for d in found if d.score >= self._score)
        with span("track"):
            faces = stages.track(frame, sure)
        left_open = frozenset(face.track_id for face in faces) & self.choice.left_open
        drawn = tuple(self._mask(frame.image, face, faces) for face in faces if face.track_id not in left_open)
        if drawn:
            with span("guard"):
                policy.drew(frame.image)
        with span("mark"):
            stages.mark(frame.image)
        with span("guard"):
            judgement = policy.judge(frame.image, faces, drawn, left_open)
            return self._examined(frame, drawn, judgement), len(drawn)

    def _examined(self, frame: Frame, drawn: tuple[Drawn, ...], judgement: Judgement) -> Judgement:
        """The second opinion: a face is handed over when one is wanted, and what was said of earlier ones counts."""
        examiner = self.examiner
        if examiner is None:
            return judgement
        if drawn and examiner.is_due(frame.capture_ns):
            one = max(drawn, key=lambda d: _area(d.face))
            finished = image.crop(frame.image, one.alignment)  # on the CPU, where the finished picture is
            matrix = one.alignment.matrix
            five = one.face.five_px @ matrix[:, :2].T + matrix[:, 2]
            examiner.offer(second.Pair(one.wearer.copy(), finished.copy(), five.astype(np.float32), self.worn), frame.capture_ns)
        why = examiner.reason()
        return Judgement(Verdict.COVER, why) if why and judgement.verdict is Verdict.LIVE else judgement

    def _mask(self, picture: U8, face: Face, faces: tuple[Face, ...]) -> Drawn:
        span, stages = self.telemetry.span, self.stages
        with span("align"):
            alignment = stages.align(face.five_px, self._crop_spec(face))
            if face.mesh_px is not None and self._any_size():
                alignment = align.reach(alignment, face.mesh_px[:MESH_POINTS, :2])
        with span("crop"):
            wearer = stages.crop(picture, alignment)
        seen: Occluded | None = None
        if self.choice.masks(face, faces):
            with span("swap"):
                swapped = checked(stages.swap(wearer, face, alignment), wearer)
            with span("mask"):
                seen = stages.occlude(wearer, face, alignment)
                alpha = mask.opened(stages.mask(swapped, face, alignment), seen)
            with span("guard"):  # the guard sees it again when its colours are matched: a dark wearer's are then another picture
                if alpha.shape == wearer.shape[:2] and own_face(swapped.crop, wearer, alpha):
                    raise StageError(OWN_FACE)
            with span("colour"):
                swapped = Swapped(stages.colour(swapped.crop, wearer, alpha, face.track_id), swapped.mask)
        else:
            swapped, alpha = cover_locally(wearer)
        with span("blend"):
            stages.blend(picture, alignment, swapped.crop, alpha)
        return Drawn(face, alignment, alpha, swapped, wearer, None if seen is None else seen.sure)

    def _any_size(self) -> bool:
        """Whether the generator takes crops of any size and scale."""
        return bool(getattr(self.swapper, "any_size", False))

    def _crop_spec(self, face: Face) -> CropSpec:
        spec = self._wished_spec(face)
        if self.most_crop_px and spec.size_px > self.most_crop_px and self._any_size():
            return replace(spec, size_px=self.most_crop_px)
        return spec

    def _wished_spec(self, face: Face) -> CropSpec:
        width = float(face.box_px[2] - face.box_px[0])
        choose = getattr(self.swapper, "crop_for", None)
        if choose is not None:
            return choose(width)
        spec = self.swapper.crop
        if width > LARGE_FACE_PX and getattr(self.swapper, "any_size", False):
            return CropSpec(int(spec.size_px * LARGE_CROP), spec.template, spec.scale, spec.offset)
        return spec


def checked(swapped: Swapped, wearer: U8) -> Swapped:
    """`swapped` as it is. Raises StageError when its crop is no picture of the wearer's size (so that a NaN never becomes a grey level)."""
    if swapped.crop.shape != wearer.shape or swapped.crop.dtype != np.uint8:
        raise StageError(f"expected a drawing {wearer.shape} uint8, found {swapped.crop.shape} {swapped.crop.dtype}; choose another generator")
    return swapped


def cover_locally(wearer: U8) -> tuple[Swapped, U8]:
    """A face that was not chosen: its crop pixelated, opaque up to the outermost pixels. wearer: (S, S, 3) uint8."""
    crop = wearer.copy()
    cover.pixelate(crop, LOCAL_COVER_BLOCKS)
    mask_all = np.full(crop.shape[:2], 255, np.uint8)
    alpha = np.zeros_like(mask_all)
    alpha[1:-1, 1:-1] = 255
    return Swapped(crop, mask_all), alpha
