"""The gaze network: eyes read from shards, training that learns and resumes exactly, what stops it, and the file that the tracker runs."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from engines.export import gaze as exporting  # noqa: E402
from engines.nets.gaze import CONFIGS, Gaze  # noqa: E402
from engines.train import _gaze_data as data  # noqa: E402
from engines.train import checkpoint, gaze  # noqa: E402
from engines.train._gaze_data import Eyes  # noqa: E402
from engines.train.errors import CheckpointError, DataError, DivergedError, TrainingError  # noqa: E402
from engines.train.gaze import GazeTask, Recipe, Sets  # noqa: E402
from engines.train.loop import LOG, WEIGHTS, Plan, Trainer, train  # noqa: E402
from livecam import persona  # noqa: E402
from livecam.config import RunConfig  # noqa: E402
from livecam.store import Store, read_cards  # noqa: E402
from livecam.track._gaze import GazeNetwork  # noqa: E402
from livecam.track._landmarks import FaceMesh  # noqa: E402

TINY = CONFIGS["tiny"]


def drawn_eyes(count: int, seed: int = 0) -> Eyes:
    """White eyes on skin; the iris lies where they look."""
    rng = np.random.default_rng(seed)
    gaze_deg = rng.uniform(-25, 25, (count, 2)).astype(np.float32)
    pictures = np.full((count, 64, 64, 3), (200, 150, 120), np.uint8)
    for picture, (yaw, pitch) in zip(pictures, gaze_deg.tolist(), strict=True):
        cv2.ellipse(picture, (32, 32), (16, 9), 0, 0, 360, (240, 240, 240), -1, cv2.LINE_AA)
        cv2.circle(picture, (round(16 * (32 + 0.4 * yaw)), round(16 * (32 + 0.4 * pitch))), 16 * 6, (40, 30, 20), -1, cv2.LINE_AA, 4)
    return Eyes(pictures, np.zeros((count, 2), np.float32), gaze_deg)


def sets(photos: bool = False) -> Sets:
    some = drawn_eyes(64, 3) if photos else None
    return Sets(drawn_eyes(400), drawn_eyes(64, 1), some, some, ("pairs-00000.npz",))


def task(seed: int = 1, photos: bool = False) -> GazeTask:
    torch.set_num_threads(1)
    return GazeTask(TINY, Recipe(batch=32, lr=1e-2, seed=seed), sets(photos))


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sample of two personas' portraits: open eyes, then the first one's covered."""
    folder = tmp_path_factory.mktemp("set")
    pictures, meshes = [], []
    for name in ("noor", "tomas"):
        worn = persona.load(name)
        scale = 256 / worn.images["neutral"].shape[0]
        pictures.append(cv2.resize(worn.images["neutral"], (256, 256), interpolation=cv2.INTER_AREA))
        meshes.append(worn.meshes["neutral"] * scale)
    cover = np.zeros((2, 256, 256), np.uint8)
    cover[1] = 255
    path = folder / "pairs-00000.npz"
    np.savez(
        path, wearer=np.stack([pictures[0]] * 2), truth=np.stack([pictures[1]] * 2), landmarks=np.stack([meshes[0]] * 2).astype(np.float32),
        occluder=cover, gaze=np.array([[4.0, -3.0], [0.0, 0.0]], np.float32),
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return FaceMesh(Store(RunConfig().cache_dir), 1)


def test_free_eyes_of_wearer_and_answer_are_read_the_left_ones_in_a_mirror(shard: Path, mesh: FaceMesh) -> None:
    eyes = data.read_shard(shard, mesh)
    assert len(eyes) == 4 and eyes.eye.shape == (4, 64, 64, 3)
    assert eyes.gaze.tolist() == [[4.0, -3.0], [-4.0, -3.0]] * 2
    right, left = eyes.eye[0].astype(float), eyes.eye[1].astype(float)
    assert np.abs(right - left).mean() < np.abs(right - left[:, ::-1]).mean(), "both have the nose on the same side"
    assert np.abs(eyes.eye[0].astype(float) - eyes.eye[2]).mean() > 10, "another person's"


def test_a_truncated_or_foreign_shard_is_refused(tmp_path: Path, shard: Path, mesh: FaceMesh) -> None:
    cut = tmp_path / "pairs-00000.npz"
    cut.write_bytes(shard.read_bytes()[:5000])
    with pytest.raises(DataError, match="truncated"):
        data.read_shard(cut, mesh)
    np.savez(cut, wearer=np.zeros(3))
    with pytest.raises(DataError, match="no shard of pairs"):
        data.read_shard(cut, mesh)


def test_it_learns(tmp_path: Path) -> None:
    Trainer(task(), Plan(tmp_path / "run", steps=200, average=0.9)).run()
    last = json.loads((tmp_path / "run" / LOG).read_text().splitlines()[-1])
    assert last["held_out_yaw_correlation"] > 0.8 and last["held_out_pitch_correlation"] > 0.8
    assert last["held_out_angle_deg"] < 10 < float(np.abs(drawn_eyes(64, 1).gaze).mean())


def test_resumed_is_as_if_unbroken(tmp_path: Path) -> None:
    Trainer(task(photos=True), Plan(tmp_path / "whole", steps=12)).run()
    stopped = task(photos=True)
    inner, seen = stopped.step, []

    def step_and_stop(step: int, progress: float) -> dict[str, float]:
        seen.append(step)
        if len(seen) == 7:
            trainer._asked_to_stop(15, None)
        return inner(step, progress)

    stopped.step = step_and_stop  # type: ignore[method-assign]
    plan = Plan(tmp_path / "parts", steps=12)
    trainer = Trainer(stopped, plan)
    trainer.run()
    assert trainer.position.step == 7
    with pytest.raises(TrainingError, match="--resume"):
        train("gaze", lambda _: task(photos=True), plan, resume=False)
    train("gaze", lambda _: task(photos=True), plan, resume=True)
    first, second = (checkpoint.read(tmp_path / name / WEIGHTS, checkpoint.WEIGHTS, "gaze")[0] for name in ("whole", "parts"))
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_a_loss_that_is_not_finite_stops_it_with_the_weights_as_they_were(tmp_path: Path) -> None:
    one = task()
    before = {k: v.clone() for k, v in one.modules["model"].named_parameters()}
    one._sets.trained.gaze[:] = np.nan
    with pytest.raises(DivergedError, match="step 0"):
        one.step(0, 0.0)
    assert all(torch.equal(before[k], v) for k, v in one.modules["model"].named_parameters())


def test_bad_input_is_one_line(tmp_path: Path, shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for given in (["--data", empty, "--held", shard.parent], ["--data", shard.parent, "--held", shard.parent, "--photos", empty]):
        assert gaze.main([*map(str, given), "--out", str(tmp_path / "out")]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    foreign = tmp_path / "weights.safetensors"
    foreign.write_bytes(b"\0" * 100)
    assert exporting.main(["--weights", str(foreign), "--out", str(tmp_path)]) == 2
    assert "is no safetensors file" in capsys.readouterr().err
    with pytest.raises(CheckpointError):
        gaze.read_gaze(foreign)


def test_exported_it_says_what_it_said_and_mirrors_the_left_eye(tmp_path: Path, shard: Path) -> None:
    Trainer(task(), Plan(tmp_path / "run", steps=5)).run()
    report = exporting.export(tmp_path / "run" / WEIGHTS, tmp_path / "out", tmp_path / "cards", shard.parent)
    assert report["fp32"]["gaze"]["max_abs"] < 1e-3 and "angle_deg" in report["held_out"]
    card = tomllib.loads((tmp_path / "cards" / "gaze.toml").read_text())
    assert card["used_by"] == ["track/mediapipe"] and card["training"]["people"].endswith("nobody who exists")
    store = Store(tmp_path / "cache", cards=read_cards(tmp_path / "cards"))
    store.file_path = lambda _: tmp_path / "out" / "gaze.onnx"  # type: ignore[method-assign]
    network = GazeNetwork(store, 1)
    eye = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    right, left = network.read(eye, (10.0, 5.0), False), network.read(eye, (-10.0, 5.0), True)
    assert np.allclose(right * (-1, 1), left, atol=1e-4), "the same picture in a mirror"
    net = gaze.read_gaze(tmp_path / "run" / WEIGHTS)[0]
    with torch.no_grad():
        assert np.allclose(net(torch.from_numpy(eye), torch.tensor([[10.0, 5.0]]))[0].numpy(), right, atol=1e-3)


def test_the_network_is_small() -> None:
    assert sum(p.numel() for p in Gaze(CONFIGS["gaze64"]).parameters()) < 250_000
