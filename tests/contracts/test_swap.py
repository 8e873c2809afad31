"""The contract of every swapper: an aligned crop and a persona in, a crop and a mask of the same size out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_models
import persona_maker
import pytest

from livecam import persona, registry, swap
from livecam.align import align
from livecam.config import SwapConfig
from livecam.errors import LivecamError, StageError
from livecam.image import crop as crop_of
from livecam.persona.embed import FIVE_OF_MESH
from livecam.store import Store
from livecam.swap import Swapper
from livecam.types import Alignment, CropSpec, Face, Persona

NAMES = registry.names("swap")


def test_the_folder_is_the_registry() -> None:
    assert {"lite", "mesh", "onnx"} <= set(NAMES)


@pytest.fixture(scope="module")
def personas(tmp_path_factory: pytest.TempPathFactory) -> list[Persona]:
    """Two personas: shipped ones, else drawn ones; with embeddings, so that no embedder is needed."""
    folder = tmp_path_factory.mktemp("personas")
    shipped = persona.names()[:2]
    sources = shipped if len(shipped) == 2 else [persona_maker.write_drawn(folder / f"{seed}.safetensors", seed) for seed in (1, 2)]
    return [persona_maker.with_embedding(persona.load(source), seed) for seed, source in enumerate(sources)]


@pytest.fixture(params=NAMES)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Swapper]:
    yield open_swapper(request.param, tmp_path)


def open_swapper(name: str, folder: Path) -> Swapper:
    config = SwapConfig(swap=name)
    if name == "onnx":
        model, embedder = onnx_models.generator(folder / "sim.onnx", 256), onnx_models.arcface(folder / "arcface.onnx")
        config = SwapConfig(swap=name, model=str(model), embedder=str(embedder))
    if name == "lite":
        config = SwapConfig(swap=name, model=str(onnx_models.lite(folder / "weights")))
    return swap.load(name, config, Store(folder / "cache"))


def wearer(spec: CropSpec, other: Persona) -> tuple[np.ndarray, Face, Alignment]:
    """Another persona's portrait as the wearer: its picture cropped, its own landmarks."""
    mesh = other.meshes["neutral"].astype(np.float32)
    five = mesh[list(FIVE_OF_MESH), :2].copy()
    low, high = mesh[:468, :2].min(axis=0), mesh[:468, :2].max(axis=0)
    face = Face(1, np.concatenate((low, high)).astype(np.float32), five, 0.95, mesh, np.zeros((2, 2), np.float32), np.ones(2, np.float32))
    alignment = align(five, spec)
    return crop_of(np.ascontiguousarray(other.images["neutral"]), alignment), face, alignment


def test_states_its_crop_and_licence(opened: Swapper) -> None:
    spec = opened.crop
    assert isinstance(spec, CropSpec) and spec.size_px >= 64
    assert opened.licence.strip()
    align(np.array([(40, 50), (80, 50), (60, 70), (45, 90), (75, 90)], np.float32), spec)


def test_draws_the_persona_into_the_crop(opened: Swapper, personas: list[Persona]) -> None:
    opened.wear(personas[0])
    crop, face, alignment = wearer(opened.crop, personas[1])
    kept = crop.copy()
    drawn = opened.swap(crop, face, alignment)
    size = opened.crop.size_px
    assert drawn.crop.shape == (size, size, 3) and drawn.crop.dtype == np.uint8
    assert drawn.mask.shape == (size, size) and drawn.mask.dtype == np.uint8
    assert np.array_equal(crop, kept)
    assert not np.shares_memory(drawn.crop, crop)
    nose = np.rint(alignment.matrix @ (*face.five_px[2], 1.0)).astype(int)
    assert drawn.mask[nose[1], nose[0]] == 255
    covered = drawn.mask > 127
    assert 0.1 < covered.mean() < 0.95
    assert np.abs(drawn.crop[covered].astype(int) - crop[covered]).mean() > 3


def test_personas_draw_different_faces_and_switch_at_once(opened: Swapper, personas: list[Persona]) -> None:
    spec = opened.crop
    drawn = []
    for worn in personas:
        opened.wear(worn)
        drawn.append(opened.swap(*wearer(spec, personas[1])))
    both = (drawn[0].mask > 200) & (drawn[1].mask > 200)
    assert np.abs(drawn[0].crop[both].astype(int) - drawn[1].crop[both]).mean() > 2


def test_preparing_changes_nothing_until_it_is_put_on(opened: Swapper, personas: list[Persona]) -> None:
    opened.wear(personas[0])
    before = opened.swap(*wearer(opened.crop, personas[1]))
    opened.wear(personas[0])
    put_on = opened.prepare(personas[1])
    while_preparing = opened.swap(*wearer(opened.crop, personas[1]))
    put_on()
    after = opened.swap(*wearer(opened.crop, personas[1]))
    assert np.array_equal(before.crop, while_preparing.crop)
    assert np.abs(after.crop.astype(int) - before.crop)[before.mask > 200].mean() > 2


@pytest.mark.parametrize("name", NAMES)
def test_same_input_gives_the_same_drawing(name: str, personas: list[Persona], tmp_path: Path) -> None:
    results = []
    for _ in range(2):
        swapper = open_swapper(name, tmp_path)
        swapper.wear(personas[0])
        results.append(swapper.swap(*wearer(swapper.crop, personas[1])))
    assert np.array_equal(results[0].crop, results[1].crop) and np.array_equal(results[0].mask, results[1].mask)


def test_nothing_is_drawn_before_a_persona_is_worn(opened: Swapper, personas: list[Persona]) -> None:
    with pytest.raises(LivecamError):
        opened.swap(*wearer(opened.crop, personas[1]))


def test_landmarks_that_are_not_finite_are_a_stage_error(opened: Swapper, personas: list[Persona]) -> None:
    opened.wear(personas[0])
    crop, face, alignment = wearer(opened.crop, personas[1])
    mesh = np.full_like(face.mesh_px, np.nan)
    broken = Face(1, face.box_px, face.five_px, 0.9, mesh, face.gaze_deg, face.eye_open)
    with pytest.raises(StageError):
        opened.swap(crop, broken, alignment)
