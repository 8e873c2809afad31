"""The check that somebody is in front of the camera: random prompts, answered in time, by one face that is never lost. No input or output in here.

A session takes one `Observation` a frame and says what to show (`Status`).  It first learns how the face is at rest.  Then come rounds: the face is
at rest for a random time, a prompt appears, the action must follow within its window, and the face comes to rest again.  A round fails when an action
comes before it was asked for (sooner than people react), when another action comes, or when none does.  One failed round is made up for by another
one; a second ends the session.  Number, kinds, order and times of the prompts come from the system's random source, so that a recording of an
earlier session has the wrong actions at the wrong times.

What it does not see: somebody's face drawn live over the attacker's own. This is no certified detection of presentation attacks (ISO/IEC 30107).

Convention: degrees; yaw is positive towards image-right, which is the subject's left in a picture that is not mirrored.
"""

from __future__ import annotations

import enum
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from livecam.persona import _flat


class Action(enum.Enum):
    """What may be asked for."""

    TURN_LEFT = "turn your head to your left, then back"
    TURN_RIGHT = "turn your head to your right, then back"
    LOOK_LEFT = "hold your head still and look far to your left, then back"
    LOOK_RIGHT = "hold your head still and look far to your right, then back"
    SHUT_EYES = "shut your eyes for a second, then open them"
    OPEN_MOUTH = "open your mouth wide, then close it"


TURNS = (Action.TURN_LEFT, Action.TURN_RIGHT)
LOOKS = (Action.LOOK_LEFT, Action.LOOK_RIGHT)
LEAST_ROUNDS, MOST_ROUNDS = 6, 8
LEAST_KINDS = 4
MOST_FAILED = 1
REST_S = 1.0
"""The face is learnt over so long."""
SETTLE_S = 0.4
"""At rest for so long, a round can begin."""
PAUSE_S = (0.7, 2.2)
"""Least and longest random time before a prompt appears."""
WINDOW_S = 4.0
REACTION_S = 0.2
"""Nobody sees a prompt, understands it, and is done with the movement sooner (simple reactions alone take 0.2 s; Luce, Response Times, 1986)."""
RETURN_S = 6.0
"""Longest way back to rest."""
LEARN_S = 30.0
"""Longest time until the face was seen at rest."""
MOST_S = 150.0
GAP_S = 0.7
"""A camera that gives no picture for longer has been paused, or the face was lost."""
LEAST_FPS_NOTE = "the camera stood still, or the computer was busy, for {gap:.1f} s"
TURN_DEG, STILL_DEG, FRONT_DEG, TILT_DEG = 18.0, 10.0, 10.0, 25.0
"""A turn is at least the first, both from rest and from the camera (tilted flat pictures seldom seem to turn so far); a head that
holds still stays within the second; a face at rest looks into the camera within the others."""
LOOK_DEG = 12.0
SHUT_SHARE, SHUT_S = 0.5, 0.35
"""Lids below this share of their opening at rest, for so long: spontaneous blinks are over sooner (0.1 to 0.3 s)."""
OPEN_BY = 0.20
"""Gap of the lips over the mouth's width, above that at rest."""
HELD_S = 0.12
"""An action counts when it lasts so long: one frame may be wrong."""
TWO_FACES_FRAMES = 2
REST_YAW, REST_GAZE, REST_MOUTH, REST_LIDS = 8.0, 9.0, 0.10, 0.65
"""How far from its rest a face may be to be at rest: degrees, degrees, share of the mouth's width, least share of the lids' opening."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A frame. at_s: time; faces: in the picture; track: number of the one followed, -1 without; yaw_deg, pitch_deg: of the head; gaze_deg: the eyes'
    mean yaw relative to the head; lids: the eyes' mean opening (0 shut, about 1 wide open); mouth: gap of the lips over the mouth's width;
    points: (478, 3) landmarks, frame pixels."""

    at_s: float
    faces: int
    track: int = -1
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    gaze_deg: float = 0.0
    lids: float = 1.0
    mouth: float = 0.0
    points: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 3), np.float32))


@dataclass(frozen=True, slots=True)
class Passed:
    """A prompt that was answered. asked_s, done_s: since the session began."""

    action: Action
    asked_s: float
    done_s: float


@dataclass(frozen=True, slots=True)
class Status:
    """After a frame. say: what to show; prompt: the action asked for now; done, rounds: how far it is; keep: this frame shows the face at rest and is
    to be compared with the photographs; ended, failure: the session is over, well if failure is ""."""

    say: str
    done: int
    rounds: int
    prompt: Action | None = None
    keep: bool = False
    ended: bool = False
    failure: str = ""


def draw(source: random.Random) -> list[Action]:
    """The prompts of a session: 6 to 8, to both sides at least once, of four kinds at least, none twice in a row."""
    everything = list(Action)
    while True:
        count = LEAST_ROUNDS + source.randrange(MOST_ROUNDS - LEAST_ROUNDS + 1)
        plan = [source.choice(everything) for _ in range(count)]
        repeated = any(a is b for a, b in pairwise(plan))
        if not repeated and set(TURNS) <= set(plan) and len(set(plan)) >= LEAST_KINDS:
            return plan


