"""engines.synth: glasses: drawn from the seed, fitted to any head, labelled, kept by the truth."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synth_data import needs_assets

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
pytest.importorskip("numba", reason="the renderer needs numba")

from engines.synth import (  # noqa: E402
    assets,
    cast,
    glasses,
    glasses_draw,
    glasses_fit,
    glasses_mesh,
    hybrid,
    identity,
    pairs,
    parsing,
    picture,
    sampler,
    scenes,
    shade,
)
from engines.synth.camera import Settings as CameraSettings  # noqa: E402
from engines.synth.expression import Pose, joints  # noqa: E402
from engines.synth.person import Person  # noqa: E402
from engines.synth.scene import Occlusion  # noqa: E402
from engines.synth.skin import SkinMaps  # noqa: E402

MAPS = 64
OPAQUE = glasses.Glasses("rectangular", acetate=True, rim_dm=0.045, colour_srgb=(20.0, 20.0, 22.0), second_srgb=(20.0, 20.0, 22.0))
REPRS_SHA256 = "7ececd6746a03d71"
"""Of the looks of seeds 0 to 299 as they were before anybody wore glasses."""


# -- the look ---------------------------------------------------------------------------------


def test_people_of_earlier_sets_are_the_same_but_for_glasses():
    looks = [sampler.sample(k).look for k in range(300)]
    assert hashlib.sha256("".join(map(repr, looks)).encode()).hexdigest()[:16] == REPRS_SHA256
    wearer = next(look for look in looks if look.glasses)
    assert cast.fingerprint(wearer) == cast.fingerprint(replace(wearer, glasses=None)), "what is on disk serves both"


def test_some_three_in_ten_wear_glasses_always_the_same():
    people = [sampler.sample(k) for k in range(600)]
    worn = [p.look.glasses for p in people if p.look.glasses]
    assert 0.25 < len(worn) / len(people) < 0.35
    assert all(p.flags["glasses"] == (p.look.glasses is not None) for p in people)
    assert sampler.sample(people[3].seed) == people[3]
    assert {g.shape for g in worn} == set(glasses.OUTLINES)
    dark = np.mean([max(g.through) < 0.2 for g in worn])
    tinted = np.mean([max(g.through) < 0.8 for g in worn])
    assert dark < 0.05 < tinted < 0.2
    assert min(g.opacity for g in worn) < 0.5 < max(g.opacity for g in worn)


def test_a_set_from_before_glasses_goes_on_without(tmp_path):
    index = next(k for k in range(40) if sampler.sample(k).look.glasses)
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "set.json").write_text(json.dumps({"wearers": [{"index": index, "flags": {"glasses": False}}]}), encoding="utf-8")
    assert pairs.wearer(pairs.Settings(new, 1), index) == sampler.sample(index)
    bare = pairs.wearer(pairs.Settings(old, 1), index)
    assert bare.look == replace(sampler.sample(index).look, glasses=None)
    assert bare.flags["glasses"] is False


def test_a_personas_portrait_is_bare(tmp_path):
    settings = pairs.Settings(tmp_path, 1)
    seeds = [pairs.persona_seed(settings, k, 0) for k in range(40)]
    assert any(sampler.sample(s).look.glasses for s in seeds)
    assert all(pairs.bare_forehead(sampler.sample(s).look).glasses is None for s in seeds)


def test_tortoise_has_two_colours_and_metal_parts_their_own():
    pair = replace(OPAQUE, tortoise=True, colour_srgb=(150.0, 90.0, 40.0), metal_srgb=(190.0, 164.0, 112.0))
    texture = glasses.paint(pair)
    front = texture[:glasses.TEXTURE // 2, :, 0]
    assert np.percentile(front, 95) - np.percentile(front, 5) > 60
    row = int((1 - glasses.TRIM_V) * glasses.TEXTURE)
    assert np.array_equal(texture[row, 5, :3], [190, 164, 112])
    assert np.array_equal(glasses.paint(pair), texture)


# -- the fit ----------------------------------------------------------------------------------


@needs_assets
@pytest.mark.parametrize("seed", [1, 5, 20, 10_007])
def test_glasses_fit_any_head(seed):
    base = identity.build_base(sampler.sample(seed).look.shape)
    eye, ear = base[joints()["l-eye"]].mean(0), base[glasses_fit.ear_top()]
    face = glasses_fit.relief(base, (0, 1, 2), (-1.0, float(eye[1]) - 0.8), (1.0, float(eye[1]) + 0.7))
    side = glasses_fit.relief(base, (2, 1, 0), (float(eye[2]) - 1.6, float(eye[1]) - 0.6), (float(eye[2]) + 0.4, float(eye[1]) + 0.6))
    for number, shape in enumerate(glasses.OUTLINES):
        rng = np.random.default_rng([seed, number])
        fitted = glasses_fit.fit(replace(glasses.any_glasses(rng), shape=shape), base)
        points, part = fitted.points, fitted.forward
        above = points[:, 2] - face.at(points[:, 0], points[:, 1])
        for name, least in (("rim", 0.01), ("bridge", 0.0), ("lens", 0.02)):
            assert above[np.isclose(part, glasses_fit.FORWARD_DM[name])].min() > least, f"{shape}: the {name} pierces the skin"
        pads = above[part == 0]
        assert pads.min() < 0.01 < pads.max(), f"{shape}: the pads do not touch the nose"
        lens = points[fitted.middles[0]]
        assert 0.09 < lens[2] - eye[2] - glasses_fit.CORNEA_DM < 0.26, f"{shape}: floats before the eye"
        assert abs(lens[0] - eye[0]) < 0.12
        temple = np.isclose(part, glasses_fit.FORWARD_DM["temple"]) & (points[:, 0] > 0)
        seen = temple & (points[:, 2] < eye[2] - 0.1) & (points[:, 2] > ear[2] + 0.12)
        beside = points[seen, 0] - side.at(points[seen, 2], points[seen, 1])
        assert 0.0 < beside.min() < 0.05, f"{shape}: the temple is not beside the head"
        assert np.linalg.norm(points[temple] - ear, axis=1).min() < 0.05, f"{shape}: the temple does not reach the ear"
        assert np.allclose(points[:, 0].max(), -points[:, 0].min(), atol=1e-5)


# -- in pictures ------------------------------------------------------------------------------


def _actor(seed: int, worn: glasses.Glasses | None, level: int = 180) -> cast.Actor:
    """Somebody with plain skin maps and occlusion: nothing is painted or baked."""
    maps = SkinMaps(np.full((MAPS, MAPS, 3), level, np.uint8), np.zeros((MAPS, MAPS, 2), np.int8), np.full((MAPS, MAPS), level, np.uint8),
                    np.zeros((MAPS, MAPS, 3), np.uint8))
    person = Person(replace(sampler.sample(seed).look, glasses=worn), assets.find_assets(), maps)
    value = np.full(person.part_start[-1], 0.8, np.float32)
    return cast.Actor(person, Occlusion(value, value, tuple(np.full(len(p.binding.corners), 0.8, np.float32) for p in person.layers)))


def _worn(actor: cast.Actor, other: cast.Actor) -> cast.Actor:
    return cast.Actor(hybrid.wear(actor.person, other.person),
                      hybrid.blend_occlusion(actor.person, other.person, actor.occlusion, other.occlusion))


@pytest.fixture(scope="module")
def people() -> tuple[cast.Actor, cast.Actor, cast.Actor]:
    """Wearer with glasses, the same without, persona (of a bald and of another head)."""
    return _actor(7, OPAQUE), _actor(7, None), _actor(51, None, 90)


SCENE = replace(scenes.sample(np.random.default_rng(5)), pose=Pose({}, (0.0, 0.0), (12.0, 3.0, -5.0)), face_px=130.0, shift=(0.0, 0.0),
                camera=CameraSettings(), occluder_seed=-1)


@needs_assets
def test_glasses_follow_the_head_as_one_piece(people):
    person = people[0].person
    calm = person.pose(Pose()).glasses
    turned = person.pose(Pose({"jawOpen": 1.0, "mouthSmileLeft": 1.0}, (10.0, 0.0), (30.0, 10.0, 8.0))).glasses
    assert calm is not None
    assert turned is not None
    pick = np.random.default_rng(0).integers(0, len(calm), (300, 2))
    before, after = (np.linalg.norm(p[pick[:, 0]] - p[pick[:, 1]], axis=1) for p in (calm, turned))
    assert np.allclose(before, after, atol=1e-4)
    assert people[1].person.pose(Pose()).glasses is None


@needs_assets
def test_labels_tell_frame_and_lenses_and_nothing_else_changes(people):
    with_, without = (picture.portray(actor, SCENE) for actor in people[:2])
    seen = with_.classes == parsing.GLASSES
    assert np.array_equal(with_.classes[~seen], without.classes[~seen])
    assert not (without.classes == parsing.GLASSES).any()
    person = people[0].person
    assert person.glasses is not None
    points = person.pose(SCENE.pose)
    assert points.glasses is not None
    camera = picture.camera_of(SCENE, points)
    fitted = person.glasses.fitted
    for part in (list(fitted.middles), fitted.tri[np.isclose(fitted.forward[fitted.tri[:, 0]], glasses_fit.FORWARD_DM["rim"])][::9, 0]):
        x, y, _ = camera.project(points.glasses[part])
        rows, columns = np.rint(y).astype(int), np.rint(x).astype(int)
        near = [seen[r - 1:r + 2, c - 1:c + 2].any() for r, c in zip(rows, columns, strict=True)]
        assert np.mean(near) > 0.97, "to a pixel, as these points lie on the rim's outline"
    width = np.ptp(np.flatnonzero(seen.any(0))) / SCENE.face_px
    assert 0.7 < width < 1.25
    assert np.array_equal(with_.oval, without.oval), "glasses neither open nor widen where the face may be drawn"
    assert np.array_equal(with_.veil, without.veil), "glasses are no veil"
    assert np.array_equal(with_.dense, without.dense)


@needs_assets
def test_truth_keeps_the_wearers_glasses_before_the_personas_eyes(people):
    wearer, bare, persona = people
    truth = _worn(wearer, persona)
    assert truth.person.glasses is wearer.person.glasses
    assert _worn(bare, wearer).person.glasses is None, "a persona's glasses are never worn"
    shot = picture.shoot(wearer, truth, SCENE)
    outside = shot.oval == 0
    assert np.array_equal(shot.wearer[outside], shot.truth[outside])
    own, theirs = (a.renderer.draw(SCENE.pose, picture.camera_of(SCENE, wearer.person.pose(SCENE.pose)), SCENE.light) for a in (wearer, truth))
    assert own.planes is not None
    assert theirs.planes is not None
    assert own.planes.glasses is not None
    assert theirs.planes.glasses is not None
    both = own.planes.glasses.astype(bool) & theirs.planes.glasses.astype(bool)
    assert both.sum() / (own.planes.glasses | theirs.planes.glasses).sum() > 0.98
    dark = (shot.classes == parsing.GLASSES) & (shot.wearer.max(2) < 60) & (shot.oval > 0.95)
    assert dark.sum() > 100
    assert np.median(np.abs(shot.wearer[dark].astype(int) - shot.truth[dark])) <= 6, "the frame is the same"
    lens = (shot.classes == parsing.GLASSES) & (shot.wearer.max(2) > 100) & (shot.oval > 0.95)
    assert np.abs(shot.wearer[lens].astype(int) - shot.truth[lens]).mean() > 5, "another face behind the lenses"
    again = picture.shoot(wearer, truth, SCENE)
    assert np.array_equal(again.truth, shot.truth)
    assert np.array_equal(again.classes, shot.classes)


@needs_assets
def test_dark_lenses_hide_and_cast_shadow(people):
    bare = people[1]
    clear, dark = (_actor(7, replace(OPAQUE, through=(t, t, t), through_low=(t, t, t), coat=(0.0, 0.0, 0.0))) for t in (0.95, 0.08))
    shown = [picture.portray(actor, SCENE) for actor in (bare, clear, dark)]
    five = np.rint(shown[0].of_wearer.five_px[:2]).astype(int)
    level = [np.mean([p.wearer[y - 4:y + 5, x - 4:x + 5].mean() for x, y in five]) for p in shown]
    assert level[1] > 0.8 * level[0]
    assert level[2] < 0.5 * level[0]


# -- the lens' kernel -------------------------------------------------------------------------


def _flat_lens(behind: np.ndarray, shift: float, coat: float) -> np.ndarray:
    """A flat lens over the middle of a picture (40, 40, 4), its middle at (20, 20), under a grey sky of 0.5; lets pass 0.8."""
    points = np.array([[-5, -5, 0], [5, -5, 0], [0, 9, 0]], np.float32)
    ids = np.full((40, 40), -1, np.int32)
    ids[10:30, 10:30] = 0
    out = behind.copy()
    ambient = np.zeros((4, 3), np.float32)
    ambient[0] = 0.5
    through = np.full((2, 3), 0.8, np.float32)
    normals = np.tile(np.array([0, 0, 1], np.float32), (3, 1))
    glasses_draw._lenses(
        ids, np.full((40, 40, 2), 1 / 3, np.float32), np.array([[0, 1, 2]], np.int32), 1, points, normals, np.ones(3, np.float32),
        np.array([0, -1 / 3, 1e4], np.float32), np.zeros((0, 8), np.float32), ambient, through, np.full(3, coat, np.float32),
        np.full((2, 2), 20, np.float32), shift, np.full((40, 40), -1, np.int32), behind, behind.copy(), out)
    return out


def test_a_lens_dims_and_reflects_by_the_formula():
    behind = np.full((40, 40, 4), 0.3, np.float32)
    behind[..., 3] = 0.5
    out = _flat_lens(behind, 0.0, 1.0)
    one = glasses_draw.LENS_STRENGTH
    mirrored = 2 * one / (1 + one)
    passed = 0.8 * (1 - mirrored)
    assert out[20, 20, :3] == pytest.approx(0.3 * passed + 0.5 * mirrored, abs=1e-4)
    assert out[20, 20, 3] == pytest.approx(1 - 0.5 * passed, abs=1e-4), "what is behind the person is dimmed too"
    assert np.array_equal(out[5], behind[5]), "beside the lens nothing changes"


def test_a_lens_for_the_short_sighted_makes_what_is_behind_it_smaller():
    behind = np.zeros((40, 40, 4), np.float32)
    behind[:, 14:27] = 1.0
    width = [(_flat_lens(behind, shift, 0.0)[20, 10:30, 0] > 0.4).sum() for shift in (-0.2, 0.0, 0.2)]
    assert width[0] > width[1] > width[2]


def test_hair_before_glasses_hides_them_and_their_label():
    ids = np.full((4, 4), 3, np.int32)
    empty = np.full((4, 4), -1, np.int32)
    plane, pair = np.zeros((4, 4), np.float32), np.zeros((4, 4, 2), np.float32)
    worn = glasses_draw.Worn(np.zeros((1, 3), np.float32), plane, ids, pair, plane, empty, pair, np.zeros((2, 2), np.float32))
    image, front = np.ones((4, 4, 4), np.float32), np.zeros((4, 4, 4), np.float32)
    front[0] = (0.1, 0.1, 0.1, 1.0)
    seen = glasses_draw.lay_hair(front, worn, image)
    assert seen.tolist() == [[0] * 4] + [[1] * 4] * 3
    assert image[0, 0] == pytest.approx((0.1, 0.1, 0.1, 1.0))
    assert image[1, 0] == pytest.approx((1.0, 1.0, 1.0, 1.0))


def test_frame_kinds_are_those_whose_colour_is_a_texture():
    assert {glasses_mesh.PLASTIC, glasses_mesh.METAL, glasses_mesh.GLASS_EDGE} <= {shade.TEETH, shade.TONGUE, shade.CLOTH}


# -- the GPU's rasteriser -----------------------------------------------------------------------

COMPARE = '''
import json
import numpy as np
from engines.synth import glasses, glasses_draw, glasses_fit, identity, raster, raster_cuda
base = identity.base_mesh().vertices
pair = glasses_draw.make_pair(glasses.Glasses(rim_dm=0.045), glasses_fit.fit(glasses.Glasses(rim_dm=0.045), base))
points = pair.fitted.points
middle = points[list(pair.fitted.middles)].mean(0)
def screen(p):
    return raster.project(p, (middle + np.array([0.5, 0.0, 6.0])).astype(np.float32), 150.0, 18.0, 9.5)
gpu = raster_cuda.choose("cuda")
depth = np.zeros((20, 48), np.float32)
depth[:, 30:] = 0.2
worn = []
for module in (raster, gpu):
    glasses_draw.raster = module
    worn.append(glasses_draw.find(pair, points, screen, depth))
a, b = worn
print(json.dumps({"drawn": int((a.ids >= 0).sum()), "lenses": int((a.lens_ids >= 0).sum()), "hidden": int((a.ids[:, 31:] >= 0).sum()),
                  "frame": float((a.ids == b.ids).mean()), "lens": float((a.lens_ids == b.lens_ids).mean()),
                  "front": float(np.abs(a.front - b.front).max())}))
'''


@needs_assets
def test_the_gpu_draws_the_same_glasses():
    done = subprocess.run([sys.executable, "-c", COMPARE], cwd=ROOT, capture_output=True, text=True, timeout=280,
                          env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    got = json.loads(done.stdout.splitlines()[-1])
    assert got["drawn"] > 60
    assert got["lenses"] > 60
    assert got["hidden"] == 0, "what is nearer hides them"
    assert got["frame"] > 0.97
    assert got["lens"] > 0.97
    assert got["front"] < 1e-4
