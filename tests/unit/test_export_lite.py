"""Exported files say what PyTorch says, and livecam reads them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import cv2
import lite_shards
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the engines group is not installed")
pytest.importorskip("nncf", reason="the engines group is not installed")

from engines.export import lite as exporting  # noqa: E402
from engines.export import others  # noqa: E402
from engines.nets import identity as identity_net  # noqa: E402
from engines.nets import simswap as simswap_net  # noqa: E402
from engines.nets.lite import CONFIGS, Lite, composed  # noqa: E402
from engines.train import checkpoint  # noqa: E402
from engines.train.errors import CheckpointError  # noqa: E402
from engines.train.pairs import read_lite  # noqa: E402
from engines.train.people import People  # noqa: E402
from livecam import runtimes  # noqa: E402
from livecam.store import read_cards, sha256_of  # noqa: E402
from livecam.swap import _lite_tensor  # noqa: E402
from livecam.swap._lite_lines import OPENING, open_eyes  # noqa: E402
from livecam.swap._lite_weights import read_mapper  # noqa: E402


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lite, exporting.Exported, Path]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("export")
    lite = Lite(CONFIGS["tiny"]).eval()
    for layer in (lite.generator.change, lite.generator.flow, lite.generator.light, *(block.second for block in lite.generator.blocks)):
        torch.nn.init.normal_(layer.weight, std=0.05)
    config = checkpoint.to_json(asdict(lite.config))
    metadata = {"format": checkpoint.WEIGHTS, "task": "lite", "config": config, "recipe": '{"embedder":"sface"}', "step": "7"}
    checkpoint.write(folder / "w.safetensors", lite.state_dict(), metadata)
    lite_shards.write(folder / "pairs-00000.npz", 20)
    people = People(folder, None, known=lite_shards.people())
    return lite, exporting.export(folder / "w.safetensors", folder / "out", folder / "cards", folder, people), folder


def test_each_form_is_near_pytorch(made: tuple[Lite, exporting.Exported, Path]) -> None:
    report = made[1].report
    for role, least_db in (("fp32", 100.0), ("fp16", 60.0), ("int8", exporting.LEAST_INT8_DB)):
        assert report[role]["rgb"]["psnr_db"] > least_db  # type: ignore[index]
        assert report[role]["mask"]["psnr_db"] > least_db  # type: ignore[index]


def test_int8_is_int8(made: tuple[Lite, exporting.Exported, Path]) -> None:
    files = made[1].files
    assert files["int8"].read_bytes().count(b"DequantizeLinear") > 10
    assert files["fp16"].stat().st_size < 0.8 * files["fp32"].stat().st_size


def test_the_loop_runs_network_and_mapper_as_pytorch_does(made: tuple[Lite, exporting.Exported, Path]) -> None:
    lite, exported, _ = made
    rng = np.random.default_rng(1)
    embedding = rng.normal(size=128).astype(np.float32)
    embedding /= np.linalg.norm(embedding)
    mapper = read_mapper(exported.files["mapper"])
    x = rng.random((1, 10, 32, 32), np.float32)
    found = runtimes.load("openvino", exported.files["fp32"], 1).run({"x": x, "film": mapper.film(embedding)})
    with torch.no_grad():
        parts = lite.generator(torch.from_numpy(x), lite.mapper(torch.from_numpy(embedding)[None]))
    for name, part in zip(("light", "flow", "change"), parts, strict=True):
        assert np.abs(found[name] - part.numpy()).max() < 1e-3
        assert part.abs().max() > 0.01
    assert mapper.embedder == "sface"


def test_the_loop_composes_as_training_does() -> None:
    rng = np.random.default_rng(2)
    size = 32
    crop, veil = (cv2.GaussianBlur(rng.integers(0, 256, (size, size, 3), np.uint8), (0, 0), 2) for _ in range(2))
    alpha = cv2.GaussianBlur(cv2.circle(np.zeros((size, size), np.uint8), (16, 16), 11, 255, -1), (0, 0), 2)
    parts = [rng.normal(0, s, shape).astype(np.float32) for s, shape in ((0.2, (1, 3, 4, 4)), (2, (1, 2, 8, 8)), (0.1, (1, 4, 8, 8)))]
    x = np.zeros((1, 10, size, size), np.float32)
    drawn_lines = np.zeros_like(crop)
    cv2.ellipse(drawn_lines, (11, 12), (5, 2), 0, 0, 360, (0, OPENING, 0), -1, cv2.LINE_AA)
    _lite_tensor.fill(veil, crop, alpha, drawn_lines, x)
    wanted = 255 * composed(torch.from_numpy(x), *(torch.from_numpy(part) for part in parts)).clamp(0, 1)[0].numpy()
    assert _lite_tensor.compose(veil, open_eyes(drawn_lines), *parts, crop, alpha)  # type: ignore[misc]
    apart = np.abs(crop[..., ::-1].transpose(2, 0, 1) - wanted[0:3])
    assert apart.max() <= 4 and apart.mean() < 0.7
    assert np.abs(alpha - wanted[3]).max() <= 1


def test_strength_scales_light_and_colour_alone(made: tuple[Lite, exporting.Exported, Path]) -> None:
    lite = made[0]
    x, film = torch.rand(1, 10, 32, 32), torch.ones(1, lite.config.film_dim)
    half = Lite(lite.config)
    half.load_state_dict(lite.state_dict())
    exporting.soften(half, exporting.Softer(0.5))
    grey = Lite(lite.config)
    grey.load_state_dict(lite.state_dict())
    exporting.soften(grey, exporting.Softer(1.0, 0.0))
    with torch.no_grad():
        (light, flow, change), found = lite.generator(x, film), half.generator(x, film)
        plain = grey.generator(x, film)
    assert torch.allclose(found[0], light * 0.5, atol=1e-6) and torch.allclose(found[1], flow)
    assert torch.allclose(found[2][:, :3], change[:, :3] * 0.5, atol=1e-6) and torch.allclose(found[2][:, 3], change[:, 3])
    for drawn, was in ((plain[0], light), (plain[2], change)):
        luma = (was[:, :3] * torch.tensor((0.299, 0.587, 0.114))[:, None, None]).sum(1, keepdim=True)
        assert torch.allclose(drawn[:, :3], luma.expand(-1, 3, -1, -1), atol=1e-5)
    assert torch.allclose(plain[1], flow) and torch.allclose(plain[2][:, 3], change[:, 3])
    exporting.soften(lite, exporting.Softer(light=0.01, change=0.02))
    with torch.no_grad():
        bounded = lite.generator(x, film)
    lite.generator.bounds = None
    assert torch.equal(bounded[0], light.clamp(-0.01, 0.01)) and torch.equal(bounded[1], flow)
    assert torch.equal(bounded[2], torch.cat([change[:, :3].clamp(-0.02, 0.02), change[:, 3:]], 1)) and bounded[2][:, 3].abs().max() > 0.02


def test_cards_are_those_of_the_files(made: tuple[Lite, exporting.Exported, Path]) -> None:
    _, exported, folder = made
    cards = read_cards(folder / "cards")
    assert set(cards) == {"lite32", "lite32_int8", "lite32_mapper"}
    assert cards["lite32_int8"].sha256 == sha256_of(exported.files["int8"])
    assert cards["lite32_int8"].data["crop"]["scale"] == 0.78
    assert cards["lite32"].data["training"]["step"] == 7
    assert {o["name"]: o["shape"] for o in cards["lite32"].data["outputs"]} == {"light": [1, 3, 4, 4], "flow": [1, 2, 8, 8], "change": [1, 4, 8, 8]}


@pytest.mark.parametrize(
    ("task", "network"),
    [("simswap", simswap_net.Simswap(simswap_net.CONFIGS["tiny"])), ("identity", identity_net.Identity(identity_net.CONFIGS["tiny"]))],
)
def test_other_networks_are_exported(task: str, network: torch.nn.Module, tmp_path: Path) -> None:
    config = checkpoint.to_json(asdict(network.config))  # type: ignore[call-overload]
    metadata = {"format": checkpoint.WEIGHTS, "task": task, "config": config, "recipe": "{}", "step": "1"}
    checkpoint.write(tmp_path / "w.safetensors", network.state_dict(), metadata)
    exported = others.export(task, tmp_path / "w.safetensors", tmp_path, tmp_path / "cards")
    (output,) = exported.report["fp32"].values()  # type: ignore[attr-defined]
    assert output["psnr_db"] > 100
    assert next(iter(exported.report["fp16"].values()))["psnr_db"] > 50  # type: ignore[attr-defined]
    assert len(read_cards(tmp_path / "cards")) == 1


def test_another_tasks_weights_are_refused(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "w.safetensors", {"a": torch.ones(1)}, {"format": checkpoint.WEIGHTS, "task": "parser"})
    with pytest.raises(CheckpointError, match="expected livecam-weights-1, task lite, found livecam-weights-1, task parser"):
        read_lite(tmp_path / "w.safetensors")
