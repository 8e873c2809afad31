"""Enrolment's decisions without camera or network: prompts in time, heads and flat pictures, photographs of one person."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livecam import persona
from livecam.errors import PersonaError
from livecam.persona import _flat, _match, _prompts
from livecam.persona._prompts import Action, Observation, Session, Status

FPS = 20.0
HEAD_PX, FAR = 640.0, 3.0
"""Width of the picture that the mesh lies in, and the camera's distance from it in such widths."""
SIDE = {Action.TURN_LEFT: 1.0, Action.TURN_RIGHT: -1.0, Action.LOOK_LEFT: 1.0, Action.LOOK_RIGHT: -1.0}


@cache
def solid() -> np.ndarray:
    """(478, 3) a head's landmarks in space, about their middle."""
    mesh = persona.load("noor").meshes["neutral"].astype(np.float64)
    return mesh - mesh.mean(axis=0)


def view(yaw_deg: float, pitch_deg: float = 0.0, flat: bool = False, noise_px: float = 0.3, seed: int = 0) -> np.ndarray:
    """The landmarks as a camera sees them when the head, or a flat picture of it, is turned."""
    points = solid() * ((1, 1, 0) if flat else (1, 1, 1))
    turn = cv2.Rodrigues(np.array([np.radians(pitch_deg), 0.0, 0.0]))[0] @ cv2.Rodrigues(np.array([0.0, np.radians(-yaw_deg), 0.0]))[0]
    placed = points @ turn.T
    scale = FAR * HEAD_PX / (FAR * HEAD_PX + placed[:, 2:])
    out = np.concatenate([320 + placed[:, :2] * scale, placed[:, 2:]], axis=1)
    return (out + np.random.default_rng(seed).normal(0, noise_px, out.shape)).astype(np.float32)


class Sitter:
    """Answers prompts; `delay_s` after they are shown."""

    def __init__(self, delay_s: float = 0.5, flat: bool = False, wrong: bool = False) -> None:
        self.delay_s, self.flat, self.wrong = delay_s, flat, wrong
        self._prompt: Action | None = None
        self._shown_s = 0.0

    def __call__(self, at_s: float, status: Status | None) -> Observation:
        prompt = None if status is None else status.prompt
        if prompt is not None and prompt is not self._prompt:
            self._prompt, self._shown_s = prompt, at_s
        after = at_s - self._shown_s - self.delay_s
        acting = self._prompt is not None and 0.0 <= after < 1.0
        if not acting and prompt is None:
            self._prompt = None
        return self.act(at_s, self._prompt) if acting else rest(at_s)

    def act(self, at_s: float, action: Action | None) -> Observation:
        if self.wrong and action is not None:
            action = Action.OPEN_MOUTH if action is not Action.OPEN_MOUTH else Action.SHUT_EYES
        return acted(at_s, action, self.flat)


def rest(at_s: float) -> Observation:
    return Observation(at_s, 1, 1, 1.0, 2.0, -1.0, 1.0, 0.03, view(1.0))


def acted(at_s: float, action: Action | None, flat: bool = False) -> Observation:
    calm = rest(at_s)
    if action in (Action.TURN_LEFT, Action.TURN_RIGHT):
        yaw = 25.0 * SIDE[action]
        return replace(calm, yaw_deg=yaw, points=view(yaw, flat=flat))
    if action in (Action.LOOK_LEFT, Action.LOOK_RIGHT):
        return replace(calm, gaze_deg=25.0 * SIDE[action])
    if action is Action.SHUT_EYES:
        return replace(calm, lids=0.1)
    return replace(calm, mouth=0.5) if action is Action.OPEN_MOUTH else calm


def play(sitter: Callable[[float, Status | None], Observation], seed: int = 0, most_s: float = 160.0) -> tuple[Status, Session, list[Status]]:
    session, status, said = Session(random.Random(seed)), None, list[Status]()
    for k in range(round(most_s * FPS)):
        at_s = 5.0 + k / FPS
        status = session.feed(sitter(at_s, status))
        said.append(status)
        if status.ended:
            break
    assert status is not None
    return status, session, said


