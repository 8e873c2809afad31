"""Switching personas while frames go on: none is lost, the old face stays until the new one is ready, neighbours are ready ahead."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from livecam import persona
from livecam.app.wardrobe import KEPT, PutOn, Ready, Wardrobe
from livecam.app.worker import Worker
from livecam.config import Config
from livecam.errors import PersonaError
from livecam.pipeline import Finished, Pipeline
from livecam.telemetry import Telemetry
from livecam.types import Frame, Persona, Verdict

PATIENCE_S = 20.0
ROW = ("ada", "ben", "cy", "dot", "eve")


class Maker:
    """Makes personas: slowly, until it is let go; knows what it made, in which order."""

    def __init__(self, held: bool = False) -> None:
        self.made: list[str] = []
        self.worn = "ada"
        self.begun = threading.Event()
        self.let_go = threading.Event()
        if not held:
            self.let_go.set()

    def __call__(self, which: str) -> tuple[str, PutOn]:
        self.begun.set()
        assert self.let_go.wait(PATIENCE_S)
        if which == "nobody":
            raise PersonaError("there is no nobody")
        if which == "broken":
            raise ZeroDivisionError("made to fail")
        self.made.append(which)

        def put_on() -> None:
            self.worn = which

        return which, put_on


def wait_for(seen: Callable[[], Any]) -> Any:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if found := seen():
            return found
        time.sleep(0.002)
    raise AssertionError("nothing came of it")


def taken(wardrobe: Wardrobe) -> Ready:
    return cast(Ready, wait_for(wardrobe.take))


def test_what_is_asked_for_is_handed_out_once() -> None:
    maker = Maker()
    wardrobe = Wardrobe(maker, ROW, "ada", idle_s=1000)
    assert wardrobe.take() is None
    wardrobe.ask("dot")
    ready = taken(wardrobe)
    assert (ready.which, ready.id, ready.error) == ("dot", "dot", "") and ready.put_on is not None
    assert wardrobe.take() is None
    wardrobe.close()


def test_the_newest_wish_wins_and_is_not_mixed_up_with_the_one_before() -> None:
    maker = Maker(held=True)
    wardrobe = Wardrobe(maker, ROW, "ada", idle_s=1000)
    wardrobe.ask("dot")
    assert maker.begun.wait(PATIENCE_S)
    wardrobe.ask("cy")
    maker.let_go.set()
    assert taken(wardrobe).id == "cy"
    assert maker.made == ["dot", "cy"] and wardrobe.take() is None
    wardrobe.ask("dot")
    ready = wardrobe.take()
    assert ready is not None and ready.id == "dot" and maker.made == ["dot", "cy"]
    wardrobe.close()


@pytest.mark.parametrize("which", ["nobody", "broken"])
def test_what_cannot_be_made_is_told_and_the_next_wish_served(which: str) -> None:
    wardrobe = Wardrobe(Maker(), ROW, "ada", idle_s=1000)
    wardrobe.ask(which)
    ready = taken(wardrobe)
    assert ready.put_on is None and which in ready.error
    wardrobe.ask("eve")
    assert taken(wardrobe).id == "eve"
    wardrobe.close()


def test_neighbours_are_ready_ahead_and_few_are_kept() -> None:
    maker = Maker()
    wardrobe = Wardrobe(maker, ROW, "ada", idle_s=0.01)
    wait_for(lambda: len(maker.made) >= 2)
    assert maker.made == ["ben", "eve"]
    for following in ("ben", "cy", "dot", "eve", "ada", "ben"):
        wait_for(lambda f=following: f in wardrobe._made)
        wardrobe.ask(following)
        ready = wardrobe.take()
        assert ready is not None and ready.id == following, "a neighbour is there at once"
    wait_for(lambda: wardrobe._missing_neighbour() is None)
    assert set(wardrobe._made) == set(ROW), "all of a short list"
    wardrobe.close()


def test_of_a_long_list_the_nearest_are_kept() -> None:
    maker, row = Maker(), tuple(f"p{k:02d}" for k in range(3 * KEPT))
    wardrobe = Wardrobe(maker, row, "p00", idle_s=0.001)
    wait_for(lambda: wardrobe._missing_neighbour() is None)
    assert maker.made[:4] == ["p01", row[-1], "p02", row[-2]]
    wardrobe.ask("p20")
    assert taken(wardrobe).id == "p20"
    wait_for(lambda: wardrobe._missing_neighbour() is None)
    count = len(maker.made)
    time.sleep(0.1)
    assert len(maker.made) == count and len(wardrobe._made) <= KEPT
    assert {"p18", "p19", "p20", "p21", "p22"} <= set(wardrobe._made)
    wardrobe.close()


class Link:
    """Main's side, written down."""

    revealing = False

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.waiting: list[list[Any]] = []
        self.published = 0

    def commands(self, wait_s: float = 0.0) -> list[list[Any]]:
        waiting, self.waiting = self.waiting, []
        return waiting

    def busy(self, seconds: float, why: str) -> None:
        pass

    def say(self, *message: Any) -> None:
        self.said.append(message)

    def publish(self, *_: Any) -> bool:
        self.published += 1
        return True

    def alive(self) -> None: ...


