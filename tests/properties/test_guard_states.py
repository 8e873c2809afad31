"""The states on air, against a plain model, over arbitrary histories."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from livecam.guard.states import Air, News, Picture
from livecam.types import State, Verdict

MS = 1_000_000
steps = st.lists(
    st.tuples(
        st.integers(1, 400),  # ms since the tick before
        st.one_of(st.none(), st.tuples(st.sampled_from(Verdict), st.integers(0, 2000), st.integers(0, 50))),  # news: verdict, age, commit to tick
        st.booleans(), st.booleans(), st.booleans(), st.booleans(),
    ),
    max_size=60,
)


@given(steps)
def test_what_may_be_on_air(history: list) -> None:  # noqa: C901 - the model, rule by rule
    air, now, last_take, last_verdict = Air(250.0, 33.3), 10_000 * MS, None, None
    for wait, told, worker, camera, cover, reveal in history:
        now += wait * MS
        news = None if told is None else News(told[0], now - told[1] * MS, max(now - told[2] * MS, now - told[1] * MS))
        on = air.tick(now, news, worker=worker, camera=camera, cover=cover, reveal=reveal)
        limit = air.hold_limit_ms * MS
        assert 250.0 <= air.hold_limit_ms <= 3000.0
        if not (worker and camera):
            assert on.state is State.SLATE and on.picture is Picture.SLATE and not on.take
            last_take = last_verdict = None
            continue
        assert on.take == (news is not None and now - news.capture_ns <= limit)
        if on.take:
            last_take, last_verdict = now, news.verdict
        held = last_take is not None and now - last_take <= limit
        if on.state is State.SLATE:
            assert on.picture is Picture.SLATE and not held
        else:
            assert held, "nothing older than the limit is ever shown"
        if on.state is State.LIVE:
            assert on.take and news.verdict is Verdict.LIVE and not cover and not reveal
        if on.state is State.HOLD:
            assert last_verdict is Verdict.LIVE and not on.take and not cover
        if cover:
            assert on.state in (State.COVER, State.SLATE), "covering acts on this very tick"
            assert on.picture is not Picture.UNMASKED
        if on.picture is Picture.PIXELATED:
            assert cover and last_verdict is Verdict.LIVE
        if on.picture is Picture.UNMASKED:
            assert reveal and on.state is State.REVEAL
        if not held:
            last_take = last_verdict = None
