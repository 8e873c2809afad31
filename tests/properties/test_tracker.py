"""The tracker with landmarks of one's own making: numbers, limits, re-seeding, smoothing."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from livecam import geometry
from livecam.config import TrackConfig
from livecam.track._euro import OneEuro, Tuning
from livecam.track._follow import CONVERGED_IOU, Follower
from livecam.track._landmarks import Landmarks, box_of
from livecam.track._region import Region
from livecam.track._smooth import Smoother
from livecam.types import Detection, Face, Frame

WIDTH, HEIGHT = 640, 480
PERIOD_NS = 33_333_333
IMAGE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
SHAPE = np.array([[x, y, 0.0] for y in (-0.5, -0.2, 0.1, 0.5) for x in (-0.4, -0.15, 0.15, 0.4)])
STABLE = np.arange(len(SHAPE))
REACH = 0.45
"""How far from the middle of its region, in sides, the fake network still sees a face."""


class Scene:
    """Faces as (x, y, side); the fake network finds the one nearest to the middle of its region. `sure`: how sure it is of a face."""

    def __init__(self) -> None:
        self.faces: dict[str, tuple[float, float, float]] = {}
        self.sure = 0.99
        self.forgotten: list[int] = []

    def seed(self, detection: Detection) -> Region:
        x0, y0, x1, y1 = detection.box_px.tolist()
        return Region((x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, 1e-3) * 1.5, 0.0)

    def find(self, image: np.ndarray, region: Region, track_id: int) -> Landmarks:
        del image, track_id
        near = [f for f in self.faces.values() if np.hypot(f[0] - region.centre_x_px, f[1] - region.centre_y_px) < REACH * region.side_px]
        if not near:
            return Landmarks(SHAPE * 20, SHAPE[:5, :2], 0.01, region)
        x, y, side = min(near, key=lambda f: np.hypot(f[0] - region.centre_x_px, f[1] - region.centre_y_px))
        points = SHAPE * side + [x, y, 0.0]
        return Landmarks(points, points[:5, :2].copy(), self.sure, Region(x, y, side * 1.5, 0.0))

    def forget(self, track_id: int) -> None:
        self.forgotten.append(track_id)

    def detections(self) -> tuple[Detection, ...]:
        boxes = [box_of(SHAPE * side + [x, y, 0.0]) for x, y, side in self.faces.values()]
        return tuple(Detection(box, 0.9) for box in boxes)


def follower(scene: Scene, **config: float) -> Follower:
    return Follower(TrackConfig(**config), scene, STABLE, lambda face, points: face, "none")  # type: ignore[arg-type]


def step(tracker: Follower, scene: Scene, number: int, search: bool = True, image: np.ndarray = IMAGE) -> tuple[Face, ...]:
    return tracker.update(Frame(image, number * PERIOD_NS, number), scene.detections() if search else None)


Step = tuple[dict[str, tuple[float, float, float]], bool, float, str]
STEPS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.floats(-50, 690), st.floats(-50, 530), st.floats(5, 300)), max_size=6),
        st.booleans(),
        st.sampled_from([0.99, 0.99, 0.99, 0.3, float("nan")]),
        st.sampled_from(["", "", "", "reset"]),
    ),
    max_size=14,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_numbers_are_never_used_again_and_no_two_faces_share_a_place(steps: list[Step]) -> None:
    scene = Scene()
    tracker = follower(scene)
    before: set[int] = set()
    ended: set[int] = set()
    highest = 0
    for number, (faces, search, sure, event) in enumerate(steps):
        if event == "reset":
            tracker.reset()
            ended |= before
            before = set()
        scene.faces, scene.sure = faces, sure
        found = step(tracker, scene, number, search)
        now = {face.track_id for face in found}
        assert len(now) == len(found) <= 4
        assert not now & ended, "a number came back"
        assert all(n > highest for n in now - before), "a new number is not the next"
        assert search or now <= before, "a face appeared without a search"
        for face in found:
            assert face.score >= 0.5
            assert np.isfinite(face.five_px).all() and np.isfinite(face.box_px).all()
        ended |= before - now
        highest = max([highest, *now])
        before = now
    raw = [box_of(t.found.points_px) for t in tracker._tracks]
    assert all(geometry.iou(a, b)[0, 0] <= CONVERGED_IOU for i, a in enumerate(raw) for b in raw[:i])


def test_a_face_keeps_its_number_while_it_moves_and_the_search_comes_and_goes() -> None:
    scene = Scene()
    tracker = follower(scene)
    for number in range(60):
        scene.faces = {"a": (100 + 6 * number, 200, 100), "b": (540 - 1.0 * number, 380, 90)}
        found = step(tracker, scene, number, search=number % 3 == 0)
        assert [f.track_id for f in found] == [1, 2]
        assert abs(float(found[0].box_px[[0, 2]].mean()) - (100 + 6 * number)) < 6


def test_a_face_below_min_score_is_not_returned_and_its_number_is_over() -> None:
    scene = Scene()
    tracker = follower(scene)
    scene.faces = {"a": (300, 200, 100)}
    assert [f.track_id for f in step(tracker, scene, 0)] == [1]
    scene.sure = 0.4
    assert step(tracker, scene, 1, search=False) == ()
    scene.sure = 0.99
    assert step(tracker, scene, 2, search=False) == ()
    assert [f.track_id for f in step(tracker, scene, 3)] == [2]
    assert 1 in scene.forgotten


def test_a_face_that_jumps_keeps_its_number_and_is_drawn_where_it_is() -> None:
    scene = Scene()
    tracker = follower(scene)
    scene.faces = {"a": (300, 200, 100)}
    step(tracker, scene, 0)
    scene.faces = {"a": (345, 235, 40)}
    found = step(tracker, scene, 1)
    assert [f.track_id for f in found] == [1]
    assert abs(float(found[0].box_px[[0, 2]].mean()) - 345) < 0.5


def test_a_track_that_lies_beside_its_detection_is_seeded_anew_under_its_own_number() -> None:
    scene = Scene()
    tracker = follower(scene)
    scene.faces = {"a": (300, 200, 100)}
    step(tracker, scene, 0)
    tracker._tracks[0].found = Landmarks(SHAPE, SHAPE[:5, :2], 0.99, Region(310, 225, 60, 0.0))
    scene.faces = {"a": (300, 200, 100), "ghost": (310, 225, 40)}
    detection = Detection(box_of(SHAPE * 100 + [300, 200, 0]), 0.9)
    found = tracker.update(Frame(IMAGE, PERIOD_NS, 1), (detection,))
    assert [f.track_id for f in found] == [1]
    assert np.allclose(found[0].box_px, detection.box_px, atol=1e-3)


def test_of_two_tracks_that_converge_the_older_stays() -> None:
    scene = Scene()
    tracker = follower(scene)
    scene.faces = {"a": (200, 200, 100), "b": (400, 200, 100)}
    assert {f.track_id for f in step(tracker, scene, 0)} == {1, 2}
    scene.faces = {"a": (300, 200, 100), "b": (305, 200, 100)}
    tracker._tracks[0].found = scene.find(IMAGE, Region(300, 200, 150, 0), -1)
    tracker._tracks[1].found = scene.find(IMAGE, Region(305, 200, 150, 0), -1)
    assert [f.track_id for f in step(tracker, scene, 1, search=False)] == [1]


def test_more_faces_than_allowed_leaves_the_largest() -> None:
    scene = Scene()
    tracker = follower(scene, max_faces=2)
    scene.faces = {"a": (100, 100, 60), "b": (300, 100, 90), "c": (500, 100, 120)}
    found = step(tracker, scene, 0)
    assert sorted(round(float(f.box_px[2] - f.box_px[0])) for f in found) == [72, 96]


def test_what_leaves_the_frame_and_what_shrinks_to_nothing_is_lost() -> None:
    for where in ((-60.0, 200.0, 100.0), (300.0, 200.0, 4.0)):
        scene = Scene()
        tracker = follower(scene)
        scene.faces = {"a": (60, 200, 100) if where[0] < 0 else (300, 200, 60)}
        assert len(step(tracker, scene, 0)) == 1
        scene.faces = {"a": where}
        tracker._tracks[0].found = Landmarks(SHAPE * 100, SHAPE[:5, :2], 0.99, Region(where[0], where[1], 150, 0.0))
        assert step(tracker, scene, 1) == ()


def test_after_a_long_gap_old_places_are_forgotten() -> None:
    scene = Scene()
    tracker = follower(scene)
    scene.faces = {"a": (300, 200, 100)}
    step(tracker, scene, 0)
    assert tracker.update(Frame(IMAGE, 10_000_000_000, 1), None) == ()


VALUES = hnp.arrays(np.float64, (12, 3, 2), elements=st.floats(-1e3, 1e3))
TUNINGS = st.builds(Tuning, st.floats(0.1, 10), st.floats(0, 50), st.floats(0.5, 20), st.floats(0, 1), st.booleans())


@given(VALUES, TUNINGS, st.floats(-1, 5))
def test_one_euro_goes_from_the_old_value_towards_the_new(values: np.ndarray, tuning: Tuning, dt: float) -> None:
    euro = OneEuro(tuning)
    last = euro(values[0], dt)
    assert np.array_equal(last, values[0])
    for value in values[1:]:
        out = euro(value, dt)
        low, high = np.minimum(last, value), np.maximum(last, value)
        assert ((out >= low - 1e-9) & (out <= high + 1e-9)).all()
        last = out


@given(TUNINGS, st.floats(-100, 100), st.floats(-1e3, 1e3))
def test_one_euro_keeps_a_constant_and_shifts_with_its_input(tuning: Tuning, constant: float, shift: float) -> None:
    plain, moved = OneEuro(tuning), OneEuro(tuning)
    steps = constant + np.sin(np.arange(20.0))[:, None, None] * np.ones((1, 2, 2))
    for value in steps:
        assert np.allclose(plain(value, 0.03) + shift, moved(value + shift, 0.03), atol=1e-6)
    still = OneEuro(tuning)
    assert all(np.allclose(still(np.full((2, 2), constant), 0.03), constant) for _ in range(5))


def test_one_euro_follows_faster_when_it_moves_faster() -> None:
    lags = []
    for speed in (0.2, 2.0, 20.0):
        euro = OneEuro(Tuning(1.0, 5.0))
        outs = [euro(np.array([[speed * i / 30, 0.0]]), 1 / 30)[0, 0] for i in range(90)]
        lags.append((speed * 89 / 30 - outs[-1]) / speed)
    assert lags[0] > lags[1] > lags[2]
    assert lags[2] < 0.02


def test_one_euro_with_beta_zero_is_a_low_pass_of_its_cutoff() -> None:
    euro = OneEuro(Tuning(1.0, 0.0))
    euro(np.zeros((1, 1)), 0.01)
    outs = [float(euro(np.ones((1, 1)), 0.01)[0, 0]) for _ in range(16)]
    assert 0.58 < outs[-1] < 0.68, "after one time constant (159 ms) a step is 63 % there"


@settings(deadline=None)
@given(st.floats(0.2, 5), st.floats(-180, 180), st.tuples(st.floats(-500, 500), st.floats(-500, 500)))
def test_smoothing_moves_with_the_face(scale: float, turn: float, shift: tuple[float, float]) -> None:
    """The same motion seen larger, elsewhere and turned is smoothed alike: the filter works in the face's own scale."""
    matrix = geometry.similarity(scale, turn, shift)
    rng = np.random.default_rng(3)
    here, there = Smoother(STABLE), Smoother(STABLE)
    for i in range(12):
        points = SHAPE * 100 + [3.0 * i, 0.5 * i * i, 0.0] + rng.normal(0, 0.3, SHAPE.shape)
        a, five_a = here(points, points[:5, :2], 1 / 30)
        moved = geometry.apply(matrix, points)
        b, five_b = there(moved, moved[:5, :2], 1 / 30)
        assert np.allclose(geometry.apply(matrix, a), b, atol=1e-6 * max(1.0, scale))
        assert np.allclose(geometry.apply(matrix, five_a), five_b, atol=1e-6 * max(1.0, scale))


def test_a_still_noisy_face_is_stilled_and_a_fast_one_hardly_lags() -> None:
    rng = np.random.default_rng(0)
    smoother = Smoother(STABLE)
    outs = []
    for _ in range(150):
        points = SHAPE * 200 + [300, 200, 0] + rng.normal(0, 0.3, SHAPE.shape)
        outs.append(smoother(points, points[:5, :2], 1 / 30)[1])
    still = np.array(outs[15:])
    assert still.std(axis=0).max() < 0.15, "half of what came in"
    for i in range(1, 13):
        points = SHAPE * 200 + [300 + 25.0 * i, 200, 0]
        five = smoother(points, points[:5, :2], 1 / 30)[1]
    assert np.abs(five - points[:5, :2]).max() < 25.0 * 0.5, "less than half a frame behind at 25 px a frame"
