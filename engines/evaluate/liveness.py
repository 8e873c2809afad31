"""Enrolment's check of who is before the camera, on rendered people and on flat pictures of them.

Separation: how far turned heads depart from a plane, and what flat and bent pictures of them do, through the live detector and tracker. Sessions: the
real `Session` with its random prompts, answered by people, by somebody who tilts a photograph as asked, and by recordings of earlier sessions.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engines.evaluate.puppet import Eyes, Shot, library, moved, tilted
from livecam.persona import _flat
from livecam.persona._prompts import TURN_DEG, Action, Observation, Session, Status

FPS = 24.0
TILTS_DEG = (15.0, 25.0, 35.0, 45.0, 55.0, 62.0)
NEARNESS = (0.5, 1.0, 2.5)
"""Distances of a card, in its own widths."""
BENDS = (0.8, 1.6, 2.4)
"""Radians over a picture's width that it is bent by: the last about as a sheet laid around a face."""
LEFT = {Action.TURN_LEFT: 1.0, Action.TURN_RIGHT: -1.0, Action.LOOK_LEFT: 1.0, Action.LOOK_RIGHT: -1.0}
MOST_S = 160.0
Player = Callable[[float, Status | None], Observation]
"""(time, what the session said last) -> what the camera sees now."""


class Person:
    """Answers prompts as people do, from a library of shots: late, smoothly, with blinks in between."""

    def __init__(self, shots: Sequence[Shot], seed: int) -> None:
        self._rng = np.random.default_rng((seed, 3))
        self._by: dict[str, list[Shot]] = {}
        for shot in shots:
            self._by.setdefault(shot.kind, []).append(shot)
        self._prompt: Action | None = None
        self._start_s, self._hold_s, self._blink_s = 0.0, 0.6, float(self._rng.uniform(1, 5))

    def __call__(self, now_s: float, status: Status | None) -> Observation:
        prompt = None if status is None else status.prompt
        if prompt is not None and prompt is not self._prompt:
            self._start_s = now_s + float(self._rng.uniform(0.35, 0.9))
            self._hold_s = float(self._rng.uniform(0.5, 0.9)) + (0.3 if prompt is Action.SHUT_EYES else 0.0)
            self._prompt = prompt
        if self._prompt is not None and now_s > self._start_s + self._hold_s + 0.8:
            self._prompt = prompt
        share = self._share(now_s)
        if self._prompt is None or share <= 0.0:
            return moved(self._at_rest(now_s), now_s, self._rng)
        return moved(self._acting(self._prompt, share), now_s, self._rng)

    def _share(self, now_s: float) -> float:
        """How far the action is: up in 0.3 s, held, down in 0.4 s."""
        after = now_s - self._start_s
        return float(np.clip(min(after / 0.3, 1.0 - (after - 0.3 - self._hold_s) / 0.4), 0.0, 1.0))

    def _at_rest(self, now_s: float) -> Observation:
        if now_s > self._blink_s + 0.17:
            self._blink_s = now_s + float(self._rng.uniform(2, 6))
        if now_s > self._blink_s:
            return self._by["shut"][-1].seen
        return self._by["rest"][1 + int(now_s / 1.5) % 2].seen

    def _acting(self, prompt: Action, share: float) -> Observation:
        kind = {"TURN": "turn", "LOOK": "look", "SHUT": "shut", "OPEN": "mouth"}[prompt.name.split("_")[0]]
        side = LEFT.get(prompt, 1.0)
        shots = [shot for shot in self._by[kind] if shot.amount * side > 0]
        most = max(abs(shot.amount) for shot in shots)
        wanted = share * most
        rest = self._by["rest"][1]
        return min((*shots, rest), key=lambda shot: abs(abs(shot.amount) - wanted)).seen


class Tilter:
    """Holds a photograph before the camera and tilts it as asked; for everything else it can do nothing better."""

    def __init__(self, cards: dict[float, Observation], seed: int) -> None:
        self._rng = np.random.default_rng((seed, 4))
        self._cards = cards
        self._side = float(self._rng.choice((-1.0, 1.0)))  # towards the side asked for, or away from it
        self._prompt: Action | None = None
        self._start_s = 0.0

    def __call__(self, now_s: float, status: Status | None) -> Observation:
        prompt = None if status is None else status.prompt
        if prompt is not self._prompt:
            self._prompt, self._start_s = prompt, now_s + float(self._rng.uniform(0.3, 0.8))
        most = max(self._cards)
        share = 0.0 if prompt is None else float(np.clip((now_s - self._start_s) / 1.0, 0.0, 1.0))
        wanted = share * most * self._side * LEFT.get(prompt, 0.0) if prompt else 0.0
        return moved(self._cards[min(self._cards, key=lambda tilt: abs(tilt - wanted))], now_s, self._rng)


class Recording:
    """Plays what a camera saw in another session, from its beginning, over and over."""

    def __init__(self, frames: Sequence[Observation], start_s: float) -> None:
        self._frames, self._start_s = frames, start_s

    def __call__(self, now_s: float, status: Status | None) -> Observation:
        del status
        frame = self._frames[round((now_s + self._start_s) * FPS) % len(self._frames)]
        return replace(frame, at_s=now_s)


