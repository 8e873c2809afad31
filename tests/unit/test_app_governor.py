"""The governor under simulated load, and its steps on a real worker's pipeline."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from livecam.app import governor
from livecam.app.governor import WINDOW, Governor, Step, parse_budget
from livecam.app.worker import Worker
from livecam.config import Config, RunConfig
from livecam.errors import UsageError
from livecam.types import Frame


class Load:
    """A machine whose frames take `base_ms`, less a third for each step that is taken; what was done, in order."""

    def __init__(self, base_ms: float, names: tuple[str, ...] = ("a", "b", "c")) -> None:
        self.base_ms, self.taken, self.done = base_ms, 0, list[str]()
        self.steps = [Step(name, self._mover(name, 1), self._mover(name, -1)) for name in names]

    def _mover(self, name: str, step: int):
        def move() -> None:
            self.taken += step
            self.done.append(("-" if step > 0 else "+") + name)

        return move

    def run(self, watched: Governor, windows: int, seed: int = 0) -> list[str]:
        rng = np.random.default_rng(seed)
        notes = [watched.feed(self.base_ms * 0.67**self.taken * rng.uniform(0.9, 1.05)) for _ in range(windows * WINDOW)]
        return [note for note in notes if note]


def test_it_steps_down_in_order_until_frames_fit_and_stays() -> None:
    load = Load(30.0)
    watched = Governor(16.0, load.steps)
    notes = load.run(watched, 20)
    assert load.done == ["-a", "-b"]
    assert watched.taken == ("a", "b")
    assert len(notes) == 2 and "a is taken" in notes[0] and "16" in notes[0]


def test_it_steps_up_again_when_there_is_room_one_at_a_time() -> None:
    load = Load(60.0)
    watched = Governor(16.0, load.steps)
    load.run(watched, 10)
    assert load.done == ["-a", "-b", "-c"]
    load.base_ms = 8.0
    load.run(watched, 40)
    assert load.done == ["-a", "-b", "-c", "+c", "+b", "+a"]
    assert watched.taken == ()


def test_a_step_that_must_be_undone_is_tried_ever_more_rarely() -> None:
    """With one step frames are well below the budget, without it above: a governor without patience would swing for ever."""
    load = Load(17.5, ("big",))
    load.steps = [
        Step("big", lambda: (setattr(load, "taken", 3), load.done.append("-"))[0], lambda: (setattr(load, "taken", 0), load.done.append("+"))[0])
    ]
    watched = Governor(16.0, load.steps)
    load.run(watched, 100)
    first = load.done.count("+")
    load.done.clear()
    load.run(watched, 100)
    assert 2 <= first <= 6
    assert load.done.count("+") < first


def test_one_slow_frame_changes_nothing_and_without_budget_nothing_does() -> None:
    load = Load(10.0)
    watched = Governor(16.0, load.steps)
    for i in range(10 * WINDOW):
        assert not watched.feed(500.0 if i % 40 == 0 else 10.0)
    none = Governor(0.0, load.steps)
    assert not any(none.feed(1e6) for _ in range(5 * WINDOW))
    assert load.done == []


def test_budgets_are_read_and_refused() -> None:
    assert parse_budget("") == 0.0
    assert parse_budget("16ms") == parse_budget(" 16 ") == 16.0
    for text in ("fast", "0", "-3ms", "1e9", "nan"):
        with pytest.raises(UsageError, match="--budget expected milliseconds"):
            parse_budget(text)


def test_the_workers_steps_reach_the_pipeline_and_give_everything_back() -> None:
    worker = Worker(SimpleNamespace(), Config(run=RunConfig(budget="16ms")))  # type: ignore[arg-type]
    swapper, occlusion = SimpleNamespace(any_size=True, refines=True), SimpleNamespace(idle_period=3)
    pipeline = SimpleNamespace(swapper=swapper, occlusion=occlusion, most_crop_px=0)
    worker._govern(pipeline)  # type: ignore[arg-type]
    seen = []
    for _ in range(6):
        assert any(worker._governor.feed(100.0) for _ in range(WINDOW))
        seen.append((occlusion.idle_period, pipeline.most_crop_px, swapper.refines, worker._shrink))
    assert seen == [(6, 0, True, 1.0), (6, 256, True, 1.0), (6, 128, True, 1.0), (6, 128, False, 1.0), (6, 128, False, 0.75), (6, 128, False, 0.5)]
    frame = Frame(np.zeros((720, 1280, 3), np.uint8), 0, 0)
    assert worker._sized(frame).image.shape == (360, 640, 3)
    for _ in range(200 * WINDOW):
        worker._governor.feed(1.0)
    assert (occlusion.idle_period, pipeline.most_crop_px, swapper.refines, worker._shrink) == (3, 0, True, 1.0)
    assert worker._sized(frame) is frame
    assert governor.MOST_CALM_WINDOWS > governor.CALM_WINDOWS


def test_when_the_card_fails_the_worker_goes_on_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from livecam.app import build

    said: list[tuple] = []
    link = SimpleNamespace(say=lambda *what: said.append(what), busy=lambda *what: said.append(("busy", *what)))
    asked: list[Config] = []
    on_cpu = SimpleNamespace(swapper=SimpleNamespace(), occlusion=None, most_crop_px=0, device_lost="", worn="noor", examiner=None)

    def pipeline(config: Config, link: object) -> object:
        asked.append(config)
        return on_cpu

    monkeypatch.setattr(build, "pipeline", pipeline)
    monkeypatch.setattr(build, "wardrobe", lambda made, worn: f"a wardrobe for {worn}")
    worker = Worker(link, Config(run=RunConfig(device="cuda")))  # type: ignore[arg-type]
    worker._worn = "sefa"
    lost = SimpleNamespace(device_lost="", worn="sefa", examiner=None)
    assert worker._still(lost) is lost and not asked  # type: ignore[arg-type]
    lost.device_lost = "the device cuda:0 failed: CUDA out of memory"
    assert worker._still(lost) is on_cpu  # type: ignore[arg-type]
    assert asked[0].run.device == "cpu" and asked[0].swap.persona == "sefa"
    assert said[0][0] == "note" and "CUDA out of memory; going on on the CPU" in said[0][1]
    assert worker._wardrobe == "a wardrobe for sefa"


def test_a_card_that_cannot_be_opened_leaves_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from livecam import gpu
    from livecam.app import build
    from livecam.errors import ModelFileError

    said: list[tuple] = []
    link = SimpleNamespace(say=lambda *what: said.append(what))
    monkeypatch.setattr(gpu, "chosen", lambda device: "cuda")
    monkeypatch.setattr(build, "_card", lambda: "a card")

    def pipeline(config: Config, link: object, card: object) -> str:
        if card is not None:
            raise ModelFileError("no memory on the card")
        return "on the CPU"

    monkeypatch.setattr(build, "_pipeline", pipeline)
    assert build.pipeline(Config(run=RunConfig(device="auto")), link) == "on the CPU"  # type: ignore[arg-type]
    assert "no memory on the card; going on on the CPU" in said[0][1]