@pytest.mark.parametrize("seed", range(8))
def test_whoever_answers_in_time_passes(seed: int) -> None:
    status, session, said = play(Sitter(), seed)
    assert status.ended and not status.failure
    assert 6 <= len(session.passed) == status.rounds <= 8
    assert all(0.2 <= one.done_s - one.asked_s <= 4.0 for one in session.passed)
    assert [one.asked_s for one in session.passed] == sorted(one.asked_s for one in session.passed)
    assert min(session.departures) >= _flat.LEAST_DEPARTURE
    assert sum(one.keep for one in said) == status.rounds, "a picture for the match in each round"


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_plans_are_random_and_ask_for_both_sides(seed: int) -> None:
    plan = _prompts.draw(random.Random(seed))
    assert 6 <= len(plan) <= 8 and {Action.TURN_LEFT, Action.TURN_RIGHT} <= set(plan) and len(set(plan)) >= 4
    assert all(a is not b for a, b in pairwise(plan))


def test_sessions_differ() -> None:
    plans = {tuple(Session()._plan) for _ in range(40)}
    assert len(plans) > 30


@pytest.mark.parametrize(
    ("sitter", "why"),
    [
        (Sitter(wrong=True), "another action"),
        (Sitter(delay_s=0.0), "sooner than anybody can react"),
        (Sitter(delay_s=9.0), "no answer within"),
        (Sitter(flat=True), "as a flat picture does"),
        (lambda at_s, _: rest(at_s), "no answer within"),
        (lambda at_s, _: acted(at_s, Action.TURN_LEFT), "looks straight into the camera"),
    ],
    ids=["wrong", "too soon", "too late", "flat", "a photograph", "never straight"],
)
def test_what_is_no_answer_ends_the_session(sitter: Callable[[float, Status | None], Observation], why: str) -> None:
    status, _, _ = play(sitter)
    assert status.ended and why in status.failure


def test_an_action_before_it_is_asked_for_fails_the_round() -> None:
    class Eager(Sitter):
        def __call__(self, at_s: float, status: Status | None) -> Observation:
            waiting = status is not None and status.say == "hold still" and not status.keep
            return acted(at_s, Action.OPEN_MOUTH) if waiting else super().__call__(at_s, status)

    status, session, _ = play(Eager())
    assert "before it was asked for" in status.failure and not session.passed


def test_one_failed_round_is_made_up_for_and_a_second_is_not() -> None:
    class Once(Sitter):
        def __init__(self, misses: int) -> None:
            super().__init__()
            self.misses, self.rounds = misses, 0

        def __call__(self, at_s: float, status: Status | None) -> Observation:
            if status is not None and status.prompt is not None and self.misses:
                if status.say.startswith("not counted"):
                    self.misses -= 1
                return rest(at_s)
            if status is not None and status.say.startswith("not counted"):
                self.misses = max(self.misses - 1, 0)
            return super().__call__(at_s, status)

    status, session, _ = play(Once(1))
    assert not status.failure and {Action.TURN_LEFT, Action.TURN_RIGHT} <= {one.action for one in session.passed}
    assert play(Once(2))[0].failure.startswith("two prompts")


