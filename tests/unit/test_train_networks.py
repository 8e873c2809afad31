"""The other networks: SimSwap, the embedder, SFace in PyTorch, the judge; and the command line's errors."""

from __future__ import annotations

from pathlib import Path

import lite_shards
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the engines group is not installed")

from engines.nets import identity as identity_net  # noqa: E402
from engines.nets import lite as lite_net  # noqa: E402
from engines.nets import simswap as simswap_net  # noqa: E402
from engines.nets.discriminator import PatchConfig, PatchGan, r1_penalty  # noqa: E402
from engines.nets.sface import aligned  # noqa: E402
from engines.train import cli, losses  # noqa: E402
from engines.train.identity import contrastive  # noqa: E402
from engines.train.loop import WEIGHTS, Plan, Trainer  # noqa: E402
from engines.train.pairs import Options, PairTask, Weights  # noqa: E402
from engines.train.people import People  # noqa: E402
from engines.train.shards import Pool  # noqa: E402
from livecam.align.arcface import template_px  # noqa: E402
from livecam.types import CropSpec  # noqa: E402

MEGA = 1_000_000


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    lite_shards.write(folder / "pairs-00000.npz", 20)
    return folder


@pytest.mark.parametrize(("name", "bytes_each", "at_most"), [("simswap128", 2, 48 * MEGA), ("simswap224", 2, 48 * MEGA)])
def test_simswap_is_as_large_as_allowed(name: str, bytes_each: int, at_most: int) -> None:
    with torch.device("meta"):
        network = simswap_net.Simswap(simswap_net.CONFIGS[name])
    assert 0.9 * at_most < bytes_each * sum(p.numel() for p in network.parameters()) < at_most


def test_the_embedder_and_the_large_tier_are_small_enough() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in identity_net.Identity(identity_net.CONFIGS["identity"]).parameters()) <= 1.5 * MEGA
        assert sum(p.numel() for p in lite_net.Lite(lite_net.CONFIGS["lite256"]).parameters()) <= 12 * MEGA


def test_embeddings_have_unit_length() -> None:
    out = identity_net.Identity(identity_net.CONFIGS["tiny"]).eval()(torch.rand(2, 3, 112, 112))
    assert out.shape == (2, 128)
    assert torch.allclose(out.norm(dim=1), torch.ones(2), atol=1e-5)


def test_adain_takes_its_statistics_in_float() -> None:
    adain = simswap_net.AdaIn(3)
    x = (torch.randn(1, 3, 8, 8) * 300 + 20000).half()  # squares do not fit into half precision
    normal = adain(x, torch.zeros(1, 128))
    assert normal.dtype == torch.float16
    assert float(normal.detach().float().std()) == pytest.approx(1.0, abs=0.1)


def test_simswap_trains_and_writes_weights(data: Path, tmp_path: Path) -> None:
    options = Options(simswap_net.CONFIGS["tiny"], Weights(judge_from=0.0), batch=2)
    task = PairTask(options, Pool(data, 32), People(data, None, known=lite_shards.people()), None)
    before = {key: value.clone() for key, value in task.modules["model"].state_dict().items()}
    Trainer(task, Plan(tmp_path, steps=2)).run()
    after = task.modules["model"].state_dict()
    assert all(not torch.equal(before[key], after[key]) for key in before if key.endswith("weight"))
    assert (tmp_path / WEIGHTS).exists()


def test_contrast_is_least_when_people_are_apart() -> None:
    people = torch.tensor([0, 0, 1, 1])
    together, apart = torch.eye(4)[[0, 0, 0, 0]], torch.eye(4)[[0, 0, 1, 1]]
    assert contrastive(apart, people, 0.1) < 0.01 < contrastive(together, people, 0.1)


def test_aligned_crops_are_arcface_crops() -> None:
    spec = CropSpec(128, "arcface_112_v2", 0.78, (0.0, -0.06))
    at, wanted = template_px(spec), template_px(CropSpec(112, "arcface_112_v2", 1.0, (0.0, 0.0)))
    y, x = np.mgrid[0:128, 0:128]
    for (px, py), (qx, qy) in zip(at, wanted, strict=True):
        spot = np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18).astype(np.float32)
        out = aligned(torch.from_numpy(spot)[None, None].expand(1, 3, -1, -1), spec)[0, 0].numpy()
        v, u = np.unravel_index(out.argmax(), out.shape)
        assert abs(u - qx) <= 1 and abs(v - qy) <= 1


def test_the_judge_is_penalised_for_steepness() -> None:
    judge = PatchGan(PatchConfig(width=4, layers=2))
    flat = r1_penalty(judge, torch.rand(1, 3, 16, 16))
    with torch.no_grad():
        judge.last.weight.mul_(10)
    assert r1_penalty(judge, torch.rand(1, 3, 16, 16)) > 10 * flat.detach()


def test_laplacian_sees_blur_that_the_mean_hardly_sees() -> None:
    stripes = torch.arange(32).remainder(2).float().expand(1, 3, 32, 32) * 0.2 + 0.4
    weight = torch.ones(1, 1, 32, 32)
    assert losses.laplacian(stripes.mean() - stripes, weight) > losses.laplacian(torch.full_like(stripes, 0.1), weight) + 0.05
    assert losses.sharpness(torch.full_like(stripes, 0.5), stripes, weight) < 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lite", "--resume"], "does not exist"),
        (["lite", "--config", "lite1"], "choose one of: lite128"),
        (["lite", "--weight", "sharp=1"], "expected NAME=NUMBER with a name of reconstruction"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.Store, "path", lambda *_: Path("sface.onnx"))
    monkeypatch.setattr(cli, "SFace", lambda path: None)
    task, *rest = arguments
    assert cli.main([task, "--data", str(tmp_path), "--out", str(tmp_path / "run"), *rest]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