def play(player: Player, seed: int) -> tuple[Status, Session, list[Observation]]:
    """A whole session."""
    session, status, frames = Session(random.Random(seed)), None, list[Observation]()
    for k in range(round(MOST_S * FPS)):
        now_s = 1.0 + k / FPS
        frames.append(player(now_s - 1.0, status))
        status = session.feed(replace(frames[-1], at_s=now_s))
        if status.ended:
            return status, session, frames
    raise AssertionError("a session has no end")


def measure(people: int, sessions: int, replays: int, assets: Path, cache: Path, models: Path) -> dict[str, Any]:
    """Everything, as JSON."""
    cv2.setNumThreads(1)
    eyes = Eyes(models)
    libraries = [library(seed, eyes, assets, cache) for seed in range(people)]
    heads, flats, bents, cards = _separation(libraries, eyes)
    result: dict[str, Any] = {
        "people": people, "threshold": _flat.LEAST_DEPARTURE, "least_turn_deg": TURN_DEG,
        "heads_turned": _summary([d for yaw, d in heads if abs(yaw) >= TURN_DEG]),
        "flat_pictures": _told(flats), "bent_pictures": {f"{bend:g} rad": _told(seen) for bend, seen in bents.items()},
    }  # fmt: skip
    result["sessions"] = {
        "people": _played((Person(libraries[k % people], k), k) for k in range(sessions)),
        "tilted photographs": _played((Tilter(cards[k % people], k), k) for k in range(sessions)),
        "recordings of another session": _played(_recordings(libraries, replays)),
    }
    return result


def _separation(
    libraries: Sequence[Sequence[Shot]], eyes: Eyes
) -> tuple[list[tuple[float, float]], list[tuple[float, float]], dict[float, list[tuple[float, float]]], list[dict[float, Observation]]]:
    """(seen yaw, departure) of heads, of flat pictures, of bent ones; and each person's card by its tilt."""
    heads, flats = list[tuple[float, float]](), list[tuple[float, float]]()
    bents: dict[float, list[tuple[float, float]]] = {bend: [] for bend in BENDS}
    cards: list[dict[float, Observation]] = []
    for shots in libraries:
        rest = next(shot for shot in shots if shot.kind == "rest")
        front = rest.seen.points
        heads += [(shot.seen.yaw_deg, _flat.head(front, shot.seen.points, _turned(rest.seen, shot.seen))) for shot in shots if shot.kind == "turn"]
        middle = tuple(float(x) for x in front[[33, 263, 152], :2].mean(axis=0))
        held: dict[float, Observation] = {0.0: rest.seen}
        for number, (tilt, near, bend) in enumerate(_tilts()):
            seen = eyes.see(tilted(rest.picture, (middle[0], middle[1]), tilt, (-12.0, 3.0, 12.0)[number % 3], near, bend))
            if seen is None:
                continue
            (bents[bend] if bend else flats).append((seen.yaw_deg, _flat.head(front, seen.points, _turned(rest.seen, seen))))
            if not bend and near == 1.0:
                held[tilt] = seen
        cards.append(held)
    return heads, flats, bents, cards


def _turned(rest: Observation, seen: Observation) -> float:
    return abs(seen.yaw_deg - rest.yaw_deg)


def _tilts() -> Iterator[tuple[float, float, float]]:
    for tilt in TILTS_DEG:
        for side in (1.0, -1.0):
            yield from ((side * tilt, near, 0.0) for near in NEARNESS)
            yield from ((side * tilt, 1.0, bend) for bend in BENDS)


def _recordings(libraries: Sequence[Sequence[Shot]], count: int) -> Iterator[tuple[Recording, int]]:
    """Recordings of sessions that passed, each played against many others."""
    made: list[list[Observation]] = []
    for k in range(4 * len(libraries)):
        status, _, frames = play(Person(libraries[k % len(libraries)], 10_000 + k), 10_000 + k)
        if not status.failure:
            made.append(frames)
    rng = np.random.default_rng(9)
    for k in range(count):
        frames = made[k % len(made)]
        yield Recording(frames, 0.0 if k % 2 else float(rng.uniform(0, len(frames) / FPS))), 50_000 + k


def _played(trials: Iterator[tuple[Player, int]]) -> dict[str, Any]:
    passed, count, lengths = 0, 0, list[float]()
    why: Counter[str] = Counter()
    for player, seed in trials:
        status, _, frames = play(player, seed)
        count += 1
        passed += not status.failure
        lengths.append(len(frames) / FPS)
        if status.failure:
            why[status.failure.split(":")[0].split("(")[0].strip()[:90]] += 1
    return {"tried": count, "passed": passed, "median_s": round(float(np.median(lengths)), 1), "why_not": dict(why.most_common(6))}


def _told(seen: Sequence[tuple[float, float]]) -> dict[str, Any]:
    turned = [d for yaw, d in seen if abs(yaw) >= TURN_DEG]
    return {
        "tried": len(seen), "most_yaw_deg_seen": round(max(abs(yaw) for yaw, _ in seen), 1), "seen_as_turned": len(turned),
        "seen_as_turned_and_as_head": sum(d >= _flat.LEAST_DEPARTURE for d in turned), "departure": _summary([d for _, d in seen]),
    }  # fmt: skip


def _summary(values: Sequence[float]) -> dict[str, float]:
    shares = {"least": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "most": 1.0}
    return {"count": len(values), **{name: round(float(np.quantile(values, share)), 4) for name, share in shares.items()}}