@pytest.mark.parametrize("seed", range(6))
def test_a_recording_of_another_session_fails(seed: int) -> None:
    frames: list[Observation] = []
    sitter = Sitter()

    def recorded(at_s: float, status: Status | None) -> Observation:
        frames.append(sitter(at_s, status))
        return frames[-1]

    assert not play(recorded, 100 + seed)[0].failure
    film = list(frames)
    status, _, _ = play(lambda at_s, _: replace(film[round((at_s - 5.0) * FPS) % len(film)], at_s=at_s), seed)
    assert status.failure


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda seen: replace(seen, faces=2), "be alone"),
        (lambda seen: replace(seen, track=2), "another began"),
        (lambda seen: replace(seen, track=-1, faces=0), "found that it was lost"),
        (lambda seen: replace(seen, at_s=seen.at_s + 1.0), "without a pause"),
        (lambda seen: replace(seen, at_s=seen.at_s - 1.0), "without a pause"),
    ],
    ids=["two faces", "another face", "lost", "paused", "back in time"],
)
def test_a_broken_scene_ends_it_at_once_and_for_good(change: Callable[[Observation], Observation], why: str) -> None:
    sitter, session, status = Sitter(), Session(random.Random(1)), None
    for k in range(60):
        status = session.feed(sitter(5.0 + k / FPS, status))
    assert status is not None and not status.ended
    for k in range(2):
        status = session.feed(change(rest(8.0 + k / FPS)))
    assert why in status.failure
    assert session.feed(rest(8.2)) == status


def test_a_spontaneous_blink_is_no_action() -> None:
    class Blinking(Sitter):
        def __call__(self, at_s: float, status: Status | None) -> Observation:
            seen = super().__call__(at_s, status)
            return replace(seen, lids=min(seen.lids, 0.1)) if at_s % 2.0 < 0.2 else seen

    assert not play(Blinking())[0].failure


@settings(max_examples=60, deadline=None)
@given(st.floats(18, 40), st.sampled_from((-1.0, 1.0)), st.floats(-10, 10), st.integers(0, 99))
def test_heads_depart_from_a_plane_and_flat_pictures_do_not(turn: float, side: float, pitch: float, seed: int) -> None:
    front = view(0.0, seed=seed + 1)
    assert _flat.head(front, view(side * turn, pitch, seed=seed), turn) >= _flat.LEAST_DEPARTURE
    assert _flat.departure(front, view(side * turn, pitch, flat=True, seed=seed)) < 0.5 * _flat.LEAST_DEPARTURE


def test_what_cannot_be_compared_counts_as_flat() -> None:
    front = view(0.0)
    for other in (np.zeros((478, 3), np.float32), np.full((478, 3), np.nan, np.float32)):
        assert _flat.head(front, other, 20.0) == 0.0 and _flat.head(other, front, 20.0) == 0.0
    assert _flat.head(front, view(65.0, noise_px=3.0, flat=True), 20.0) == 0.0, "squeezed more than a head"


def people(count: int, seed: int, spread: float = 0.05) -> list[np.ndarray]:
    """Embeddings of one person."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=128)
    return [_match.unit((middle + spread * rng.normal(size=128) * 5).astype(np.float32)) for _ in range(count)]


def test_photographs_of_the_one_before_the_camera_match() -> None:
    faces = people(9, 1)
    found = _match.match(faces[:6], faces[6:], ["a", "b", "c"])
    assert len(found.scores) == 3 and min(found.scores) > 0.363 and found.embedding.shape == (128,)
    assert float(np.linalg.norm(found.embedding)) == pytest.approx(1.0, abs=1e-5)


def test_others_do_not() -> None:
    faces, stranger = people(9, 1), people(1, 2)[0]
    with pytest.raises(PersonaError, match=r"others: b \("):
        _match.match(faces[:6], [faces[6], stranger], ["a", "b"])
    with pytest.raises(PersonaError, match="found faces that differ"):
        _match.match([*faces[:5], stranger], faces[6:7], ["a"])
    with pytest.raises(PersonaError, match="at least 5"):
        _match.match(faces[:4], faces[6:7], ["a"])
    with pytest.raises(PersonaError, match="at least one photograph"):
        _match.match(faces[:6], [], [])
    with pytest.raises(PersonaError, match="others"):
        _match.match(faces[:6], [np.full(128, np.nan, np.float32)], ["a"])
