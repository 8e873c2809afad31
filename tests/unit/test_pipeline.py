"""The frame path as a whole, with stand-ins for the networks: whatever a stage does, no frame leaves unfinished."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from livecam.config import Config, SwapConfig
from livecam.errors import StageError, UsageError
from livecam.guard import second
from livecam.image import crop
from livecam.mark import Payload, badge, read, short_id
from livecam.pipeline import Choice, Pipeline, cover_locally
from livecam.telemetry import Telemetry
from livecam.types import F32, U8, Alignment, CropSpec, Detection, Face, Frame, Persona, Swapped, Verdict

WIDTH, HEIGHT, PERIOD_NS = 640, 360, 33_000_000
BOX = np.array([260, 100, 380, 250], np.float32)
FIVE = np.array([[295, 155], [345, 155], [320, 185], [300, 215], [340, 215]], np.float32)


class OneFace:
    """Detector, tracker and generator that know one face at BOX."""

    licence = "none"
    crop = CropSpec(128)

    def __init__(self, faces: int = 1) -> None:
        self.faces = tuple(Face(i + 1, BOX + 0, FIVE, 0.99) for i in range(faces))

    def detect(self, image: U8) -> tuple[Detection, ...]:
        return tuple(Detection(face.box_px, 0.95, face.five_px) for face in self.faces)

    def update(self, frame: Frame, detections: tuple[Detection, ...] | None) -> tuple[Face, ...]:
        return self.faces

    def reset(self) -> None: ...

    def wear(self, persona: Persona) -> None: ...

    def swap(self, crop: U8, face: Face, alignment: Alignment) -> Swapped:
        drawn = np.random.default_rng(1).integers(60, 200, crop.shape, np.uint8)
        return Swapped(drawn, np.full(crop.shape[:2], 255, np.uint8))


def pipeline(**swap: Any) -> Pipeline:
    one = OneFace()
    return Pipeline(one, one, one, Config(swap=SwapConfig(**swap)), Telemetry())


def frame(seq: int) -> Frame:
    image = np.random.default_rng(7).integers(80, 120, (HEIGHT, WIDTH, 3), np.uint8)
    image[100:250, 260:380] += np.random.default_rng(8).integers(0, 120, (150, 120, 3), np.uint8)
    return Frame(image, seq * PERIOD_NS, seq)


def settle(made: Pipeline, start: int = 0, count: int = 20) -> int:
    """Runs until the guard trusts the scene."""
    for seq in range(start, start + count):
        made.process(frame(seq))
    return start + count


def blocks(image: U8) -> int:
    """Runs of one colour in the middle row, but for the mark's two levels: a pixelated frame has at most 16."""
    steps = np.abs(np.diff(image[HEIGHT // 2].astype(int), axis=0)).max(axis=1)
    return 1 + int((steps > 2).sum())


def test_a_healthy_frame_is_live_and_the_face_is_replaced() -> None:
    made = pipeline()
    seq = settle(made)
    shot = frame(seq)
    before = shot.image.copy()
    done = made.process(shot)
    assert (done.verdict, done.reason) == (Verdict.LIVE, "")
    assert np.abs(done.image[150:220, 290:350].astype(int) - before[150:220, 290:350]).mean() > 10
    assert np.abs(done.image[:40].astype(int) - before[:40]).max() <= 3, "only the hidden mark"
    assert set(done.stages_ms) >= {"search", "track", "align", "crop", "swap", "mask", "colour", "blend", "mark", "guard"} - {"search"}


def raising(*_: object) -> Any:
    raise StageError("made to fail")


def exploding(*_: object) -> Any:
    raise ZeroDivisionError("made to fail")


@pytest.mark.parametrize("stage", ["search", "track", "align", "crop", "swap", "mask", "colour", "blend", "mark"])
@pytest.mark.parametrize("fault", [raising, exploding])
def test_a_stage_that_raises_covers_the_whole_frame(stage: str, fault: Callable[..., Any]) -> None:
    made = pipeline()
    seq = settle(made)
    setattr(made.stages, stage, fault)
    for k in range(4):  # within four frames the search is due again
        done = made.process(frame(seq + k))
        if "made to fail" in done.reason:
            break
    assert done.verdict is Verdict.COVER
    assert "made to fail" in done.reason
    assert blocks(done.image) <= 16


@pytest.mark.parametrize(
    "drawn",
    [
        lambda crop: Swapped(np.zeros_like(crop), np.full(crop.shape[:2], 255, np.uint8)),
        lambda crop: Swapped(crop, np.zeros(crop.shape[:2], np.uint8)),
        lambda crop: Swapped(crop[:64], np.full((64, 128), 255, np.uint8)),
        lambda crop: Swapped(np.full(crop.shape, np.nan, np.float32), np.full(crop.shape[:2], 255, np.uint8)),
    ],
    ids=["black", "empty mask", "wrong size", "NaN"],
)
def test_a_broken_drawing_covers_the_whole_frame(drawn: Callable[[U8], Any]) -> None:
    made = pipeline()
    seq = settle(made)
    made.stages.swap = lambda crop, face, alignment: drawn(crop)
    done = made.process(frame(seq))
    assert done.verdict is Verdict.COVER
    assert blocks(done.image) <= 16


def test_a_face_that_is_not_chosen_is_covered_on_its_own() -> None:
    made = pipeline(faces="7")
    seq = settle(made)
    shot = frame(seq)
    before = shot.image.copy()
    done = made.process(shot)
    assert done.verdict is Verdict.LIVE, done.reason
    inside: F32 = done.image[150:220, 290:350].astype(np.float32)
    assert np.abs(np.diff(inside, axis=1)).mean() < 0.3 * np.abs(np.diff(before[150:220, 290:350].astype(np.float32), axis=1)).mean()


def test_a_face_left_open_by_name_goes_out_as_it_is() -> None:
    made = pipeline(leave_open="1")
    seq = settle(made)
    shot = frame(seq)
    before = shot.image.copy()
    done = made.process(shot)
    assert done.verdict is Verdict.LIVE, done.reason
    x0, y0, x1, y1 = badge.place(WIDTH, HEIGHT, "bottom-right", "medium")
    before[y0:y1, x0:x1] = done.image[y0:y1, x0:x1]
    assert np.abs(done.image.astype(int) - before).max() <= 3, "only the badge and the hidden mark"


def test_choices_are_read_and_refused() -> None:
    assert Choice.parse("all", "") == Choice()
    assert Choice.parse("1, 3", "2") == Choice(chosen=frozenset({1, 3}), left_open=frozenset({2}))
    with pytest.raises(UsageError, match="--leave-open expected"):
        Choice.parse("all", "me")


def test_cover_locally_leaves_no_detail_and_a_border_of_zero() -> None:
    noise = np.random.default_rng(3).integers(0, 255, (128, 128, 3), np.uint8)
    swapped, alpha = cover_locally(noise)
    assert len(np.unique(swapped.crop.reshape(-1, 3), axis=0)) <= 36
    assert alpha[0].max() == alpha[-1].max() == alpha[:, 0].max() == alpha[:, -1].max() == 0
    assert alpha[1:-1, 1:-1].min() == 255


def payload(image: U8) -> Payload:
    placing = read.whole(WIDTH, HEIGHT)
    reading = read.prove(read.whiten(read.sample(read.luma(image), placing)), placing, 1)
    assert reading.present, reading.false_alarm
    return reading.payload


def test_every_picture_that_goes_out_is_marked_with_run_and_persona() -> None:
    made = pipeline()
    made.now_worn("noor")
    settle(made)
    smooth = Frame(np.full((HEIGHT, WIDTH, 3), 120, np.uint8), 30 * PERIOD_NS, 30)
    run = payload(made.process(smooth).image).run
    made.stages.blend = raising
    covered = made.process(frame(31))
    assert covered.verdict is Verdict.COVER
    assert payload(covered.image) == Payload(run, short_id("noor"))
    made.now_worn("ada")
    assert payload(made.process(frame(32)).image) == Payload(run, short_id("ada"))


def test_the_mark_does_not_make_an_undrawn_face_look_drawn() -> None:
    made = pipeline()
    seq = settle(made)
    made.stages.blend = lambda image, alignment, crop, alpha: (0, 0, 0, 0)
    done = made.process(frame(seq))
    assert (done.verdict, done.reason) == (Verdict.COVER, "the drawing is not in the picture")


def test_a_marker_that_fails_on_the_cover_too_lets_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    made = pipeline()
    settle(made)
    monkeypatch.setattr(made._marker, "mark_flat", raising)
    made.stages.mark = raising
    with pytest.raises(StageError):
        made.process(frame(40))


@pytest.mark.parametrize("light", [1.0, 0.35])
def test_a_swap_that_returns_the_wearers_own_face_is_covered_in_that_frame(light: float) -> None:
    """In the dark too, where the colours' matching makes another picture of it."""
    made = pipeline()
    seq = settle(made)
    made.stages.swap = lambda crop, face, alignment: Swapped(np.clip(crop * light, 0, 255).astype(np.uint8), np.full(crop.shape[:2], 255, np.uint8))
    done = made.process(frame(seq))
    assert (done.verdict, done.reason) == (Verdict.COVER, "the drawing is the wearer's own face")
    assert blocks(done.image) <= 17


class Examined:
    """An examiner that keeps what it is given."""

    def __init__(self) -> None:
        self.pairs: list[second.Pair] = []
        self.why = ""

    def is_due(self, now_ns: int) -> bool:
        return not self.pairs

    def offer(self, pair: second.Pair, now_ns: int) -> None:
        self.pairs.append(pair)

    def reason(self) -> str:
        return self.why


def test_the_second_opinion_sees_the_face_before_and_after_and_what_it_says_counts() -> None:
    made = pipeline()
    seq = settle(made)
    made.now_worn("noor")
    examiner = made.examiner = Examined()
    shot = frame(seq)
    raw = shot.image.copy()
    done = made.process(shot)
    (pair,) = examiner.pairs
    alignment = made.stages.align(FIVE, CropSpec(128))
    assert pair.persona == "noor" and np.array_equal(pair.wearer, crop(raw, alignment)) and np.array_equal(pair.finished, crop(done.image, alignment))
    assert np.allclose(pair.five_px, FIVE @ alignment.matrix[:, :2].T + alignment.matrix[:, 2], atol=1e-3)
    examiner.why = second.LOOKS_LIKE_YOU
    done = made.process(frame(seq + 1))
    assert (done.verdict, done.reason) == (Verdict.COVER, second.LOOKS_LIKE_YOU) and blocks(done.image) <= 17
    examiner.why = ""
    assert made.process(frame(seq + 2)).verdict is Verdict.LIVE
