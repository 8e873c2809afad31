"""What may go on air: every rule of the policy, on pictures drawn here."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from livecam.align import align
from livecam.config import DetectConfig
from livecam.guard.policy import Drawn, Judgement, Policy
from livecam.image import crop, paste
from livecam.types import CropSpec, Detection, Face, Swapped, Verdict

WIDTH, HEIGHT, STEP_NS = 640, 360, 33_000_000
SPEC = CropSpec(128)
RANDOM = np.random.default_rng(5)
ROOM = cv2.resize(RANDOM.integers(60, 180, (6, 10, 3), np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
NOISE = [RANDOM.normal(0.0, 3.0, (HEIGHT, WIDTH, 3)).astype(np.int16) for _ in range(4)]
SKIN = cv2.GaussianBlur(RANDOM.integers(90, 220, (HEIGHT, WIDTH, 3), np.uint8), (0, 0), 1.0)


def face_at(x: float, y: float, size: float = 120.0, number: int = 1) -> Face:
    """A face with a mesh that is a filled ellipse, size px high, its eyes, nose and mouth where MediaPipe's indices say."""
    from livecam.guard._drawn import PARTS

    turn = np.arange(478) * 2.399963
    radius = np.sqrt((np.arange(478) + 0.5) / 478.0)
    mesh = np.stack((x + 0.38 * size * radius * np.cos(turn), y + 0.5 * size * radius * np.sin(turn), np.zeros(478)), axis=1)
    places = {"an eye": (-0.16, -0.12, 0.07, 0.03), "the other eye": (0.16, -0.12, 0.07, 0.03), "the nose": (0.0, 0.05, 0.08, 0.12)}
    for name, indices in PARTS.items():
        dx, dy, rx, ry = places.get(name, (0.0, 0.25, 0.14, 0.05))
        around = np.linspace(0.0, 2.0 * np.pi, len(indices), endpoint=False)
        mesh[list(indices), 0], mesh[list(indices), 1] = x + size * (dx + rx * np.cos(around)), y + size * (dy + ry * np.sin(around))
    five = np.array(((-0.16, -0.12), (0.16, -0.12), (0.0, 0.05), (-0.13, 0.25), (0.13, 0.25))) * size + (x, y)
    box = np.array((x - 0.38 * size, y - 0.5 * size, x + 0.38 * size, y + 0.5 * size))
    return Face(number, box.astype(np.float32), five.astype(np.float32), 0.9, mesh.astype(np.float32))


def seen(face: Face, score: float = 0.9) -> Detection:
    return Detection(face.box_px, score, face.five_px)