class Session:
    """See the module. `feed` is called once a frame, by one thread, until `ended`."""

    def __init__(self, source: random.Random | None = None) -> None:
        """source: of chance; the system's own unless a test brings another."""
        self._source = source or secrets.SystemRandom()
        self._plan = draw(self._source)
        self.passed: list[Passed] = []
        self.departures: list[float] = []
        """One a turn: how far it was from a flat picture's (`_flat.head`)."""
        self._begun_s = self._since_s = self._last_s = 0.0
        self._track, self._two, self._failed = -1, 0, 0
        self._step = self._learn
        self._resting: list[Observation] = []
        self._rest: Observation | None = None
        self._held: dict[Action, float] = {}
        self._calm_since: float | None = None
        self._pause_s = 0.0
        self._asked: Action | None = None
        self._front: NDArray[np.float32] | None = None
        self._views: list[float] = []
        self._ended: Status | None = None

    def feed(self, seen: Observation) -> Status:
        """Takes a frame. After the end it keeps saying how it ended."""
        if self._ended is not None:
            return self._ended
        if self._last_s == 0.0:
            self._begun_s = self._since_s = self._last_s = seen.at_s
        gap, self._last_s = seen.at_s - self._last_s, seen.at_s
        failure = self._broken(seen, gap)
        if failure:
            return self._end(failure)
        if self._rest is not None:
            self._follow(seen)
        return self._step(seen)

    def _broken(self, seen: Observation, gap: float) -> str:
        """Why the session cannot go on, whatever it is at."""
        self._two = self._two + 1 if seen.faces > 1 else 0
        if self._two >= TWO_FACES_FRAMES:
            return "expected one face in the picture, found two or more; be alone before the camera"
        if not 0.0 <= gap <= GAP_S:
            return f"expected pictures without a pause, found that {LEAST_FPS_NOTE.format(gap=gap)}; try again"
        if seen.at_s - self._begun_s > MOST_S:
            return f"expected to be done within {MOST_S:.0f} s, found that it took longer; try again"
        if seen.track < 0:
            lost = "expected one face in the picture all the time, found that it was lost; stay before the camera, in even light"
            return "" if self._track < 0 else lost
        if self._track < 0:
            self._track = seen.track
        if seen.track != self._track:
            return "expected the same face all the time, found that it was lost and another began; stay before the camera"
        return ""

    def _learn(self, seen: Observation) -> Status:
        """Until the face was at rest for REST_S."""
        if seen.track < 0:
            self._resting.clear()
            text = "no face is seen: sit before the camera, in even light"
        elif abs(seen.yaw_deg) > FRONT_DEG or abs(seen.pitch_deg) > TILT_DEG:
            self._resting.clear()
            text = "look straight into the camera"
        else:
            self._resting.append(seen)
            text = "look straight into the camera, mouth closed, and hold still"
        if self._resting and seen.at_s - self._resting[0].at_s >= REST_S:
            self._rest = _median(self._resting)
            self._settle(seen.at_s)
        elif seen.at_s - self._begun_s > LEARN_S:
            return self._end("expected a face that looks straight into the camera for a second, found none; sit before the camera, in even light")
        return self._status(text)

    def _settle(self, at_s: float) -> None:
        """On to waiting for rest, then to the next prompt."""
        self._step, self._since_s, self._calm_since = self._calm, at_s, None
        self._asked = None

    def _calm(self, seen: Observation) -> Status:
        """Until the face is at rest."""
        if not self._at_rest(seen):
            self._calm_since = None
            if seen.at_s - self._since_s > RETURN_S:
                return self._end("expected the face to come to rest between the prompts, found that it did not; try again")
        elif self._calm_since is None:
            self._calm_since = seen.at_s
        elif seen.at_s - self._calm_since >= SETTLE_S:
            self._step, self._since_s = self._pause, seen.at_s
            self._pause_s = self._source.uniform(*PAUSE_S)
            self._front = seen.points
            return self._status("hold still", keep=True)
        return self._status("look into the camera again, mouth closed")

    def _pause(self, seen: Observation) -> Status:
        """The random time before a prompt: an action now comes before it was asked for."""
        if early := self._acting(seen.at_s):
            return self._miss(seen.at_s, f"an action came before it was asked for ({early.name.lower().replace('_', ' ')})")
        if seen.at_s - self._since_s >= self._pause_s and self._at_rest(seen):
            self._front, self._views = seen.points, []
            self._step, self._since_s = self._ask, seen.at_s
            self._asked = self._plan[len(self.passed)]
            self._held.clear()
        elif seen.at_s - self._since_s > RETURN_S:
            self._settle(seen.at_s)
        return self._status("hold still") if self._asked is None else self._status(self._asked.value)

    def _ask(self, seen: Observation) -> Status:
        """A prompt is shown."""
        assert self._asked is not None and self._rest is not None
        after_s = seen.at_s - self._since_s
        if self._asked in TURNS and self._asked in self._held:
            assert self._front is not None
            self._views.append(_flat.head(self._front, seen.points, abs(seen.yaw_deg - self._rest.yaw_deg)))
        acting = self._acting(seen.at_s)
        if acting is not None and acting is not self._asked and not (self._asked in TURNS and acting in LOOKS):
            return self._miss(seen.at_s, f"another action than the one asked for ({acting.name.lower().replace('_', ' ')})")
        if acting is self._asked:
            if after_s < REACTION_S:
                return self._miss(seen.at_s, "the action came sooner than anybody can react")
            return self._answered(seen)
        if after_s > WINDOW_S:
            return self._miss(seen.at_s, f"no answer within {WINDOW_S:.0f} s")
        return self._status(self._asked.value)

    def _answered(self, seen: Observation) -> Status:
        assert self._asked is not None
        if self._asked in TURNS:
            self.departures.append(float(np.median(self._views or [0.0])))
        self.passed.append(Passed(self._asked, round(self._since_s - self._begun_s, 3), round(seen.at_s - self._begun_s, 3)))
        if len(self.passed) == len(self._plan):
            if min(self.departures) < _flat.LEAST_DEPARTURE:
                return self._end("expected a head, found that the face moved as a flat picture does; come before the camera yourself")
            return self._end("")
        self._settle(seen.at_s)
        return self._status("good; look into the camera again")

    def _miss(self, at_s: float, why: str) -> Status:
        """A round failed: another one with another prompt makes up for the first."""
        self._failed += 1
        if self._failed > MOST_FAILED:
            return self._end(f"two prompts were not answered as asked (the last: {why}); try again")
        at = len(self.passed)
        rest = draw(self._source)
        self._plan = self._plan[:at] + self._fitting(rest, len(self._plan) - at + 1)
        self._settle(at_s)
        return self._status(f"not counted: {why}; once more")

    def _fitting(self, drawn: Sequence[Action], count: int) -> list[Action]:
        """`count` new prompts to come; turns that are still owed are among them."""
        done = {one.action for one in self.passed}
        owed = [turn for turn in TURNS if turn not in done]
        more = [action for action in (*drawn, *draw(self._source)) if action not in owed]
        chosen = (owed + more)[: max(count, len(owed))]
        self._source.shuffle(chosen)
        return chosen

    def _follow(self, seen: Observation) -> None:
        """Since when each action goes on."""
        now = self._actions(seen)
        self._held = {action: self._held.get(action, seen.at_s) for action in now}

    def _acting(self, at_s: float) -> Action | None:
        """An action that has lasted long enough to count."""
        for action, since in self._held.items():
            if at_s - since >= (SHUT_S if action is Action.SHUT_EYES else HELD_S):
                return action
        return None

    def _actions(self, seen: Observation) -> set[Action]:
        assert self._rest is not None
        turned, gaze = seen.yaw_deg - self._rest.yaw_deg, seen.gaze_deg - self._rest.gaze_deg
        shut = seen.lids < SHUT_SHARE * self._rest.lids
        found = {
            Action.TURN_LEFT: min(turned, seen.yaw_deg) > TURN_DEG,
            Action.TURN_RIGHT: max(turned, seen.yaw_deg) < -TURN_DEG,
            Action.LOOK_LEFT: abs(turned) < STILL_DEG and gaze > LOOK_DEG and not shut,
            Action.LOOK_RIGHT: abs(turned) < STILL_DEG and gaze < -LOOK_DEG and not shut,
            Action.SHUT_EYES: shut,
            Action.OPEN_MOUTH: seen.mouth - self._rest.mouth > OPEN_BY,
        }
        return {action for action, on in found.items() if on}

    def _at_rest(self, seen: Observation) -> bool:
        assert self._rest is not None
        return (
            abs(seen.yaw_deg - self._rest.yaw_deg) < REST_YAW
            and abs(seen.gaze_deg - self._rest.gaze_deg) < REST_GAZE
            and abs(seen.mouth - self._rest.mouth) < REST_MOUTH
            and seen.lids > REST_LIDS * self._rest.lids
        )

    def _status(self, say: str, keep: bool = False) -> Status:
        return Status(say, len(self.passed), len(self._plan), self._asked, keep)

    def _end(self, failure: str) -> Status:
        self._ended = Status(failure or "done", len(self.passed), len(self._plan), ended=True, failure=failure)
        return self._ended


def _median(seen: Sequence[Observation]) -> Observation:
    """The face at rest."""
    rows = np.median([(o.yaw_deg, o.pitch_deg, o.gaze_deg, o.lids, o.mouth) for o in seen], axis=0)
    yaw, pitch, gaze, lids, mouth = (float(x) for x in rows)
    return Observation(seen[-1].at_s, 1, seen[-1].track, yaw, pitch, gaze, lids, mouth, seen[-1].points)
