"""The `lite` swapper: what goes into the network and comes out, which weights are taken, and what happens without any."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

import cv2
import drawn_face
import numpy as np
import onnx_models
import persona_maker
import pytest
from safetensors.numpy import load_file, save_file

from livecam import persona, runtimes, store, swap
from livecam.align import align
from livecam.config import SwapConfig
from livecam.errors import ModelFileError, ModelShapeError, StageError
from livecam.image import crop as crop_of
from livecam.persona.embed import FIVE_OF_MESH
from livecam.runtimes import Runtime
from livecam.runtimes._gate import Checked
from livecam.store import Card, Store
from livecam.swap import _lite_lines, _lite_tensor, mesh
from livecam.swap._lite_weights import read_mapper
from livecam.swap.lite import LARGE_FACE_PX, LiteSwapper
from livecam.types import Alignment, CropSpec, Face, Persona


@pytest.fixture(scope="module")
def worn() -> Persona:
    return persona_maker.with_embedding(persona.load("noor"), 5)


def open_lite(folder: Path, weights: Path, tier: Literal["auto", "128", "256"] = "auto") -> LiteSwapper:
    swapper = swap.load("lite", SwapConfig(swap="lite", model=str(weights), tier=tier), Store(folder / "cache"))
    assert isinstance(swapper, LiteSwapper)
    return swapper


def wearer(spec: CropSpec) -> tuple[np.ndarray, Face, Alignment]:
    other = persona.load("tomas")
    points = other.meshes["neutral"].astype(np.float32)
    five = points[list(FIVE_OF_MESH), :2].copy()
    box = np.concatenate((points[:468, :2].min(axis=0), points[:468, :2].max(axis=0))).astype(np.float32)
    alignment = align(five, spec)
    return crop_of(other.images["neutral"], alignment), Face(1, box, five, 0.95, points, None, np.ones(2, np.float32)), alignment


def test_kernels_are_their_plain_forms() -> None:
    rng = np.random.default_rng(1)
    size = 16
    wearing, drawn, lines = (rng.integers(0, 256, (size, size, 3), np.uint8) for _ in range(3))
    mask = rng.integers(0, 256, (size, size), np.uint8)
    fast, plain = (np.zeros((1, 10, size, size), np.float32) for _ in range(2))
    _lite_tensor.fill(wearing, drawn, mask, lines, fast)
    _lite_tensor.fill_plain(wearing, drawn, mask, lines, plain)
    assert np.array_equal(fast, plain) and fast[0, 0, 0, 0] == np.float32(wearing[0, 0, 2]) / np.float32(255)


@pytest.mark.parametrize("size", [32, 64, 96])
def test_composing_is_its_plain_form(size: int) -> None:
    rng = np.random.default_rng(size)
    own = 32
    soft = cv2.GaussianBlur(rng.integers(0, 256, (size, size, 3), np.uint8), (0, 0), 2)
    drawn = cv2.normalize(soft, None, 0, 255, cv2.NORM_MINMAX)
    veil = np.full((own, own, 3), (40, 90, 160), np.uint8)
    mask = cv2.circle(np.zeros((size, size), np.uint8), (size // 2, size // 2), size // 3, 255, -1, cv2.LINE_AA)
    eyes = cv2.circle(np.zeros((own, own), np.uint8), (own // 2, own // 3), 4, 255, -1, cv2.LINE_AA)
    light = rng.normal(0, 0.2, (1, 3, 4, 4)).astype(np.float32)
    flow = rng.normal(0, 1.5, (1, 2, 8, 8)).astype(np.float32)
    added = rng.normal(0, 0.1, (1, 4, 8, 8)).astype(np.float32)
    results = []
    for compose in (_lite_tensor.compose, _lite_tensor.compose_plain):
        crop, alpha = drawn.copy(), mask.copy()
        assert compose(veil, eyes, light, flow, added, crop, alpha)
        results.append((crop.astype(int), alpha.astype(int)))
    apart = np.abs(results[0][0] - results[1][0])
    assert apart.max() <= 4 and apart.mean() < 0.6, "remap has 1/32 px, and bytes in between"
    assert np.abs(results[0][1] - results[1][1]).max() <= 1
    assert np.abs(results[0][0] - drawn).max() > 40
    assert (results[0][1] >= mask).all() and (results[0][1] > mask + 9).any(), "what mesh hides stays hidden"
    still = drawn.copy()
    assert _lite_tensor.compose(veil, np.full_like(eyes, 255), light, np.zeros_like(flow), added, still, mask.copy())
    assert np.abs(still.astype(int) - drawn)[mask == 255].max() <= 1, "an eye keeps its colours"
    for part, value in ((light, np.nan), (flow, np.inf), (added, -np.inf)):
        part[0, 0, 1, 1], kept = value, part[0, 0, 1, 1]
        assert not _lite_tensor.compose(veil, eyes, light, flow, added, crop, alpha)
        assert not _lite_tensor.compose_plain(veil, eyes, light, flow, added, crop, alpha)
        part[0, 0, 1, 1] = kept


def test_only_what_the_mask_covers_or_will_cover_is_composed() -> None:
    """The part that is written to holds every pixel whose mask is, in the plain form, above 0."""
    size, alpha = 96, np.zeros((96, 96), np.uint8)
    growth = np.zeros((8, 8), np.float32)
    assert _lite_tensor.covered(alpha, growth)[2:] == (0, 0)
    cv2.circle(alpha, (40, 50), 12, 255, -1)
    assert _lite_tensor.covered(alpha, growth) == (28, 38, 25, 25)
    growth[1, 6] = 0.5
    x0, y0, width, height = _lite_tensor.covered(alpha, growth)
    grown = cv2.resize(growth, (size, size), interpolation=cv2.INTER_LINEAR) * 255 >= 0.5
    y, x = np.nonzero(grown | (alpha > 0))
    assert x0 <= x.min() and y0 <= y.min() and x0 + width > x.max() and y0 + height > y.max()
    assert width * height < 0.7 * size * size


def test_a_flow_moves_the_drawing_and_keeps_it_sharp(tmp_path: Path, worn: Persona) -> None:
    still, moved = (open_lite(tmp_path, onnx_models.lite(tmp_path / f"weights{shift}", tint=0.0, shift_px=shift)) for shift in (0.0, 4.0))
    for one in (still, moved):
        one.wear(worn)
    crop, face, alignment = wearer(still.crop)
    a, b = (one.swap(crop, face, alignment) for one in (still, moved))
    inside = cv2.erode(a.mask, np.ones((25, 25), np.uint8)) == 255
    step = 4 * alignment.size_px // 128
    expected = np.roll(a.crop, -step, axis=1)
    assert inside.mean() > 0.1 and np.abs(b.crop.astype(int) - expected)[inside].max() <= 1
    assert np.abs(b.crop.astype(int) - a.crop)[inside].max() > 30


@pytest.mark.parametrize("size", [128, 256, 384])
def test_untrained_it_is_the_drawing_of_mesh(tmp_path: Path, worn: Persona, size: int) -> None:
    swapper = open_lite(tmp_path, onnx_models.lite(tmp_path / "weights", tint=0.0))
    swapper.wear(worn)
    assert swapper.crop == mesh.MeshSwapper(SwapConfig()).crop
    crop, face, alignment = wearer(replace(swapper.crop, size_px=size))
    drawn = swapper.swap(crop, face, alignment)
    plain = mesh.MeshSwapper(SwapConfig())
    plain.wear(worn)
    expected = plain.swap(crop, face, alignment)
    assert np.abs(drawn.mask.astype(int) - expected.mask).max() <= 1
    inside = expected.mask == 255
    assert inside.mean() > 0.2 and np.abs(drawn.crop.astype(int) - expected.crop)[inside].max() <= 1


def test_no_feature_of_the_wearer_reaches_the_network() -> None:
    chips = np.kron(np.indices((22, 22)).sum(axis=0)[..., None] % 2 * 60, np.ones((6, 6, 3), int))[:128, :128].astype(np.uint8)
    plain = np.full((128, 128, 3), 100, np.uint8)
    none = np.zeros_like(plain)
    left = _lite_lines.veiled(plain + chips, none).astype(float) - _lite_lines.veiled(plain, none)
    assert left[12:-12, 12:-12].std() < 0.06 * chips.std(), "what is as fine as a lid or a lip is gone"
    shade = np.broadcast_to(np.linspace(40, 200, 128).astype(np.uint8)[:, None, None], (128, 128, 3))
    assert np.abs(_lite_lines.veiled(np.ascontiguousarray(shade), none).astype(float) - shade)[12:-12].max() < 4, "light is not"


def test_an_open_mouth_is_no_shadow() -> None:
    size = drawn_face.ALIGNED.size_px
    drawn = _lite_lines.draw(drawn_face.mesh(jaw=24.0)[:, :2] * drawn_face.ALIGNED.matrix[0, 0], size)
    skin = np.full(drawn.shape, 160, np.uint8)
    mouth = skin.copy()
    mouth[drawn[..., 2] > 0] = 20
    assert np.abs(_lite_lines.veiled(mouth, drawn).astype(float) - skin).max() < 0.15 * 140
    assert np.abs(_lite_lines.veiled(mouth, np.zeros_like(drawn)).astype(float) - skin).max() > 0.3 * 140, "which it would be"


def test_the_network_gets_the_lines_of_the_wearers_landmarks(tmp_path: Path, worn: Persona) -> None:
    swapper = open_lite(tmp_path, onnx_models.lite(tmp_path / "weights"))
    swapper.wear(worn)
    crop, face, alignment = wearer(swapper.crop)
    swapper.swap(crop, face, alignment)
    assert face.mesh_px is not None
    points = (face.mesh_px[:, :2] @ alignment.matrix[:, :2].T + alignment.matrix[:, 2]).astype(np.float32)
    seen = swapper._benches[128].x[0, 7:].transpose(1, 2, 0) * 255
    points = (points + 0.5) * np.float32(128 / alignment.size_px) - 0.5
    assert np.abs(seen - _lite_lines.draw(points, 128)).max() < 0.01


def beside_the_eyes(swapper: LiteSwapper, size: int) -> np.ndarray:
    """(size, size) bool: where what the network says of light and colour is done, after a swap."""
    lines = np.ascontiguousarray(np.rint(swapper._benches[128].x[0, 7:].transpose(1, 2, 0) * 255).astype(np.uint8))
    beside = cv2.resize(_lite_lines.open_eyes(lines), (size, size), interpolation=cv2.INTER_LINEAR) == 0
    assert 0.01 < 1 - beside.mean() < 0.1
    return beside


def test_film_is_the_mappers(tmp_path: Path, worn: Persona) -> None:
    weights = onnx_models.lite(tmp_path / "weights", tint=0.1)
    swapper = open_lite(tmp_path, weights)
    crop, face, alignment = wearer(swapper.crop)
    plain = open_lite(tmp_path, onnx_models.lite(tmp_path / "plain", tint=0.0))
    for one in (swapper, plain):
        one.wear(worn)
    tensors = load_file(str(weights / "lite128-mapper.safetensors"))
    assert worn.embedding is not None
    film = tensors["mapper.second.weight"] @ np.maximum(tensors["mapper.first.weight"] @ worn.embedding, 0)
    tint = np.clip(0.1 * film[2::-1] * 255, -255, 255)
    first = plain.swap(crop, face, alignment)
    base = first.crop.astype(float)
    inside = ((base + tint > 1) & (base + tint < 254)).all(axis=2) & beside_the_eyes(plain, alignment.size_px) & (first.mask > 0)
    assert inside.mean() > 0.15 and np.abs(tint).max() > 3
    assert np.abs(swapper.swap(crop, face, alignment).crop - (base + tint))[inside].max() <= 1.01


def test_the_larger_tier_is_used_where_it_is_asked_for_and_fits(tmp_path: Path, worn: Persona) -> None:
    onnx_models.lite(tmp_path / "weights", 256)
    weights = onnx_models.lite(tmp_path / "weights", 128)
    for tier in ("auto", "128"):
        assert list(open_lite(tmp_path, weights, tier)._benches) == [128], "a CPU has better things to do"
    assert list(open_lite(tmp_path, weights / "lite256.onnx", "128")._benches) == [256], "there is no other"
    swapper = open_lite(tmp_path, weights, "256")
    swapper.wear(worn)
    sizes = [swapper.crop_for(face_px).size_px for face_px in (100, LARGE_FACE_PX, LARGE_FACE_PX + 1)]
    assert sizes == [128, 256, 384] == list(swapper.crops_px)
    for size in sizes:
        crop, face, alignment = wearer(CropSpec(size, offset=swapper.crop.offset))
        assert swapper.swap(crop, face, alignment).crop.shape == (size, size, 3)
        assert swapper._bench_for(size).tier.size_px == (128 if size == 128 else 256)
    swapper.most_tier_px = 128
    assert {swapper._bench_for(size).tier.size_px for size in sizes} == {128}


def test_what_the_network_changed_is_changed_in_the_large_drawing(tmp_path: Path, worn: Persona) -> None:
    large, small = (open_lite(tmp_path, onnx_models.lite(tmp_path / f"weights{tint}", tint=tint)) for tint in (0.1, 0.0))
    for one in (large, small):
        one.wear(worn)
    crop, face, alignment = wearer(CropSpec(384, offset=large.crop.offset))
    a, b = (one.swap(crop, face, alignment) for one in (large, small))
    inside = (b.mask == 255) & (np.minimum(a.crop, b.crop) > 2).all(axis=2) & (np.maximum(a.crop, b.crop) < 253).all(axis=2)
    inside &= beside_the_eyes(small, alignment.size_px)
    step = (a.crop.astype(int) - b.crop)[inside]
    assert inside.mean() > 0.05 and np.abs(step.mean(axis=0)).max() > 3, "it is tinted"
    assert step.std(axis=0).max() < 1.5, "and keeps its detail"


def test_values_that_are_not_finite_are_a_stage_error(tmp_path: Path, worn: Persona) -> None:
    swapper = open_lite(tmp_path, onnx_models.lite(tmp_path / "weights", nan=True))
    swapper.wear(worn)
    with pytest.raises(StageError, match="not finite"):
        swapper.swap(*wearer(swapper.crop))


def test_one_network_file_may_be_named(tmp_path: Path) -> None:
    weights = onnx_models.lite(tmp_path / "weights")
    (weights / "lite128-int8.onnx").write_bytes((weights / "lite128.onnx").read_bytes())
    assert "int8" not in open_lite(tmp_path, weights / "lite128.onnx").licence
    assert "int8" in open_lite(tmp_path, weights / "lite128-int8.onnx").licence
    (weights / "other.onnx").write_bytes((weights / "lite128.onnx").read_bytes())
    with pytest.raises(ModelFileError, match=r"found none at .*other\.onnx"):
        open_lite(tmp_path, weights / "other.onnx")


def test_quantised_weights_are_preferred(tmp_path: Path) -> None:
    weights = onnx_models.lite(tmp_path / "weights")
    assert "int8" not in open_lite(tmp_path, weights).licence
    (weights / "lite128-int8.onnx").write_bytes((weights / "lite128.onnx").read_bytes())
    assert "int8" in open_lite(tmp_path, weights).licence


def test_without_weights_lite_says_so_and_auto_takes_mesh_with_a_note(tmp_path: Path) -> None:
    empty = Store(tmp_path / "cache", cards={})
    with pytest.raises(ModelFileError, match="--swap mesh"):
        swap.load("lite", SwapConfig(swap="lite"), empty)
    chosen = swap.choose(SwapConfig(swap="auto"), empty)
    assert (chosen.name, type(chosen.swapper).__name__) == ("mesh", "MeshSwapper") and "lite" in chosen.note
    assert swap.choose(SwapConfig(swap="mesh"), empty).note == ""
    with pytest.raises(ModelFileError):
        swap.choose(SwapConfig(swap="lite"), empty)


def shipped(name: str, path: Path) -> Card:
    data = path.read_bytes()
    return Card(name, path.name, "test", "Apache-2.0", hashlib.sha256(data).hexdigest(), len(data), (), ("swap/lite",), True)


def test_auto_takes_the_weights_that_come_with_livecam_and_refuses_altered_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = onnx_models.lite(tmp_path / "weights")
    monkeypatch.setattr(store, "WEIGHTS", weights)
    files = {"lite128": "lite128.onnx", "lite128_mapper": "lite128-mapper.safetensors"}
    cards = {name: shipped(name, weights / file) for name, file in files.items()}
    chosen = swap.choose(SwapConfig(swap="auto"), Store(tmp_path / "cache", cards=cards))
    assert (chosen.name, chosen.note) == ("lite", "") and "Apache-2.0" in chosen.swapper.licence
    assert Store(tmp_path / "cache", cards=cards).missing(("swap/lite",)) == ()
    data = bytearray((weights / "lite128.onnx").read_bytes())
    data[-5] ^= 1
    (weights / "lite128.onnx").write_bytes(data)
    chosen = swap.choose(SwapConfig(swap="auto"), Store(tmp_path / "cache", cards=cards))
    assert chosen.name == "mesh" and "SHA-256" in chosen.note and "install livecam again" in chosen.note
    (weights / "lite128.onnx").unlink()
    assert "install livecam again" in swap.choose(SwapConfig(swap="auto"), Store(tmp_path / "cache", cards=cards)).note


def test_a_card_whose_crop_is_not_the_aligners_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = onnx_models.lite(tmp_path / "weights")
    monkeypatch.setattr(store, "WEIGHTS", weights)
    mapper = shipped("lite128_mapper", weights / "lite128-mapper.safetensors")
    for scale, good in ((0.78, True), (0.8, False)):
        crop = {"template": "arcface_112_v2", "size_px": 128, "scale": scale, "offset": [0.0, -0.06]}
        network = replace(shipped("lite128", weights / "lite128.onnx"), data={"crop": crop})
        chosen = swap.choose(SwapConfig(swap="auto"), Store(tmp_path / "cache", cards={"lite128": network, "lite128_mapper": mapper}))
        assert chosen.name == ("lite" if good else "mesh")
    assert "crop" in chosen.note


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"mapper.first.weight": np.zeros((8, 64), np.float32)}, ModelShapeError, "128"),
        ({"mapper.second.bias": np.zeros(7, np.float32)}, ModelShapeError, "expected"),
        ({"mapper.second.bias": np.full(6, np.nan, np.float32)}, ModelShapeError, "finite"),
        ({"mapper.second.bias": None}, ModelShapeError, "lacks 'mapper.second.bias'"),
    ],
)
def test_a_foreign_mapper_is_refused(tmp_path: Path, change: dict[str, np.ndarray | None], error: type[Exception], match: str) -> None:
    path = onnx_models.lite(tmp_path / "weights") / "lite128-mapper.safetensors"
    tensors = {k: v for k, v in ({**load_file(str(path)), **change}).items() if v is not None}
    save_file(tensors, str(path))
    with pytest.raises(error, match=match):
        read_mapper(path)


def test_truncated_and_foreign_weights_are_refused_by_name(tmp_path: Path) -> None:
    weights = onnx_models.lite(tmp_path / "weights")
    mapper, network = weights / "lite128-mapper.safetensors", weights / "lite128.onnx"
    whole = mapper.read_bytes()
    mapper.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError, match=r"lite128-mapper\.safetensors"):
        open_lite(tmp_path, weights)
    mapper.write_bytes(whole)
    network.write_bytes(network.read_bytes()[:700])
    with pytest.raises(ModelFileError, match=r"lite128\.onnx"):
        open_lite(tmp_path, weights)
    onnx_models.lite(weights, 256)
    (weights / "lite256.onnx").replace(network)
    with pytest.raises(ModelShapeError, match=r"lite128\.onnx.*128, 128"):
        open_lite(tmp_path, weights)


def test_another_runtime_draws_the_same_from_the_frame_on_at_which_it_is_put_on(tmp_path: Path, worn: Persona) -> None:
    swapper = open_lite(tmp_path, onnx_models.lite(tmp_path / "weights", 128, tint=0.1))
    swapper.wear(worn)
    crop, face, alignment = wearer(swapper.crop)
    before = swapper.swap(crop, face, alignment)
    made: list[Path] = []

    def remake(file: Checked, plain: Runtime) -> Runtime:
        made.append(file.path)
        assert plain is swapper._benches[128].tier.network
        return runtimes.load("onnx", file.data)

    put_on = swapper.prepare_network(remake)
    assert made == [tmp_path / "weights" / "lite128.onnx"] and swapper.runtime == "openvino"
    assert type(swapper._benches[128].tier.network).__name__ == "OpenVinoRuntime", "nothing changes before it is put on"
    put_on()
    assert type(swapper._benches[128].tier.network).__name__ == "OnnxRuntime"
    after = swapper.swap(crop, face, alignment)
    assert np.abs(after.crop.astype(int) - before.crop).max() <= 1 and np.abs(after.mask.astype(int) - before.mask).max() <= 1
    with pytest.raises(ModelShapeError, match="expected the inputs"):
        swapper.prepare_network(lambda file, _: runtimes.load("onnx", onnx_models.lite(tmp_path / "other", 256) / "lite256.onnx"))