class Camera:
    """A new frame whenever one is taken."""

    lost, dropped, skipped, read_wall_ms, read_cpu_ms = None, 0, 0, 0.0, 0.0
    seq = -1

    def take(self, _: float) -> Frame:
        self.seq += 1
        return Frame(np.zeros((90, 160, 3), np.uint8), self.seq, self.seq)


class Drawing:
    """A pipeline that notes whom each frame shows."""

    def __init__(self, maker: Maker) -> None:
        self.telemetry, self.maker, self.shown = Telemetry(), maker, list[str]()
        self.marked_as = "ada"

    def wear(self, chosen: Persona) -> None:
        self.maker.worn = chosen.id

    def now_worn(self, persona_id: str) -> None:
        self.marked_as = persona_id

    def process(self, frame: Frame) -> Finished:
        self.shown.append(self.maker.worn)
        return Finished(frame.image, Verdict.LIVE, "", 1, {})


def test_a_switch_costs_no_frame_and_shows_the_old_face_until_the_new_one_is_ready() -> None:
    maker, link, camera = Maker(held=True), Link(), Camera()
    drawing = Drawing(maker)
    config = Config()
    worker = Worker(cast(Any, link), replace(config, capture=replace(config.capture, realtime=True)))
    worker._wardrobe = Wardrobe(maker, ROW, "ada", idle_s=1000)

    def step() -> None:
        worker._step(cast(Any, camera), cast(Pipeline, drawing))

    link.waiting = [["persona", "cy"]]
    step()
    assert maker.begun.wait(PATIENCE_S)
    for _ in range(50):
        step()
    assert drawing.shown == ["ada"] * 51 and link.published == 51
    maker.let_go.set()
    wait_for(lambda: worker._wardrobe and worker._wardrobe._done)
    step()
    assert drawing.shown[-1] == "cy" and ("persona", "cy") in link.said
    assert drawing.marked_as == "cy", "the hidden mark says whom the frame shows"
    link.waiting = [["persona", "nobody"]]
    step()  # the refusal may come within this very step, or later
    wait_for(lambda: any(m[0] == "note" and "nobody" in m[1] for m in link.said) or step())
    assert drawing.shown[-1] == "cy"
    assert link.published == len(drawing.shown) == camera.seq + 1
    link.waiting = [["persona", "cy"]]
    step()
    assert link.said.count(("persona", "cy")) == 2, "one that is ready goes on with the very frame of the command"
    worker._wardrobe.close()


class Door:
    """Says of personas whether they may still be worn."""

    def __init__(self) -> None:
        self.shut: set[str] = set()
        self.asked: list[str] = []

    def __call__(self, which: str) -> None:
        self.asked.append(which)
        if which in self.shut:
            raise PersonaError(f"{which} was revoked")


def test_a_persona_that_lies_ready_is_checked_each_time_it_is_asked_for() -> None:
    maker, door = Maker(), Door()
    wardrobe = Wardrobe(maker, ROW, "ada", idle_s=1000, still=door)
    for _ in range(2):
        wardrobe.ask("me.file")
        assert taken(wardrobe).id == "me.file"
    assert maker.made == ["me.file"] and door.asked == ["me.file"]
    door.shut.add("me.file")
    wardrobe.ask("me.file")
    ready = taken(wardrobe)
    assert ready.put_on is None and "revoked" in ready.error and "me.file" not in wardrobe._made
    wardrobe.ask("cy")
    assert taken(wardrobe).id == "cy" and "cy" not in door.asked, "what ships is not asked about"
    wardrobe.close()


def test_a_worn_persona_is_watched_and_comes_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livecam.app.wardrobe.WATCH_S", 0.01)
    door = Door()
    wardrobe = Wardrobe(Maker(), ROW, "me.file", idle_s=1000, still=door)
    wait_for(lambda: len(door.asked) > 2)
    assert wardrobe.refusal() == ""
    door.shut.add("me.file")
    assert "revoked" in wait_for(wardrobe.refusal)
    asked = len(door.asked)
    wardrobe.wears("ada")
    time.sleep(0.1)
    assert wardrobe.refusal() == "" and len(door.asked) <= asked + 1
    wardrobe.close()


def test_the_worker_takes_a_refused_persona_off_before_the_next_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livecam.app.wardrobe.WATCH_S", 0.01)
    maker, link, camera, door = Maker(), Link(), Camera(), Door()
    maker.worn = "me.file"
    drawing = Drawing(maker)
    worker = Worker(cast(Any, link), Config())
    worker._wardrobe = Wardrobe(maker, persona.names(), "me.file", idle_s=1000, still=door)
    worker._step(cast(Any, camera), cast(Pipeline, drawing))
    assert drawing.shown == ["me.file"]
    door.shut.add("me.file")
    wait_for(lambda: worker._wardrobe and worker._wardrobe._refusal)
    worker._step(cast(Any, camera), cast(Pipeline, drawing))
    assert drawing.shown[-1] == "noor" == drawing.marked_as and worker._worn == "noor"
    assert any(m[0] == "note" and "revoked" in m[1] and "noor is worn instead" in m[1] for m in link.said)
    worker._wardrobe.close()
