"""The learnt map of shapes: what it does to an offset, what files it refuses, and how it is learnt from pairs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

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


def shapes_of(rest: np.ndarray, now: np.ndarray) -> _mesh_map.Shapes:
    """A persona's and a wearer's meshes, in the unit of the map."""
    unit = np.float32(np.linalg.norm(rest[[33, 133]].mean(axis=0) - rest[[362, 263]].mean(axis=0)))
    return _mesh_map.Shapes(now / unit, (rest - now) / unit, rest / unit, np.eye(3), np.full(2, 0.8))


def test_a_persona_on_somebody_of_its_own_shape_hardly_moves_anything() -> None:
    learnt = _mesh_map.shipped()
    still = np.abs(learnt.apply(shapes_of(rest_of("mei"), rest_of("mei"))))
    apart = np.abs(learnt.apply(shapes_of(rest_of("bruno"), rest_of("mei"))))
    assert still.mean() < 0.02 < apart.max()


def test_it_goes_the_way_of_the_offset_but_not_all_of_it() -> None:
    learnt, rng = _mesh_map.shipped(), np.random.default_rng(0)
    names = persona.names()
    given, made = [], []
    for _ in range(40):
        a, b = rng.choice(len(names), 2, replace=False)
        shapes = shapes_of(rest_of(names[a]), rest_of(names[b]))
        given.append(shapes.offset[:, :2].ravel())
        made.append(learnt.apply(shapes).ravel())
    x, y = np.array(given), np.array(made) - np.mean(made, axis=0)
    slope = float((x * y).sum() / (x * x).sum())
    assert 0.1 < slope < 0.9


def test_a_caricature_is_not_carried_over_as_one() -> None:
    learnt = _mesh_map.shipped()
    shapes = shapes_of(rest_of("bruno"), rest_of("mei"))
    far, further = (learnt.apply(replace(shapes, offset=k * shapes.offset)) for k in (2000, 4000))
    assert np.allclose(far, further, atol=1e-4) and np.abs(far).max() < 0.5


def test_what_is_kept_of_slow_shapes_changes_nothing() -> None:
    learnt = _mesh_map.shipped()
    shapes = shapes_of(rest_of("bruno"), rest_of("mei"))
    kept = learnt.slow(shapes.offset, shapes.rest)
    assert np.array_equal(learnt.apply(shapes), learnt.apply(shapes, kept))


def test_nothing_moves_at_the_outline() -> None:
    rest, wearer = rest_of("noor"), rest_of("kenji")
    transfer = shape.make_transfer(rest, _mesh_map.shipped())
    added = transfer.apply(wearer, wearer, np.eye(3), np.full(2, 0.8))
    assert np.abs(added[list(topology.OVAL)]).max() == 0.0 and np.abs(added[:, 2]).max() == 0.0
    assert 0.002 < np.abs(added[:, :2]).max() / transfer.unit < 0.25
    assert np.array_equal(added, transfer.apply(wearer, wearer, np.eye(3), np.full(2, 0.8), transfer.slow(wearer)))


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
        parts["base"][0] = np.float16(np.nan)
        save_file(parts, str(path), {"format": _mesh_map.FORMAT})
    with pytest.raises(ModelFileError, match="install livecam again"):
        _mesh_map.read(path)


def samples_of(training: Any, count: int, seed: int) -> Any:
    """Shapes of three kinds, and answers that are a third of the first kind, and nothing of the others."""
    rng = np.random.default_rng(seed)
    kinds = np.random.default_rng(0).normal(size=(3, MESH_POINTS, 3)).astype(np.float32)
    share = (rng.normal(size=(count, 3)) * (0.03, 0.05, 0.04)).astype(np.float32)
    rest = np.tensordot(share, kinds, 1) + kinds[0]
    mean = np.tensordot(0.3 * share[::-1], kinds, 1)
    now = mean + rng.normal(0, 0.01, rest.shape).astype(np.float32)
    moved = (share - 0.3 * share[::-1])[:, :1, None] * kinds[0, :, :2] / 3 + np.float32(0.01)
    turn = np.tile(np.eye(3), (count, 1, 1))
    return training.Measured(now, mean, rest, turn, np.full((count, 2), 0.8), moved.astype(np.float32))


def test_it_is_learnt_from_samples_and_judged_on_others(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the engines group is not installed")
    training = pytest.importorskip("engines.train.shape", reason="the engines group is not installed")
    data, held = samples_of(training, 400, 1), samples_of(training, 50, 2)
    made = training.fit(data, epochs=12)
    figures = training.judge(made, held)
    assert figures["held_out_error"] < 0.7 * figures["held_out_error_without"] and figures["held_out_samples"] == 50
    path = training.write(tmp_path / "out", tmp_path / "cards", made, figures)
    again = _mesh_map.read(path)
    assert np.abs(training.applied(again, held) - training.applied(training.rounded(made), held)).max() == 0.0
    assert np.abs(training.applied(again, held) - training.applied(made, held)).max() < 0.01
    assert "mesh_shape" in (tmp_path / "cards" / "mesh_shape.toml").read_text()


def test_a_folder_without_pairs_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="the engines group is not installed")
    training = pytest.importorskip("engines.train.shape", reason="the engines group is not installed")
    assert training.main(["--data", str(tmp_path), "--held", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert json.dumps(sorted(p.name for p in tmp_path.iterdir())) == "[]"
