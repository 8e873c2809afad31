"""The `onnx` swapper: pixels and identities go in and come out as the forms say; wrong files are refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_models
import persona_maker
import pytest
from onnx import helper

from livecam import persona, runtimes, swap
from livecam.align import align
from livecam.config import SwapConfig
from livecam.errors import ModelError, ModelFileError, ModelShapeError, StageError, UsageError
from livecam.geometry import ARCFACE_112_V2
from livecam.persona.embed import FIVE_OF_MESH
from livecam.runtimes import _gate
from livecam.store import Store
from livecam.swap import _onnx_identity as identity
from livecam.swap._onnx_card import read_forms
from livecam.swap.onnx import OnnxSwapper
from livecam.types import Alignment, CropSpec, Face, Persona

CARD = """
id = "mine"
file = "model.onnx"
licence = "own work"
[crop]
size_px = 64
scale = 0.8
[target]
colour = "BGR"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
[source]
length = 32
[output]
colour = "BGR"
[mask]
name = "alpha"
"""


@pytest.fixture
def worn(tmp_path: Path) -> Persona:
    return persona.load(persona_maker.write_drawn(tmp_path / "worn.safetensors", 1))


def open_swapper(folder: Path, model: Path, embedder: Path | None = None, length: int = 512) -> OnnxSwapper:
    chosen = embedder or onnx_models.arcface(folder / "arcface.onnx", length)
    config = SwapConfig(swap="onnx", model=str(model), embedder=str(chosen))
    loaded = swap.load("onnx", config, Store(folder / "cache"))
    assert isinstance(loaded, OnnxSwapper)
    return loaded


def wearer(spec: CropSpec, with_mesh: bool = True) -> tuple[np.ndarray, Face, Alignment]:
    mesh = persona_maker.plausible_mesh()
    five = mesh[list(FIVE_OF_MESH), :2]
    box = np.array([160, 115, 480, 545], np.float32)
    crop = np.random.default_rng(5).integers(0, 256, (spec.size_px, spec.size_px, 3)).astype(np.uint8)
    return crop, Face(1, box, five, 0.9, mesh if with_mesh else None), align(five, spec)


def embedding_of(worn: Persona, length: int = 512) -> np.ndarray:
    """What arcface() makes of the portrait, in plain NumPy."""
    crop = identity.portrait_crop(worn)[..., ::-1].astype(np.float64)
    tiles = (((crop / 255) - 0.5) / 0.5).reshape(14, 8, 14, 8, 3).mean(axis=(1, 3)).transpose(2, 0, 1).reshape(-1)
    vector = tiles @ np.random.default_rng(7).normal(size=(588, length)).astype(np.float32)
    return vector / np.linalg.norm(vector)


def expected(crop: np.ndarray, colour: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    values = (crop[..., ::-1] / 255 - mean) / std * 0.5 + colour
    return np.clip(np.rint(values[..., ::-1] * 255), 0, 255)


def test_inswapper_numbers(tmp_path: Path, worn: Persona) -> None:
    emap = np.random.default_rng(2).normal(size=(512, 512)).astype(np.float32)
    swapper = open_swapper(tmp_path, onnx_models.generator(tmp_path / "in.onnx", 128, emap=emap))
    swapper.wear(worn)
    crop, face, alignment = wearer(swapper.crop)
    latent = embedding_of(worn) @ emap
    wanted = expected(crop, onnx_models.tint(128, latent / np.linalg.norm(latent)), np.zeros(3), np.ones(3))
    drawn = swapper.swap(crop, face, alignment)
    assert np.abs(drawn.crop.astype(int) - wanted).max() <= 1
    assert "InsightFace" in swapper.licence and "arcface.onnx" in swapper.licence


def test_inswapper_crop_is_insightfaces_own(tmp_path: Path) -> None:
    spec = read_forms()[128].crop
    five = np.add(ARCFACE_112_V2, (8.0, 0.0))
    assert np.allclose(align(five, spec).matrix, [[1, 0, 0], [0, 1, 0]], atol=1e-6)


@pytest.mark.parametrize(("size", "mean", "std"), [(256, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), (512, [0, 0, 0], [1, 1, 1])])
def test_simswap_numbers(tmp_path: Path, worn: Persona, size: int, mean: list[float], std: list[float]) -> None:
    swapper = open_swapper(tmp_path, onnx_models.generator(tmp_path / "sim.onnx", size, gain=0.5))
    swapper.wear(worn)
    crop, face, alignment = wearer(swapper.crop)
    wanted = expected(crop, onnx_models.tint(size, embedding_of(worn)), np.array(mean), np.array(std))
    assert np.abs(swapper.swap(crop, face, alignment).crop.astype(int) - wanted).max() <= 1
    assert "non-commercial" in swapper.licence


def test_card_states_colour_range_and_mask(tmp_path: Path, worn: Persona) -> None:
    onnx_models.generator(tmp_path / "model.onnx", 64, mask=True, length=32)
    (tmp_path / "card.toml").write_text(CARD, "utf-8")
    swapper = open_swapper(tmp_path, tmp_path / "card.toml", length=32)
    assert swapper.crop == CropSpec(64, "arcface_112_v2", 0.8)
    assert swapper.licence.startswith("mine: own work")
    swapper.wear(worn)
    crop, face, alignment = wearer(swapper.crop)
    drawn = swapper.swap(crop, face, alignment)
    colour = onnx_models.tint(64, embedding_of(worn, 32), 32)
    wanted = np.clip(np.rint(((crop / 255 - 0.5) / 0.5 * 0.5 + colour) * 255), 0, 255)
    assert np.abs(drawn.crop.astype(int) - wanted).max() <= 1
    assert (drawn.mask[:32, :32] == 255).all() and not drawn.mask[32:].any()


def test_openvino_runs_the_same_card(tmp_path: Path, worn: Persona) -> None:
    onnx_models.generator(tmp_path / "model.onnx", 64, mask=True, length=32)
    crops = []
    for runtime in ("onnx", "openvino"):
        (tmp_path / "card.toml").write_text(f'runtime = "{runtime}"\n' + CARD, "utf-8")
        swapper = open_swapper(tmp_path, tmp_path / "card.toml", length=32)
        swapper.wear(worn)
        crops.append(swapper.swap(*wearer(swapper.crop)).crop.astype(int))
    assert np.abs(crops[0] - crops[1]).max() <= 1


def test_card_beside_the_model_is_taken(tmp_path: Path) -> None:
    model = onnx_models.generator(tmp_path / "model.onnx", 64, mask=True, length=32)
    (tmp_path / "model.toml").write_text(CARD, "utf-8")
    assert open_swapper(tmp_path, model, length=32).crop.size_px == 64


@pytest.mark.parametrize("with_mesh", [True, False])
def test_oval_covers_the_face_and_spares_the_corners(tmp_path: Path, worn: Persona, with_mesh: bool) -> None:
    swapper = open_swapper(tmp_path, onnx_models.generator(tmp_path / "sim.onnx", 256))
    swapper.wear(worn)
    crop, face, alignment = wearer(swapper.crop, with_mesh)
    mask = swapper.swap(crop, face, alignment).mask
    five = np.rint(face.five_px @ alignment.matrix[:, :2].T + alignment.matrix[:, 2]).astype(int)
    assert (mask[five[:, 1], five[:, 0]] == 255).all()
    assert not mask[:8, :8].any() and not mask[-8:, -8:].any() and not mask[:8, -8:].any()
    assert 0.2 < (mask > 127).mean() < 0.8


def test_swap_before_wear_and_wrong_crops_are_stage_errors(tmp_path: Path, worn: Persona) -> None:
    swapper = open_swapper(tmp_path, onnx_models.generator(tmp_path / "sim.onnx", 256))
    crop, face, alignment = wearer(swapper.crop)
    with pytest.raises(StageError, match="no persona"):
        swapper.swap(crop, face, alignment)
    swapper.wear(worn)
    with pytest.raises(StageError, match="256"):
        swapper.swap(np.zeros((128, 128, 3), np.uint8), face, alignment)


def test_output_that_is_not_finite_is_a_stage_error(tmp_path: Path, worn: Persona) -> None:
    swapper = open_swapper(tmp_path, onnx_models.generator(tmp_path / "sim.onnx", 256, gain=float("nan")))
    swapper.wear(worn)
    with pytest.raises(StageError, match="NaN"):
        swapper.swap(*wearer(swapper.crop))


def test_no_model_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--model"):
        swap.load("onnx", SwapConfig(swap="onnx"), Store(tmp_path))


def test_no_embedder_lists_what_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path / "none"))
    model = onnx_models.generator(tmp_path / "sim.onnx", 256)
    with pytest.raises(ModelFileError, match=r"w600k_r50.onnx.*--embedder"):
        swap.load("onnx", SwapConfig(swap="onnx", model=str(model)), Store(tmp_path))


def test_insightface_pack_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = tmp_path / "models" / "buffalo_l"
    pack.mkdir(parents=True)
    onnx_models.arcface(pack / "w600k_r50.onnx")
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path))
    model = onnx_models.generator(tmp_path / "sim.onnx", 256)
    loaded = swap.load("onnx", SwapConfig(swap="onnx", model=str(model)), Store(tmp_path))
    assert "w600k_r50.onnx: non-commercial research only" in loaded.licence


def test_wrong_shapes_are_named(tmp_path: Path) -> None:
    odd = onnx_models.generator(tmp_path / "odd.onnx", 96)
    with pytest.raises(ModelShapeError, match=r"odd.onnx.*inswapper_128.*simswap_256.*'target' \[1, 3, 96, 96\]"):
        open_swapper(tmp_path, odd)
    short = onnx_models.generator(tmp_path / "short.onnx", 256, length=128)
    with pytest.raises(ModelShapeError, match=r"short.onnx.*expected \[1, 512\]; found.*\[1, 128\]"):
        open_swapper(tmp_path, short)
    plain = onnx_models.generator(tmp_path / "plain.onnx", 128)
    with pytest.raises(ModelShapeError, match=r"plain.onnx.*last initializer.*\[512, 512\].*'shape' \[4\]"):
        open_swapper(tmp_path, plain)
    good = onnx_models.generator(tmp_path / "sim.onnx", 256)
    with pytest.raises(ModelShapeError, match=r"small.onnx.*\[1, 512\].*\[1, 128\]"):
        open_swapper(tmp_path, good, onnx_models.arcface(tmp_path / "small.onnx", 128))
    with pytest.raises(ModelShapeError, match=r"expected one input \[1, 3, 112, 112\]"):
        open_swapper(tmp_path, good, good)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (("size_px = 64", "size_px = 9999"), "size_px"),
        (("scale = 0.8", 'template = "ffhq"\nscale = 0.8'), "template.*arcface_112_v2.*ffhq"),
        (("scale = 0.8", "scale = nan"), "scale"),
        (("length = 32", "length = true"), "length"),
        (('colour = "BGR"\nmean', 'color = "BGR"\nmean'), "color is not known"),
        (("std = [0.5, 0.5, 0.5]", "std = [0.5, 0.0, 0.5]"), "std"),
        (('licence = "own work"', ""), "licence"),
        (("[crop]", "[crop"), "cannot be read"),
        (('licence = "own work"', 'licence = "own work"\nsha256 = "00"'), "expected SHA-256 00"),
        (('name = "alpha"', 'name = "nope"'), "'nope'"),
        (('file = "model.onnx"', 'file = "gone.onnx"'), "gone.onnx does not exist"),
    ],
)
def test_wrong_cards_are_refused_by_field(tmp_path: Path, change: tuple[str, str], match: str) -> None:
    onnx_models.generator(tmp_path / "model.onnx", 64, mask=True, length=32)
    (tmp_path / "card.toml").write_text(CARD.replace(*change), "utf-8")
    with pytest.raises(ModelError, match=match):
        open_swapper(tmp_path, tmp_path / "card.toml", length=32)


def test_broken_files_are_refused_by_name(tmp_path: Path) -> None:
    whole = onnx_models.generator(tmp_path / "whole.onnx", 256).read_bytes()
    for label, content in {"empty": b"", "garbage": b"garbage" * 99, "cut": whole[: len(whole) // 2], "pickle": b"\x80\x04\x95" + bytes(64)}.items():
        path = tmp_path / f"{label}.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=f"{label}.onnx"):
            open_swapper(tmp_path, path)
    with pytest.raises(ModelFileError, match=r"gone\.onnx does not exist"):
        open_swapper(tmp_path, tmp_path / "gone.onnx")


def test_flipped_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    whole = onnx_models.generator(tmp_path / "whole.onnx", 128, emap=np.eye(512, dtype=np.float32)).read_bytes()
    embedder = onnx_models.arcface(tmp_path / "arcface.onnx")
    rng = np.random.default_rng(0)
    path = tmp_path / "flipped.onnx"
    refused = 0
    for at in rng.integers(0, 700, 40):
        data = bytearray(whole)
        data[at] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            open_swapper(tmp_path, path, embedder)
        except ModelError:
            refused += 1
    assert refused > 10


def test_size_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx_models.generator(tmp_path / "big.onnx", 256)
    monkeypatch.setattr(_gate, "MAX_FILE_BYTES", 1000)
    with pytest.raises(ModelFileError, match=r"big.onnx.*1000 bytes, found"):
        open_swapper(tmp_path, model)


def test_few_bytes_that_ask_for_terabytes_are_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["output"])]
    outputs = [onnx_models.floats("output", [1 << 20, 1 << 20])]
    bomb = onnx_models.save(tmp_path / "bomb.onnx", nodes, [], outputs, {"shape": np.array([1 << 20, 1 << 20], np.int64)})
    assert bomb.stat().st_size < 200
    with pytest.raises(ModelFileError, match=r"bomb.onnx.*ConstantOfShape"):
        open_swapper(tmp_path, bomb)


def test_external_data_is_refused(tmp_path: Path) -> None:
    model = onnx.load(str(onnx_models.generator(tmp_path / "whole.onnx", 256)))
    onnx.save(model, str(tmp_path / "outside.onnx"), save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(ModelFileError, match=r"outside.onnx.*other files"):
        open_swapper(tmp_path, tmp_path / "outside.onnx")


def test_another_runtime_takes_over_and_a_changed_file_is_refused(tmp_path: Path, worn: Persona) -> None:
    path = onnx_models.generator(tmp_path / "inswapper.onnx", 128, emap=np.eye(512, dtype=np.float32))
    swapper = open_swapper(tmp_path, path)
    swapper.wear(worn)
    crop, face, alignment = wearer(swapper.crop)
    before = swapper.swap(crop, face, alignment)
    put_on = swapper.prepare_network(lambda file, plain: runtimes.load("openvino", file.data))
    assert swapper.runtime == "onnx"
    put_on()
    assert type(swapper._network).__name__ == "OpenVinoRuntime"
    assert np.abs(swapper.swap(crop, face, alignment).crop.astype(int) - before.crop).max() <= 1
    onnx_models.generator(path, 128, emap=np.eye(512, dtype=np.float32), gain=0.4)
    with pytest.raises(ModelFileError, match="was changed since the start"):
        swapper.prepare_network(lambda file, plain: plain)
