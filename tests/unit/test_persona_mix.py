"""`persona new`: another person, mixed from those that ship, in a file that is a persona like any other."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from livecam import persona
from livecam.cli import main
from livecam.errors import PersonaError
from livecam.persona import Mixed, Sliders, _mix
from livecam.persona._warp import CHEEKS, EYES, INNER_LIPS, Warp, skin_colour
from livecam.types import Persona

SEED = 3


@pytest.fixture(scope="module")
def mixed() -> Mixed:
    return persona.mix(SEED)


@pytest.fixture(scope="module")
def loaded(mixed: Mixed, tmp_path_factory: pytest.TempPathFactory) -> Persona:
    path = tmp_path_factory.mktemp("mixed") / "one.safetensors"
    persona.write(path, mixed.tensors, mixed.metadata)
    return persona.load(path)


@lru_cache(maxsize=1)
def parents() -> tuple[_mix._Parent, ...]:
    return _mix._read_parents()[0]


def plan_of(seed: int, **sliders: float) -> _mix._Plan:
    return _mix._plan(parents(), seed, Sliders(**sliders))


def test_it_is_a_persona_that_says_where_it_comes_from(mixed: Mixed, loaded: Persona) -> None:
    texts = loaded.metadata
    assert (loaded.kind, texts["seed"], texts["maker"]) == ("synthetic", str(SEED), "livecam persona new")
    shares = json.loads(texts["parents"])
    assert set(shares) <= set(persona.names()) and len(shares) == 3
    assert min(shares.values()) > 0 and abs(sum(shares.values()) - 1) < 1e-3
    assert json.loads(texts["parts"])["skin"] in shares
    assert mixed.portrait.shape == (640, 640, 3) and 18 <= int(texts["age"]) <= 80


def test_the_landmarks_are_where_the_picture_has_them(loaded: Persona) -> None:
    """Irises are dark against the white beside them, cheeks are skin, the open mouth is not."""
    picture, mesh = loaded.images["neutral"], loaded.meshes["neutral"]
    for eye, centre in zip(EYES, (468, 473), strict=True):
        iris = picture[tuple(np.rint(mesh[centre, 1::-1]).astype(int))].astype(int)
        corners = mesh[[eye[0], eye[8]], :2]
        white = picture[tuple(np.rint((mesh[centre, :2] + 0.62 * (corners[0] - mesh[centre, :2]))[::-1]).astype(int))]
        assert iris.mean() < white.mean() - 15
    opened, lips = loaded.images["open_mouth"], loaded.meshes["open_mouth"][list(INNER_LIPS), :2]
    inside = opened[tuple(np.rint(lips.mean(axis=0)[::-1]).astype(int))].astype(float)
    cheeks = np.exp(skin_colour(opened, loaded.meshes["open_mouth"])) - 4
    assert np.abs(inside - cheeks).max() > 20


def test_the_same_seed_is_the_same_person_and_another_is_another(mixed: Mixed) -> None:
    again, other = persona.mix(SEED), persona.mix(SEED + 8)
    assert dict(again.metadata) == dict(mixed.metadata)
    assert all(np.array_equal(again.tensors[key], value) for key, value in mixed.tensors.items())
    assert np.abs(other.tensors["neutral_mesh"] - mixed.tensors["neutral_mesh"]).max() > 3
    assert np.abs(other.portrait.astype(int) - mixed.portrait).mean() > 5


def test_it_is_none_of_its_parents(mixed: Mixed) -> None:
    for which in json.loads(mixed.metadata["parents"]):
        parent = persona.load(which)
        assert np.abs(parent.meshes["neutral"] - mixed.tensors["neutral_mesh"])[:468, :2].max() > 3


@pytest.mark.parametrize("seed", range(12))
def test_sliders_lead_the_choice_of_parents(seed: int) -> None:
    ages = [float(plan.weights @ [p.age for p in plan.parents]) for plan in (plan_of(seed, age=20), plan_of(seed, age=75))]
    assert ages[1] > ages[0] + 8
    shares = [float(plan.weights @ [p.masculine for p in plan.parents]) for plan in (plan_of(seed, masculine=0), plan_of(seed, masculine=1))]
    assert shares[0] < 0.35 and shares[1] > 0.65
    skins = [plan.parents[plan.skin].tone for plan in (plan_of(seed, tone=0), plan_of(seed, tone=1))]
    assert skins[0] < 0.6 and skins[1] > skins[0] + 0.2


def test_tone_moves_the_skin_and_nothing_else_of_the_plan() -> None:
    light, dark = persona.mix(SEED, Sliders(tone=0.15, masculine=0)), persona.mix(SEED, Sliders(tone=0.85, masculine=0))
    cheeks = [skin_colour(m.portrait, m.tensors["neutral_mesh"]) for m in (light, dark)]
    assert float((cheeks[0] - cheeks[1]).mean()) > 0.4
    assert light.metadata["masculine"] <= "0.35" and json.loads(light.metadata["sliders"]) == {"tone": 0.15, "masculine": 0}


def test_a_warp_takes_landmarks_to_landmarks() -> None:
    rng = np.random.default_rng(1)
    source = rng.uniform(60, 260, (40, 2)).astype(np.float32)
    target = (source + rng.normal(0, 1.5, (40, 2)) + np.float32(4)).astype(np.float32)
    picture = np.zeros((320, 320, 3), np.uint8)
    x, y = np.meshgrid(np.arange(320), np.arange(320))
    picture[..., 0], picture[..., 1] = (x * 0.75).astype(np.uint8), (y * 0.75).astype(np.uint8)
    moved = Warp(target, (320, 320))(picture, source)
    at = np.rint(target).astype(int)
    found = moved[at[:, 1], at[:, 0], :2] / 0.75
    assert np.abs(found - source).mean() < 2.0
    assert np.abs(moved[0].astype(int) - picture[0]).max() <= 2


def test_too_few_parents_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mix._files, "names", lambda: ("ada", "mei"))
    with pytest.raises(PersonaError, match="at least 4"):
        persona.mix(1)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    try:
        main(list(words))
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    out = capsys.readouterr()
    return code, out.out, out.err


def test_new_writes_the_file_and_its_portrait_and_replaces_nothing(
    mixed: Mixed, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVECAM_OFFLINE", "1")
    monkeypatch.setattr(persona, "mix", lambda *_: mixed)
    path = tmp_path / "dora.safetensors"
    words = ("persona", "new", "--seed", str(SEED), "-o", str(path), "--cache-dir", str(tmp_path / "cache"))
    code, out, err = run(capsys, *words)
    assert code == 0, err
    assert str(path) in out and str(path.with_suffix(".png")) in out and f"seed {SEED}" in out
    assert "embedding" in out and persona.load(path).embedding is None
    shown = cv2.imread(str(path.with_suffix(".png")))
    assert shown is not None and np.array_equal(shown, mixed.portrait)
    before = path.read_bytes()
    code, _, err = run(capsys, *words)
    assert code == 1 and "--force" in err
    path.with_suffix(".png").unlink()
    code, _, err = run(capsys, *words)
    assert code == 1 and "--force" in err and path.read_bytes() == before and not path.with_suffix(".png").exists()
    assert run(capsys, *words, "--force")[0] == 0
    code, _, err = run(capsys, "persona", "new", "--seed", "1", "-o", str(tmp_path / "no" / "such.safetensors"))
    assert code == 1 and "such.safetensors" in err and "Traceback" not in err


@pytest.mark.parametrize(("option", "value"), [("--age", "7"), ("--tone", "1.5"), ("--masculine", "-1"), ("--character", "9"), ("--seed", "-4")])
def test_sliders_out_of_range_are_named(option: str, value: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "persona", "new", f"{option}={value}", "-o", str(tmp_path / "x.safetensors"))
    assert code == 2 and option in err and not list(tmp_path.iterdir())


def test_cheeks_are_points_of_the_mesh() -> None:
    assert max(CHEEKS) < 468
