"""The contract of the room `guard`, over random histories: what may never happen, whatever the camera, the detector and the tracker say."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from livecam.config import DetectConfig
from livecam.guard import cover
from livecam.guard.policy import Policy
from livecam.guard.states import Air, News, Picture
from livecam.types import Detection, Face, State, Verdict

WIDTH, HEIGHT = 320, 180
MAX_AGE_NS = int(DetectConfig().max_age_ms * 1e6)
BOXES = (np.array((90, 40, 160, 130), np.float32), np.array((200, 50, 260, 130), np.float32))
ROOM = np.random.default_rng(3).integers(60, 180, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def face(number: int) -> Face:
    x0, y0, x1, y1 = BOXES[number].tolist()
    five = np.array(((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.75), (0.65, 0.75))) * (x1 - x0, y1 - y0) + (x0, y0)
    return Face(number + 1, BOXES[number], five.astype(np.float32), 0.9)


def found(number: int) -> Detection:
    return Detection(BOXES[number], 0.9, face(number).five_px)


FRAMES = st.lists(
    st.tuples(
        st.integers(1, 200),  # ms since the frame before
        st.sets(st.integers(0, 1)),  # who the search would find
        st.sets(st.integers(0, 1)),  # who is tracked
        st.booleans(),  # whether the pipeline obeys when it is told to search
        st.booleans(),  # whether tracked faces are left open by name
    ),
    min_size=1,
    max_size=25,
)


@settings(deadline=None, max_examples=150)
@given(FRAMES)
def test_nothing_unmasked_unsearched_or_old_is_called_live(history: list[tuple[int, set[int], set[int], bool, bool]]) -> None:
    policy, now_ns, searched_ns = Policy(DetectConfig()), 0, None
    for passed_ms, there, tracked, obeys, left_open in history:
        now_ns += passed_ms * 1_000_000
        asked = policy.must_search(ROOM, now_ns)
        assert asked or searched_ns is not None, "the first frame is searched"
        seen: set[int] = set()
        if asked and obeys:
            seen, searched_ns = there, now_ns
            policy.searched([found(n) for n in sorted(there)])
        faces = [face(n) for n in sorted(tracked)]
        named = frozenset(f.track_id for f in faces) if left_open else frozenset[int]()
        judged = policy.judge(ROOM, faces, (), named)
        if judged.verdict is Verdict.LIVE:
            assert searched_ns is not None and now_ns - searched_ns <= MAX_AGE_NS
            assert tracked or searched_ns == now_ns, "an empty picture is searched itself"
            assert all(n in tracked and left_open for n in seen), "whoever was found is left open by name"
            assert not tracked or left_open, "nobody who is tracked goes unmasked"
        else:
            assert judged.reason


TICKS = st.lists(
    st.tuples(
        st.integers(1, 300),  # ms since the tick before
        st.sampled_from([None, Verdict.LIVE, Verdict.COVER]),
        st.integers(0, 600),  # ms since it was captured
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


@settings(deadline=None, max_examples=300)
@given(TICKS)
def test_what_is_on_air_was_finished_and_is_no_older_than_a_hold(history: list[tuple[int, Verdict | None, int, bool, bool, bool]]) -> None:
    air, now_ns, last = Air(250.0, 33.0), 0, None
    for passed_ms, verdict, age_ms, worker, camera, asked in history:
        now_ns += passed_ms * 1_000_000
        news = None if verdict is None else News(verdict, now_ns - age_ms * 1_000_000, now_ns)
        on = air.tick(now_ns, news, worker=worker, camera=camera, cover=asked)
        if not (worker and camera):
            assert on.picture is Picture.SLATE
            last = None
        elif on.take and news is not None:
            last = (news.verdict, now_ns)
            assert age_ms <= air.hold_limit_ms
        if on.state in (State.LIVE, State.HOLD):
            assert last is not None and last[0] is Verdict.LIVE and not asked
            assert now_ns - last[1] <= air.hold_limit_ms * 1e6
        if asked:
            assert on.picture in (Picture.PIXELATED, Picture.SLATE) or on.state is State.COVER
        assert (on.state is State.SLATE) == (on.picture is Picture.SLATE)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 400), st.integers(1, 300), st.integers(0, 2**31))
def test_a_cover_leaves_at_most_sixteen_blocks_across_of_any_picture(width: int, height: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    cover.pixelate(picture, 16)
    assert len(np.unique(picture.reshape(-1, width, 3).transpose(1, 0, 2).reshape(width, -1), axis=0)) <= 16
