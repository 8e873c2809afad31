"""The leak oracle's power and restraint, the schedule, the sums, and the soak in short: the real processes on stages without model files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from livecam import cli
from livecam.errors import UsageError
from livecam.soak import effects, kinds, planted, report, run, watch
from livecam.soak import outside as outside_module
from livecam.soak.inside import Inside
from livecam.soak.live import Tally
from livecam.soak.oracle import Canary, Oracle
from livecam.soak.scene import Scene

SIZE = (480, 270)
RANDOM = np.random.default_rng(11)


def textured(seed: int) -> np.ndarray:
    """A picture with edges, blobs and noise, as a masked face has them."""
    from skimage.data import astronaut

    image = cv2.resize(np.ascontiguousarray(astronaut()[:288, :, ::-1]), SIZE, interpolation=cv2.INTER_AREA)
    image = np.roll(image, 37 * seed, axis=1) if seed else image
    return np.clip(image + RANDOM.normal(0.0, 2.5, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def canary() -> Canary:
    return Canary(5, *SIZE)


@pytest.fixture
def face() -> np.ndarray:
    region = np.zeros(SIZE[::-1], np.uint8)
    cv2.ellipse(region, (210, 118), (36, 48), 0, 0, 360, 255, -1)
    return region


def raw(canary: Canary, face: np.ndarray) -> np.ndarray:
    image = textured(0)
    canary.mark(image, face)
    return image


def test_the_threshold_is_the_bound(canary: Canary) -> None:
    oracle = Oracle(canary)
    assert oracle.tests * np.exp(-(oracle.threshold**2) / 2.0) == pytest.approx(1e-9)


def test_no_alarm_without_a_canary(canary: Canary) -> None:
    oracle = Oracle(canary)
    highest = max(oracle.look(textured(i % 5)).z for i in range(60))
    assert highest < oracle.threshold - 2.0
    flat = np.full((270, 480, 3), 128, np.uint8)
    assert not oracle.leaks(oracle.look(flat))


def test_signs_of_another_seed_are_no_canary(canary: Canary, face: np.ndarray) -> None:
    oracle = Oracle(Canary(6, *SIZE))
    assert not oracle.leaks(oracle.look(raw(canary, face)))


def test_a_quarter_in_one_frame(canary: Canary, face: np.ndarray) -> None:
    oracle = Oracle(canary)
    assert oracle.leaks(oracle.look(cv2.addWeighted(raw(canary, face), 0.25, textured(2), 0.75, 0.0)))


def test_a_tenth_in_twenty_five_frames(canary: Canary, face: np.ndarray) -> None:
    oracle = Oracle(canary)
    seen = [oracle.look(cv2.addWeighted(raw(canary, np.roll(face, i % 7, axis=1)), 0.1, textured(i % 3 + 1), 0.9, 0.0)) for i in range(25)]
    assert oracle.leaks(seen[-1])


def test_any_patch_of_32_px_eyes_and_mouth_included(canary: Canary, face: np.ndarray) -> None:
    oracle, leak = Oracle(canary), raw(canary, face)
    tried = 0
    for y in range(70, 136, 5):
        for x in range(174, 216, 5):
            if not face[y : y + 32, x : x + 32].all():
                continue
            image = textured(2)
            image[y : y + 32, x : x + 32] = leak[y : y + 32, x : x + 32]
            oracle.forget()
            assert oracle.leaks(oracle.look(image)), (x, y)
            tried += 1
    assert tried > 25


def test_a_crop_that_went_through_128_px_is_found(canary: Canary, face: np.ndarray) -> None:
    oracle, leak, image = Oracle(canary), raw(canary, face), textured(2)
    small = cv2.resize(leak[40:190, 135:285], (128, 128), interpolation=cv2.INTER_LINEAR)
    image[40:190, 135:285] = cv2.resize(small, (150, 150), interpolation=cv2.INTER_LINEAR)
    assert oracle.leaks(oracle.look(image))


# -- schedule -----------------------------------------------------------------------------------------------------------------------------------


def test_every_kind_comes_once_a_cycle_in_an_order_of_its_own() -> None:
    schedule = kinds.Schedule(4)
    orders = []
    for cycle in range(2):
        begins = [schedule.at(cycle * schedule.cycle_frames + at) for at in range(schedule.cycle_frames)]
        orders.append([event.kind.name for event in begins if event.since == 0])
        assert sorted(orders[-1]) == sorted(kind.name for kind in kinds.KINDS)
    assert orders[0] != orders[1]
    numbers = [schedule.at(at).number for at in range(2 * schedule.cycle_frames)]
    assert numbers == sorted(numbers) and numbers[-1] == 2 * len(kinds.KINDS) - 1


def test_there_are_enough_kinds_and_each_has_somebody_who_does_it() -> None:
    """A kind that nobody does is a fault that is counted and never happens."""
    faults = [kind for kind in kinds.KINDS if kind.room != "scene"]
    assert len(faults) >= 90
    by_room = {room: {kind.name.partition(": ")[2] for kind in faults if kind.room == room} for room in {kind.room for kind in faults}}
    for room in effects.FIELDS:
        assert {f"{room}: {what}" for what in by_room[room] - set(effects.GENERAL)} <= set(effects.EFFECTS), room
    assert set(effects.EFFECTS) <= {kind.name for kind in faults}
    inside = {name for name in vars(Inside) if name.startswith("_")}
    outside = Path(outside_module.__file__).read_text()
    for what in by_room["worker"]:
        done_inside = "_" + what.replace(" ", "_").replace("-", "_") in inside
        assert done_inside != (f'"worker: {what}"' in outside), what
    for kind in faults:
        if kind.room in ("main", "output"):
            assert f'"{kind.name}"' in outside, kind.name


def test_only_takes_parts_of_names_and_names_them_when_there_is_none() -> None:
    assert {kind.name for kind in kinds.chosen("swap: NaN,camera: gone")} == {"swap: NaN", "camera: gone"}
    with pytest.raises(UsageError, match="camera: gone"):
        kinds.chosen("nothing of that kind")


# -- planted leaks, sums ------------------------------------------------------------------------------------------------------------------------


def test_planted_leaks_are_found_and_a_blind_oracle_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(3, 320, 180, kinds.Schedule(3, (kinds.NONE,)))
    count, found = planted.check(scene)
    assert count == found > 20
    monkeypatch.setattr(Oracle, "leaks", lambda self, sighting: False)
    count, found = planted.check(scene)
    assert 0 < found < count


def _counts(frames: int, wrong: int) -> dict[str, Any]:
    tally = Tally()
    tally.faults["camera: gone"], tally.faults["worker: SIGKILL"] = 2, 1
    tally.recovered_ms["camera: gone"] += [100.0, 3000.0]
    tally.pictures, tally.wrong = frames, [{"index": 1, "kind": "", "state": "LIVE", "z": 9.0}] * wrong
    return run.counted(tally, frames, frames)


THIS = {"seconds": 10.0, "part": "a", "highest_z": 4.0, "watch": {"zombies": 0, "mb_per_hour": {"main": 0.5, "worker": None}, "main_fds": {}}}


def test_runs_add_up_and_planted_ones_are_left_out(tmp_path: Path) -> None:
    sums = report.added(report.empty(), "1280x720, real stages, auto, seed 1", _counts(1000, 0), THIS, False)
    sums = report.added(sums, "1280x720, real stages, auto, seed 1", _counts(500, 0), THIS, False)
    sums = report.added(sums, "320x180, stub stages, seed 1", _counts(500, 0), THIS, False)
    sums = report.added(sums, "320x180, stub stages, seed 1, planted 0.25", _counts(100, 9), THIS, True)
    totals = sums["totals"]
    assert (totals["frames"], totals["frames_720p_real_stages"], totals["wrong"], totals["faults"], totals["kinds_of_fault"]) == (2000, 1500, 0, 9, 2)
    assert totals["bound_95"] == pytest.approx(3 / 2000)
    assert sums["figures"]["recovery_ms"]["camera"]["count"] == 4
    run.write(tmp_path / "soak.json", sums)
    assert run.read(tmp_path / "soak.json") == sums and [p.name for p in tmp_path.iterdir()] == ["soak.json"]
    rows = {what: reached for what, _, _, reached in report.goals(sums)}
    assert rows["wrong pictures"] is True and rows["recovery, camera"] is False and rows["frames"] is None


def test_a_wrong_picture_has_no_bound() -> None:
    sums = report.added(report.empty(), "a", _counts(100, 1), THIS, False)
    assert sums["totals"]["bound_95"] is None and report.goals(sums)[0][3] is False


@pytest.mark.parametrize("content", [None, "no json", "{}"])
def test_only_a_report_is_resumed(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "soak.json").write_text(content)
    with pytest.raises(UsageError, match="--resume"):
        run.read(tmp_path / "soak.json")


def test_memory_of_workers_is_compared_at_the_same_age() -> None:
    """Each grows by 30 MB in its life; that is no slope, a larger one from life to life is."""
    for grows_mb, slope in ((0.0, 0.0), (0.5, 18.0)):
        series, ages = watch.Series(), []
        for life in range(20):
            for age in range(5, 95, 5):
                series.add(life * 100.0 + age, 500.0 + age / 3.0 + grows_mb * life)
                ages.append(float(age))
        found = watch.at_same_age(series, ages).per_hour(0.0)
        assert found == pytest.approx(slope, abs=0.5)
    assert watch.Series([0.0, 10.0], [1.0, 2.0]).per_hour(0.0) is None


# -- the real processes -------------------------------------------------------------------------------------------------------------------------


def _soak(tmp_path: Path, *words: str) -> int:
    command = ["soak", "--stages", "stub", "--size", "320x180", "--seed", "7", "--output", str(tmp_path / "soak.json"), *words]
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    return int(str(ended.value.code or 0))


def test_nothing_wrong_goes_on_air_and_runs_add_up(tmp_path: Path) -> None:
    """A dozen faults through the real processes, in two runs; those that the guard once let through among them."""
    only = "swap: wrong face,mark: wrong face,blend: wrong face,track: wrong size,align: NaN,camera: gone,publish: wrong face,output: reader gone"
    assert _soak(tmp_path, "--frames", "330", "--only", only) == 0
    assert _soak(tmp_path, "--frames", "300", "--only", only, "--resume") == 0
    found = json.loads((tmp_path / "soak.json").read_text())
    totals = found["totals"]
    assert totals["wrong"] == 0, found["parts"]
    assert totals["faults"] >= 8 and totals["kinds_of_fault"] == 8
    assert totals["live_pictures"] > 100, "a run that only covers proves nothing"
    assert len(found["runs"]) == 2 and found["runs"][1]["first"] == found["runs"][0]["first"] + 330


def test_a_worker_that_dies_comes_back(tmp_path: Path) -> None:
    assert _soak(tmp_path, "--frames", "112", "--only", "worker: killed in mid-write,worker: shared memory full at growth") == 0
    found = json.loads((tmp_path / "soak.json").read_text())
    assert found["totals"]["faults"] == 2 and found["runs"][0]["workers"] == 3 and found["figures"]["segments_left_behind"] == 0


def test_a_planted_leak_turns_it_red(tmp_path: Path) -> None:
    assert _soak(tmp_path, "--frames", "60", "--plant", "0.25", "--only", "output: viewer leaves") == 1
    part = next(iter(json.loads((tmp_path / "soak.json").read_text())["parts"].values()))
    assert part["wrong"] >= 1 and part["planted_found"] == part["planted_sent"] >= 1


def test_an_earlier_report_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "soak.json").write_text("{}")
    assert _soak(tmp_path, "--frames", "10") == UsageError.exit_code
