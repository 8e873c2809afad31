"""Training of `lite` on drawn shards: it learns, resumes exactly, stops at NaN and keeps what it had."""

from __future__ import annotations

import json
from pathlib import Path

import lite_shards
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the engines group is not installed")

from engines.nets.lite import CONFIGS, Generator, Lite, composed, grow  # noqa: E402
from engines.train import augment, batches, checkpoint, cli, losses, readings, shards  # noqa: E402
from engines.train.batches import Ablation  # noqa: E402
from engines.train.errors import CheckpointError, DataError, DivergedError, TrainingError  # noqa: E402
from engines.train.loop import LAST, LOG, WEIGHTS, Plan, Trainer  # noqa: E402
from engines.train.pairs import Options, PairTask, Weights  # noqa: E402
from engines.train.people import People  # noqa: E402
from engines.train.shards import Pool  # noqa: E402

TINY = CONFIGS["tiny"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    lite_shards.write(folder / "pairs-00000.npz", 24)
    return folder


def _task(data: Path, names: tuple[str, ...] = (), lr: float = 5e-3, **weights: float) -> PairTask:
    options = Options(TINY, Weights(**weights), batch=4, lr=lr)  # type: ignore[arg-type]
    return PairTask(options, Pool(data, TINY.size, names), People(data, None, known=lite_shards.people()), None)


def test_untrained_gives_the_drawing_back() -> None:
    x, film = torch.rand(2, 10, 32, 32), torch.ones(2, TINY.film_dim)
    drawn = composed(x, *Generator(TINY)(x, film))
    share = x[:, 6:7]
    assert torch.allclose(drawn[:, 0:3], x[:, 3:6] * share + x[:, 0:3] * (1 - share), atol=1e-5)
    assert torch.allclose(drawn[:, 3:4], share)


def test_film_has_the_stated_length_and_starts_neutral() -> None:
    lite = Lite(TINY)
    film = lite.mapper(torch.zeros(1, 128))
    assert film.shape == (1, TINY.film_dim)
    assert set(lite.mapper.second.bias.tolist()) == {0.0, 1.0}


@torch.no_grad()
def test_the_large_tier_begins_as_what_the_small_one_has_learnt() -> None:
    small, wanted = Lite(TINY), CONFIGS["tiny256"]
    for parameter in small.parameters():  # no head is zero any more
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
    large = grow(small, wanted)
    x, identity = torch.rand(2, 10, 64, 64), torch.nn.functional.normalize(torch.randn(2, 128))
    light, flow, change = small.generator(torch.nn.functional.avg_pool2d(x, 2), small.mapper(identity))
    found = large.generator(x, large.mapper(identity))
    assert torch.allclose(found[0], light, atol=1e-4)
    inside = (..., slice(2, -2), slice(2, -2))
    for fine, field in zip(found[1:], (2 * flow, change), strict=True):
        twice = torch.nn.functional.interpolate(field, scale_factor=2.0, mode="bilinear")
        assert fine.shape[-1] == wanted.size // 4 and torch.allclose(fine[inside], twice[inside], atol=1e-3)
    with pytest.raises(ValueError, match="at least the width"):
        grow(large, TINY)


def test_training_of_the_large_tier_starts_from_weights_of_the_small_one(data: Path, tmp_path: Path) -> None:
    Trainer(_task(data), Plan(tmp_path / "small", steps=2)).run()
    begun = cli._begun(tmp_path / "small" / WEIGHTS, CONFIGS["tiny256"])
    assert begun.config == CONFIGS["tiny256"]
    assert cli._begun(tmp_path / "small" / WEIGHTS, TINY).config == TINY
    with pytest.raises(TrainingError, match="does not fit --config"):
        cli._begun(tmp_path / "small" / WEIGHTS, CONFIGS["lite128"])


def test_it_learns(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    # At a higher rate what it has learnt by then hangs on the machine's rounding.
    Trainer(_task(data, lr=2e-3, adversarial=0.0), Plan(out, steps=300, average=0.9)).run()
    lines = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    last = lines[-1]
    assert last["held_out_psnr"] > last["held_out_drawing_psnr"] + 1.3
    assert (out / f"grid-{300:06d}.png").exists()


def test_resumed_is_as_if_unbroken(data: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    Trainer(_task(data, judge_from=0.5), Plan(whole, steps=12)).run()
    stopped = _task(data, judge_from=0.5)
    inner, count = stopped.step, []

    def step_and_stop(step: int, progress: float) -> dict[str, float]:
        count.append(step)
        if len(count) == 7:
            trainer._asked_to_stop(15, None)
        return inner(step, progress)

    stopped.step = step_and_stop  # type: ignore[method-assign]
    trainer = Trainer(stopped, Plan(parts, steps=12))
    trainer.run()
    assert trainer.position.step == 7
    lite_shards.write(data / "pairs-00001.npz", 8, seed=9)  # came later: not before the next look
    saved = checkpoint.read(parts / LAST, checkpoint.CHECKPOINT, "lite")
    again = Trainer(_task(data, tuple(json.loads(saved[1]["state"])["shards"]), judge_from=0.5), Plan(parts, steps=12))
    again.resume(*saved, parts / LAST)
    again.run()
    first, second = (checkpoint.read(folder / WEIGHTS, checkpoint.WEIGHTS)[0] for folder in (whole, parts))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert first.keys() == second.keys()


def test_nan_stops_and_keeps_the_last_good(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    Trainer(_task(data), Plan(out, steps=3)).run()
    before = (out / LAST).read_bytes()
    task = _task(data)
    with torch.no_grad():
        task.modules["model"].generator.change.bias[0] = float("nan")
    with pytest.raises(DivergedError, match=r"step 0: .*pairs-00000.npz\[\d+\].*last good checkpoint is .*--resume"):
        Trainer(task, Plan(out, steps=6)).run()
    assert (out / LAST).read_bytes() == before


def test_new_shards_are_found_and_unfinished_ones_waited_for(data: Path) -> None:
    pool = Pool(data, 32)
    before = len(pool)
    whole = data / "pairs-00001.npz"
    lite_shards.write(whole, 8, seed=1)
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    assert pool.scan() == 0 and len(pool) == before
    whole.write_bytes(content)
    assert pool.scan() == 1 and len(pool) == before + 8
    assert pool.find(before)[1] == 0


def test_damaged_sets_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no shard"):
        Pool(tmp_path, 32)
    np.savez(data / "pairs-00002.npz", wearer=np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="lacks"):
        shards.read(data / "pairs-00002.npz", 32)
    (data / "pairs-00003.npz").write_bytes(b"PK\x03\x04 not whole")
    with pytest.raises(DataError, match="truncated"):
        shards.read(data / "pairs-00003.npz", 32)


def test_foreign_and_truncated_checkpoints_are_refused(data: Path, tmp_path: Path) -> None:
    Trainer(_task(data), Plan(tmp_path, steps=1)).run()
    path = tmp_path / WEIGHTS
    with pytest.raises(CheckpointError, match="expected livecam-checkpoint-1"):
        checkpoint.read(path, checkpoint.CHECKPOINT)
    tensors, _ = checkpoint.read(path, checkpoint.WEIGHTS, "lite")
    with pytest.raises(CheckpointError, match="another architecture"):
        checkpoint.load_into(Lite(CONFIGS["lite128"]), tensors, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="truncated"):
        checkpoint.read(path, checkpoint.WEIGHTS)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / LAST
    checkpoint.write(path, {"a": torch.ones(2)}, {})
    before = path.read_bytes()

    def full(*_: object) -> None:
        path.with_name(path.name + ".part").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(CheckpointError, match=r"No space left.*make room.*kept"):
        checkpoint.write(path, {"a": torch.zeros(2)}, {})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [LAST]


def test_batches_depend_on_their_key_alone(data: Path) -> None:
    pool, known = Pool(data, 32), People(data, None, known=lite_shards.people())
    first, again, other = (batches.draw(pool, known, 4, key, augment.Strength(), Ablation())[0] for key in ((1, 5, 0), (1, 5, 0), (1, 6, 0)))
    assert torch.equal(first.x, again.x) and torch.equal(first.embedding, again.embedding)
    assert not torch.equal(first.x, other.x)


def test_light_follows_into_the_answer_and_flips_take_the_lines_along(data: Path) -> None:
    samples = Pool(data, 32).held_out
    strength = augment.Strength(photometric=1, drawing=0, patches=0, degrade=0, landmarks_px=0)
    straight, turned = augment.plain(samples, 0), None
    for seed in range(20):
        varied = augment.vary(samples, 0, np.random.default_rng(seed), strength)
        outside = samples.oval[0] == 0
        if not np.array_equal(varied.lines, straight.lines):
            outside, turned = outside[:, ::-1], varied
        # Outside the oval truth is the wearer's picture, whatever the light became.
        assert np.array_equal(varied.wearer[outside], varied.truth[outside])
    assert turned is not None
    assert np.array_equal(turned.lines, straight.lines[:, ::-1])
    assert np.array_equal(turned.oval, straight.oval[:, ::-1])


def test_hair_of_any_colour_is_the_wearers_and_the_answers(tmp_path: Path) -> None:
    path = tmp_path / "pairs-00000.npz"
    lite_shards.write(path, 3)
    with np.load(path) as file:
        arrays = dict(file)
    arrays["classes"] = np.where(np.arange(64)[:, None] < 16, shards.HAIR, 0) * np.ones((3, 64, 64), np.uint8)
    np.savez(path, **arrays)
    samples = shards.read(path, 64)
    assert set(np.unique(samples.hair[:, :16])) == {255} and not samples.hair[:, 17:].any()
    only = augment.Strength(photometric=0, drawing=0, patches=0, degrade=0, landmarks_px=0, oneself=0, dye=1.0)
    straight, dyed = augment.plain(samples, 0), augment.vary(samples, 0, np.random.default_rng(1), only)
    if not np.array_equal(dyed.hair, straight.hair):
        dyed = dyed.flipped()
    for name in ("wearer", "truth", "mesh"):
        change = np.abs(getattr(dyed, name).astype(int) - getattr(straight, name)).max(axis=2)
        assert change[:12].max() > 20 and change[24:].max() == 0
    inside = straight.mesh_mask == 255
    assert np.array_equal(dyed.mesh[inside], straight.mesh[inside]), "the persona has its own colours"


def test_what_glasses_hide_is_not_learnt(tmp_path: Path) -> None:
    """The generator sees no glasses: where the answer shows them, the losses look no closer than behind a hand."""
    path = tmp_path / "pairs-00000.npz"
    lite_shards.write(path, 3)
    with np.load(path) as file:
        arrays = dict(file)
    classes = np.ones(arrays["occluder"].shape, np.uint8)
    classes[1, 20:30, 10:50] = shards.GLASSES
    np.savez(path, **arrays, classes=classes)
    occluder = shards.read(path, 64).occluder
    assert occluder[1, 20:30, 10:50].min() == 255
    assert occluder[1, :18].max() == 0 and occluder[1, 33:].max() == 0
    assert occluder[0].max() == 0 and occluder[2].max() == 0


class Known:
    """A reader that was told: every feature of the drawing lies `by` pixels from truth's."""

    def __init__(self, by: tuple[float, float]) -> None:
        self._by = by

    def of(self, path: Path, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        count, side = len(arrays["a"]), arrays["truth"].shape[1]
        places = np.random.default_rng(3).uniform(side * 0.3, side * 0.7, (count, 12, 2)).astype(np.float32)
        moves = np.broadcast_to(np.float32(self._by), places.shape).copy()
        moves[:, 0] = np.nan
        return places, moves


def test_displacement_is_the_way_from_truth_to_the_drawing() -> None:
    """A flow that says so costs nothing, and moves a drawing onto its answer; the opposite one costs more than none."""
    places, moves = torch.rand(2, 9, 2) * 16 + 8, torch.tensor([2.0, -1.0]).expand(2, 9, 2).clone()
    moves[:, 4] = torch.nan
    flow = torch.tensor([2.0, -1.0])[None, :, None, None].expand(2, 2, 8, 8)
    right, still, wrong = (float(losses.displacement(flow * k, 32, places, moves)) for k in (1.0, 0.0, -1.0))
    assert right < 1e-6 < still < wrong
    x = torch.zeros(1, 10, 32, 32)
    x[:, 6], x[0, 3, 12, 20] = 1.0, 1.0
    drawn = composed(x, torch.zeros(1, 3, 4, 4), flow[:1] * (1.9 / 2.0), torch.zeros(1, 4, 8, 8))[0, 0]
    # The dot at (20, 12) of the drawing is truth's at (18, 13); the flow is held to FLOW_LIMIT of the side, 1.92 pixels.
    assert np.unravel_index(int(drawn.argmax()), (32, 32)) == (13, 18)


def test_flips_and_displaced_drawings_take_the_readings_along(data: Path) -> None:
    samples = Pool(data, 32, reader=Known((4.0, 2.0))).held_out
    assert np.allclose(np.nanmean(samples.moves, axis=(0, 1)), (2.0, 1.0)), "half the side, half the pixels"
    none = augment.Strength(photometric=0, drawing=0, patches=0, degrade=0, landmarks_px=0, oneself=0)
    straight = augment.plain(samples, 0)
    kinds = {float(np.sign(np.nanmean(augment.vary(samples, 0, np.random.default_rng(k), none).moves[:, 0]))) for k in range(20)}
    assert kinds == {1.0, -1.0}
    turned = straight.flipped()
    assert np.allclose(turned.places[:, 0], 31 - straight.places[:, 0]) and np.allclose(turned.moves[1:, 0], -straight.moves[1:, 0])
    # A dot in the drawing, displaced: what is known of it goes along.
    farthest = 0.0
    for seed in range(8):
        moved = augment.plain(Pool(data, 64).held_out, 0)
        moved.mesh = np.zeros_like(moved.mesh)
        moved.mesh[30:35, 30:35] = 255
        moved.places, moved.moves = np.full((1, 2), 32, np.float32), np.zeros((1, 2), np.float32)
        augment._move(moved, np.random.default_rng(seed), 2.0)
        y, x = np.argwhere(moved.mesh[..., 0] > 128).mean(axis=0)
        assert np.abs(moved.places[0] + moved.moves[0] - (x, y)).max() < 0.6
        farthest = max(farthest, float(np.abs(moved.moves).max()))
    assert farthest > 1.0


def test_training_follows_the_readings(data: Path, tmp_path: Path) -> None:
    options = Options(TINY, Weights(displacement=1.0, reconstruction=0, laplacian=0, contrast=0), batch=4, lr=5e-3)
    pool = Pool(data, TINY.size, reader=Known((0.0, 2.0)))
    task = PairTask(options, pool, People(data, None, known=lite_shards.people()), None)
    out = tmp_path / "run"
    Trainer(task, Plan(out, steps=120, average=0.9)).run()
    last = [json.loads(line) for line in (out / LOG).read_text().splitlines() if "held_out_displacement" in line][-1]
    assert last["held_out_displacement"] < 0.5 * last["held_out_drawing_displacement"]


def test_readings_are_kept_until_the_drawings_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pairs-00000.npz"
    lite_shards.write(path, 2)
    with np.load(path) as file:
        arrays = dict(file)
    reader, read = object.__new__(readings.Reader), []

    def row(_: object, sample: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        read.append(1)
        return np.ones((3, 2), np.float32), np.full((3, 2), len(read), np.float32)

    monkeypatch.setattr(readings.Reader, "_row", row)
    first, again = reader.of(path, arrays), reader.of(path, arrays)
    assert len(read) == 2 and np.array_equal(first[1], again[1])
    (tmp_path / "readings-00000.npz").write_bytes(b"half")
    reader.of(path, arrays)
    assert len(read) == 4
    arrays["mesh"] = 255 - arrays["mesh"]
    reader.of(path, arrays)
    assert len(read) == 6