class Camera:
    """Feeds a policy as the pipeline does."""

    def __init__(self) -> None:
        self.policy, self.index, self.searches = Policy(DetectConfig()), 0, 0

    def raw(self, faces: tuple[Face, ...], gain: float = 1.0) -> np.ndarray:
        image = ROOM.copy()
        for face in faces:
            region = np.zeros((HEIGHT, WIDTH), np.uint8)
            x0, y0, x1, y1 = face.box_px
            cv2.ellipse(region, (int((x0 + x1) / 2), int((y0 + y1) / 2)), (int((x1 - x0) / 2), int((y1 - y0) / 2)), 0, 0, 360, 255, -1)
            image[region > 0] = SKIN[region > 0]
        return np.clip(image * gain + NOISE[self.index % 4], 0, 255).astype(np.uint8)

    def drawn(self, image: np.ndarray, face: Face, **change: object) -> Drawn:
        alignment = align(face.five_px, SPEC)
        wearer = crop(image, alignment)
        mask = np.zeros((128, 128), np.uint8)
        hull = cv2.convexHull(face.mesh_px[:468, :2] @ alignment.matrix[:, :2].T.astype(np.float32) + alignment.matrix[:, 2].astype(np.float32))
        cv2.fillConvexPoly(mask, np.rint(hull).astype(np.int32), 255)
        alpha = cv2.GaussianBlur(mask, (5, 5), 0)
        alpha[[0, -1]] = alpha[:, [0, -1]] = 0
        one = Drawn(face, alignment, alpha, Swapped(255 - wearer, mask), wearer)
        return replace(one, **change)  # type: ignore[arg-type]

    def frame(
        self, there: tuple[Face, ...] = (), tracked: tuple[Face, ...] | None = None, found: tuple[Detection, ...] | None = None,
        open_ids: frozenset[int] = frozenset(), gain: float = 1.0, lose: bool = False, image: np.ndarray | None = None, **change: object,
    ) -> Judgement:
        """there: who is in the picture; tracked (else all of them) get masked; found (else all of them): if searched. lose: nothing is drawn."""
        image = self.raw(there, gain) if image is None else image
        self.index += 1
        if self.policy.must_search(image, self.index * STEP_NS):
            self.searches += 1
            self.policy.searched(tuple(seen(f) for f in there) if found is None else found)
        tracked = there if tracked is None else tracked
        evidence = tuple(self.drawn(image, face, **change) for face in tracked if face.track_id not in open_ids)
        for one in evidence:
            if not lose:
                paste(image, one.alignment, one.swapped.crop, one.alpha)
        return self.policy.judge(image, tracked, evidence, open_ids)

    def wear(self, frames: int = 10, face: Face | None = None) -> Face:
        face = face or face_at(300.0, 170.0)
        verdicts = [self.frame((face,)).verdict for _ in range(frames)]
        assert verdicts[-1] is Verdict.LIVE
        return face


def test_healthy_input_is_live_from_the_first_frame_and_searched_often_enough() -> None:
    camera = Camera()
    for i in range(300):
        face = face_at(300.0 + 6.0 * np.sin(i / 9.0), 170.0 + 3.0 * np.sin(i / 13.0))
        assert camera.frame((face,), gain=1.0 + 0.1 * np.sin(i / 40.0)) == Judgement(Verdict.LIVE)
    assert 75 <= camera.searches <= 150, "every 100 ms, and not every frame"


def test_a_second_face_is_covered_in_the_very_frame_in_which_it_appears() -> None:
    for delay in range(4):
        camera = Camera()
        face = camera.wear(10 + delay)
        other = face_at(500.0, 170.0, 90.0, 2)
        assert camera.frame((face, other), tracked=(face,)).reason == "a face is not masked"


def test_a_cover_lasts_a_moment_and_ends() -> None:
    camera = Camera()
    face = camera.wear()
    assert camera.frame((face,), found=(seen(face), seen(face_at(500.0, 170.0)))).verdict is Verdict.LIVE  # not searched in this frame
    camera.policy.failed("planted")
    verdicts = [camera.frame((face,)).verdict for _ in range(8)]
    assert verdicts[:3] == [Verdict.COVER] * 3 and verdicts[-1] is Verdict.LIVE


def test_a_stage_that_raised_without_being_told_covers_too() -> None:
    camera = Camera()
    face = camera.wear()
    camera.policy.must_search(camera.raw((face,)), (camera.index + 1) * STEP_NS)
    camera.index += 1
    assert camera.frame((face,)).verdict is Verdict.COVER


def test_a_lost_face_is_covered_until_the_chair_has_settled_empty() -> None:
    camera = Camera()
    face = camera.wear()
    lost = [camera.frame((face,), tracked=(), found=()) for _ in range(12)]
    assert all(one.verdict is Verdict.COVER for one in lost), "still there, seen by nobody"
    empty = [camera.frame().verdict for _ in range(90)]
    assert empty[0] is Verdict.COVER and empty[-1] is Verdict.LIVE


def test_an_empty_chair_is_searched_in_every_frame_and_stays_live() -> None:
    camera = Camera()
    verdicts = [camera.frame(gain=1.0 + 0.15 * np.sin(i / 30.0)).verdict for i in range(200)]
    assert camera.searches == 200
    assert verdicts[60:] == [Verdict.LIVE] * 140
    image = camera.raw(())
    camera.policy.must_search(image, (camera.index + 1) * STEP_NS)
    assert camera.policy.judge(image, (), ()).verdict is Verdict.COVER, "not searched"


