"""The learnt map of shapes: what it does to an offset, what files it refuses, and how it is learnt from pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from livecam import persona
from livecam.config import RunConfig
from livecam.errors import ModelFileError
from livecam.store import Store
from livecam.swap import _mesh_map
from livecam.swap import _mesh_shape as shape
from livecam.swap import _mesh_triangles as topology
from livecam.types import MESH_POINTS


def rest_of(name: str) -> np.ndarray:
    neutral = persona.load(name).meshes["neutral"]
    return (neutral[:MESH_POINTS] - neutral[list(shape.RIGID)].mean(axis=0)).astype(np.float32)


def test_a_persona_on_somebody_of_its_own_shape_hardly_moves_anything() -> None:
    learnt = _mesh_map.shipped()
    still = np.abs(learnt.apply(np.zeros((MESH_POINTS, 3), np.float32)))
    apart = np.abs(learnt.apply(rest_of("bruno") / 200 - rest_of("mei") / 200))
    assert still[:, :2].mean() < 0.02 < apart[:, :2].max()


def test_it_goes_the_way_of_the_offset_but_not_all_of_it() -> None:
    learnt, rng = _mesh_map.shipped(), np.random.default_rng(0)
    names = persona.names()
    given, made = [], []
    for _ in range(40):
        a, b = rng.choice(len(names), 2, replace=False)
        first, second = (rest_of(names[k]) for k in (a, b))
        unit = float(np.linalg.norm(first[263] - first[33]) * 0.72)
        offset = (first - second) / np.float32(unit)
        given.append(offset[:, :2].ravel())
        made.append(learnt.apply(offset)[:, :2].ravel())
    x, y = np.array(given), np.array(made) - np.mean(made, axis=0)
    slope = float((x * y).sum() / (x * x).sum())
    assert 0.1 < slope < 0.9


def test_a_caricature_is_not_carried_over_as_one() -> None:
    learnt = _mesh_map.shipped()
    offset = (rest_of("bruno") - rest_of("mei")) / np.float32(200)
    far, further = learnt.apply(2000 * offset), learnt.apply(4000 * offset)
    assert np.allclose(far, further, atol=1e-4) and np.abs(far[:, :2]).max() < 0.5


def test_nothing_moves_at_the_outline() -> None:
    rest = rest_of("noor")
    transfer = shape.make_transfer(rest, _mesh_map.shipped())
    added = transfer.apply(rest - rest_of("kenji"))
    assert np.abs(added[list(topology.OVAL)]).max() == 0.0
    assert 0.002 < np.abs(added[:, :2]).max() / transfer.unit < 0.25


@pytest.mark.parametrize("broken", ["truncated", "foreign", "shapes", "values"])
def test_a_damaged_file_is_one_error(tmp_path: Path, broken: str) -> None:
    good = Store(RunConfig().cache_dir).path("mesh_shape")
    path = tmp_path / "shape.safetensors"
    parts = load_file(str(good))
    if broken == "truncated":
        path.write_bytes(good.read_bytes()[:1000])
    elif broken == "foreign":
        save_file(parts, str(path), {"format": "something else"})
    elif broken == "shapes":
        save_file(parts | {"give": parts["give"][:, :9].copy()}, str(path), {"format": _mesh_map.FORMAT})
    else:
        parts["base"][0] = np.nan
        save_file(parts, str(path), {"format": _mesh_map.FORMAT})
    with pytest.raises(ModelFileError, match="install livecam again"):
        _mesh_map.read(path)


def pairs_of(count: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Offsets of three kinds, answers that are a third of the first kind, and nothing of the others."""
    rng = np.random.default_rng(1)
    kinds = rng.normal(size=(3, MESH_POINTS, 3))
    share = rng.normal(size=(count, 3)) * (0.03, 0.05, 0.04)
    offset = np.tensordot(share, kinds, 1)
    moved = share[:, :1, None] * kinds[0] / 3 + 0.01 + rng.normal(0, noise, offset.shape)
    return offset, moved, np.full(count, 4), np.arange(count)


def test_it_is_learnt_from_pairs_and_judged_on_other_personas(tmp_path: Path) -> None:
    training = pytest.importorskip("engines.train.shape", reason="the engines group is not installed")
    data = training.Measured(*pairs_of(200, 0.005))
    figures = training.judge(data)
    assert figures["error"] < 0.7 * figures["error_without"] and figures["pairs"] == 200
    made = training.fit(data, np.ones(200, bool))
    assert np.abs(training.applied(made, data.offset[:5]) - data.moved[:5]).mean() < 0.02
    path = training.write(tmp_path / "out", tmp_path / "cards", made, figures)
    again = _mesh_map.read(path)
    assert np.abs(training.applied(again, data.offset[3:4]) - training.applied(made, data.offset[3:4])).max() < 0.01
    assert "mesh_shape" in (tmp_path / "cards" / "mesh_shape.toml").read_text()


def test_a_folder_without_pairs_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = pytest.importorskip("engines.train.shape", reason="the engines group is not installed")
    assert training.main(["--data", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert json.dumps(sorted(p.name for p in tmp_path.iterdir())) == "[]"