@pytest.mark.parametrize("edge", ["left", "right", "above", "below"])
@pytest.mark.parametrize("wearer", [False, True])
def test_half_a_face_at_an_edge_is_covered_before_any_detector_sees_it(edge: str, wearer: bool) -> None:
    if wearer and edge == "below":
        pytest.skip("what comes from below beside the wearer may be his hand; the detector decides")
    camera = Camera()
    there: tuple[Face, ...] = ()
    if wearer:
        there = (camera.wear(60, face_at(300.0, 190.0, 110.0)),)
    else:
        assert [camera.frame().verdict for _ in range(80)][-1] is Verdict.LIVE
    for inside in (30.0, 40.0, 50.0):
        rows = {"above": (520.0, inside - 60.0), "below": (520.0, HEIGHT + 60.0 - inside)}
        place = {"left": (inside - 50.0, 100.0), "right": (WIDTH + 50.0 - inside, 100.0), **rows}
        other = face_at(*place[edge], 130.0, 2)
        assert camera.frame((*there, other), tracked=there, found=tuple(seen(f) for f in there)).verdict is Verdict.COVER


def test_something_that_keeps_moving_does_not_cover_for_ever() -> None:
    camera = Camera()
    late = []
    for i in range(600):
        image = camera.raw(())
        image[40:240, 500 : 560 + int(25 * np.sin(i / 8.0))] = (70, 90, 140)  # a curtain
        late.append(camera.frame(image=image).verdict)
    assert late.count(Verdict.COVER) < 450
    assert late[-150:].count(Verdict.LIVE) > 130


def test_what_is_left_open_by_name_is_left_open_and_nothing_else() -> None:
    camera = Camera()
    face, other = face_at(200.0, 170.0), face_at(450.0, 170.0, number=2)
    assert [camera.frame((face, other), open_ids=frozenset({2})).verdict for _ in range(8)][-1] is Verdict.LIVE
    third = face_at(560.0, 80.0, 70.0, 3)
    assert camera.frame((face, other, third), tracked=(face, other), open_ids=frozenset({2})).verdict is Verdict.COVER


def _holed(alpha: np.ndarray, x: int, y: int, r: int) -> np.ndarray:
    out = alpha.copy()
    cv2.circle(out, (x, y), r, 0, -1)
    return out


def test_drawings_that_do_not_hide_the_face() -> None:
    face = face_at(300.0, 170.0)
    good = Camera().drawn(Camera().raw((face,)), face)
    eye = np.rint(good.alignment.matrix @ (*face.five_px[0], 1.0)).astype(int)
    black, flat = np.zeros((128, 128, 3), np.uint8), np.full((128, 128, 3), 120, np.uint8)
    changes = {
        "the mask is empty": {"alpha": np.zeros((128, 128), np.uint8)},
        "is masked": {"alpha": _holed(good.alpha, 64, 100, 14)},
        "an eye is open": {"alpha": _holed(good.alpha, int(eye[0]), int(eye[1]), 5)},
        "flat": {"swapped": Swapped(flat, good.alpha)},
        "black": {"swapped": Swapped(np.where(RANDOM.random((128, 128, 1)) < 0.05, np.uint8(60), black).astype(np.uint8), good.alpha)},
        "not 128 px": {"swapped": Swapped(np.full((128, 128, 3), np.nan, np.float32), good.alpha)},  # type: ignore[arg-type]
        "masked": {"alignment": replace(good.alignment, matrix=good.alignment.matrix + np.array(((0, 0, 30.0), (0, 0, 0))))},
        "not finite": {"alignment": replace(good.alignment, matrix=good.alignment.matrix * np.nan)},
    }
    from livecam.guard._drawn import fault

    assert fault(good, (WIDTH, HEIGHT)) == ""
    for reason, change in changes.items():
        assert reason in fault(replace(good, **change), (WIDTH, HEIGHT)), reason
    assert fault(replace(good, alpha=changes["is masked"]["alpha"], occluder=255 - changes["is masked"]["alpha"]), (WIDTH, HEIGHT)) == ""


def test_a_drawing_that_never_reached_the_picture_is_covered() -> None:
    camera = Camera()
    face = camera.wear()
    assert camera.frame((face,), lose=True).reason == "the drawing is not in the picture"


def test_a_drawing_that_is_the_wearers_own_face_is_covered_however_it_is_lit() -> None:
    from livecam.guard._drawn import fault

    face = face_at(300.0, 170.0)
    good = Camera().drawn(Camera().raw((face,)), face)
    for gain, offset in ((1.0, 0.0), (0.6, 20.0), (1.2, -20.0)):
        own = np.clip(good.wearer * gain + offset, 0, 255).astype(np.uint8)
        assert fault(replace(good, swapped=Swapped(own, good.alpha)), (WIDTH, HEIGHT)) == "the drawing is the wearer's own face"
    another = cv2.GaussianBlur(np.random.default_rng(8).integers(90, 220, (128, 128, 3), np.uint8), (0, 0), 1.0)
    assert fault(replace(good, swapped=Swapped(another, good.alpha)), (WIDTH, HEIGHT)) == ""


def test_a_drawing_that_was_put_elsewhere_is_covered() -> None:
    """In the picture it is, but a part of the face that it should hide was left as it was."""
    camera = Camera()
    face = camera.wear()
    image = camera.raw((face,))
    camera.index += 1
    camera.policy.must_search(image, camera.index * STEP_NS)
    camera.policy.searched((seen(face),))
    one = camera.drawn(image, face)
    beside = replace(one.alignment, matrix=one.alignment.matrix - np.array(((0, 0, 25.0), (0, 0, 25.0))))
    paste(image, beside, one.swapped.crop, one.alpha)
    assert camera.policy.judge(image, (face,), (one,)).reason == "the drawing is not in the picture"


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_mark_that_brings_the_wearer_back_is_covered(share: float) -> None:
    camera = Camera()
    face = camera.wear()
    image = camera.raw((face,))
    raw = image.copy()
    camera.index += 1
    camera.policy.must_search(image, camera.index * STEP_NS)
    camera.policy.searched((seen(face),))
    one = camera.drawn(image, face)
    paste(image, one.alignment, one.swapped.crop, one.alpha)
    camera.policy.drew(image)
    image += np.uint8(2)  # as much as a mark changes
    top = int(face.box_px[1] + share * (face.box_px[3] - face.box_px[1]))
    image[:top] = raw[:top]
    assert camera.policy.judge(image, (face,), (one,)).reason == "the drawing was overwritten"


def test_a_face_that_grows_at_once_is_covered() -> None:
    camera = Camera()
    camera.wear(face=face_at(300.0, 170.0, 120.0))
    judged = camera.frame((face_at(300.0, 170.0, 120.0),), tracked=(face_at(300.0, 170.0, 60.0),))
    assert judged.reason == "a face grows or shrinks too fast to be followed surely"


def test_a_mask_beside_the_face_is_covered_by_the_search() -> None:
    camera = Camera()
    face = camera.wear()
    beside = face_at(380.0, 170.0)  # the tracker has slipped
    verdicts = [camera.frame((face,), tracked=(beside,), found=(seen(face),)) for _ in range(5)]
    assert Verdict.COVER in [one.verdict for one in verdicts[:4]]


def test_old_searches_do_not_vouch() -> None:
    camera = Camera()
    face = camera.wear()
    image = camera.raw((face,))
    assert camera.policy.must_search(image, camera.index * STEP_NS + 101_000_000)
    one = camera.drawn(image, face)
    paste(image, one.alignment, one.swapped.crop, one.alpha)
    assert camera.policy.judge(image, (face,), (one,)).reason == "the last whole search is too old"
    assert camera.policy.judge(image, (face,), (one,)).reason == "a frame came out of turn"
