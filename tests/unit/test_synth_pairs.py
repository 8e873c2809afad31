"""engines.synth: random adults, hybrids, scenes, and the training set's files."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pairs_fixture
import pytest
from synth_data import needs_assets

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
pytest.importorskip("numba", reason="the renderer needs numba")

from engines.synth import assets, cast, hybrid, pairs, parsing, picture, redraw, sampler, scenes, sheet  # noqa: E402
from engines.synth.camera import Settings as CameraSettings  # noqa: E402
from engines.synth.expression import Pose  # noqa: E402
from engines.synth.person import Person  # noqa: E402
from engines.synth.scene import Occlusion  # noqa: E402
from engines.synth.skin import SkinMaps, from_bytes, tone_density  # noqa: E402

MAPS = 128


# -- sampler and scenes ---------------------------------------------------------------------


def test_people_are_adults_of_all_tones_and_the_same_by_seed():
    people = [sampler.sample(k) for k in range(200)]
    assert people[7] == sampler.sample(7)
    assert people[7].look != people[8].look
    ages = [p.look.shape.age_years for p in people]
    assert min(ages) >= 18
    assert max(ages) <= 75
    tones = np.array([p.look.skin.melanin for p in people])
    assert tones.min() < 0.12
    assert tones.max() > 0.75
    assert all(p.look.skin.beard == 0 for p in people if p.look.shape.gender < 0.4)
    assert 0.08 < np.mean([bool(p.flags["beard"]) for p in people]) < 0.30
    assert {"tone", "beard", "fringe", "glasses"} <= people[0].flags.keys()


def test_scenes_are_the_same_by_seed_and_within_bounds():
    some = [scenes.sample(np.random.default_rng(k)) for k in range(300)]
    assert some[3] == scenes.sample(np.random.default_rng(3))
    yaw = np.array([s.pose.head_deg[0] for s in some])
    assert np.abs(yaw).max() <= 45
    assert np.mean(np.abs(yaw) < 20) > 0.55, "most look to the front"
    assert all(0 <= v <= 1 for s in some for v in s.pose.actions.values())
    shut = np.mean([s.pose.actions.get("eyeBlinkLeft", 0) > 0.3 for s in some])
    assert 0.12 < shut < 0.30
    assert np.mean([s.pose.actions.get("jawOpen", 0) > 0.25 for s in some]) > 0.15
    tongue = np.mean([s.pose.actions.get("tongueOut", 0) > 0 for s in some])
    assert 0 < tongue < 0.06


def test_metering_brings_faces_to_one_brightness():
    levels = []
    for k in range(200):
        light = scenes.sample_light(np.random.default_rng(k))
        if light.name == "random":
            levels.append(light.exposure * scenes.facing_light(light))
    assert np.median(levels) == pytest.approx(scenes.METERED, rel=0.1)
    assert np.std(np.log(levels)) == pytest.approx(scenes.METERED_SD, rel=0.25)


def test_warm_light_is_redder_than_cold():
    warm, cold = scenes.kelvin(2700), scenes.kelvin(9000)
    assert warm[0] > warm[2] * 2
    assert cold[2] > cold[0]
    assert warm.mean() == pytest.approx(1, abs=1e-5)


@needs_assets
def test_actions_exist():
    from engines.synth.expression import action_names

    known = set(action_names())
    for k in range(200):
        assert scenes.sample_actions(np.random.default_rng(k)).keys() <= known


# -- hybrid ---------------------------------------------------------------------------------


def _actor(seed: int, level: int) -> cast.Actor:
    """Somebody without glasses, with plain skin maps and occlusion: nothing is painted or baked."""
    look = replace(sampler.sample(seed).look, glasses=None)
    rng = np.random.default_rng(level)
    maps = SkinMaps(rng.integers(level, level + 40, (MAPS, MAPS, 3), dtype=np.uint8), np.full((MAPS, MAPS, 2), level // 4, np.int8),
                    np.full((MAPS, MAPS), level, np.uint8), np.zeros((MAPS, MAPS, 3), np.uint8))
    person = Person(look, assets.find_assets(), maps)
    count = person.part_start[-1]
    layers = tuple(np.full(len(p.binding.corners), level / 255, np.float32) for p in person.layers)
    value = np.full(count, level / 255, np.float32)
    return cast.Actor(person, Occlusion(value, value, layers))


@pytest.fixture(scope="module")
def couple() -> tuple[cast.Actor, cast.Actor, cast.Actor]:
    """Wearer, persona, and their hybrid."""
    a, b = _actor(0, 180), _actor(51, 90)
    return a, b, cast.Actor(hybrid.wear(a.person, b.person), hybrid.blend_occlusion(a.person, b.person, a.occlusion, b.occlusion))


def test_align_finds_a_similarity_again():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(50, 3)).astype(np.float32)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    target = (1.3 * source @ turn.T + [1, -2, 3]).astype(np.float32)
    target[40:] += 5  # what does not count may lie anywhere
    weight = np.ones(50, np.float32)
    weight[40:] = 0
    assert np.abs(hybrid.align(source, target, weight) - target)[:40].max() < 1e-4


@needs_assets
def test_face_weight_covers_the_face_and_nothing_else():
    from engines.synth.expression import joints
    from engines.synth.identity import base_mesh, local_offsets
    from engines.synth.labels import LEFT_EYE_CORNERS, MOUTH_CORNERS, NOSE_TIP, OVAL_VERTICES

    w, drawn = hybrid.face_weight(), hybrid.drawn_weight()
    p = base_mesh().vertices
    assert (w[[NOSE_TIP, *MOUTH_CORNERS, *LEFT_EYE_CORNERS]] == 1).all()
    assert w[list(OVAL_VERTICES)].max() < 0.5, "it ends at the oval"
    ears = np.abs(local_offsets("ears/ear-scale", 1.0)).max(1) > 0.06
    assert w[ears].max() == 0
    assert drawn[ears].max() == 0
    skin = np.arange(len(p)) < 13380
    assert w[skin & (p[:, 2] < 0.1)].max() == 0, "back of the head"
    assert w[skin & (p[:, 1] < 6.0)].max() == 0, "neck"
    assert w[joints()["neck"]].max() == 0
    assert (drawn >= w).all()


@needs_assets
def test_hybrid_is_the_wearer_outside_and_the_persona_inside(couple):
    a, b, h = couple
    w = hybrid.face_weight()
    assert np.array_equal(h.person.neutral[w == 0], a.person.neutral[w == 0])
    aligned = hybrid.align(b.person.neutral, a.person.neutral, w)
    assert np.abs(h.person.neutral - aligned)[w == 1].max() < 1e-6
    assert np.abs(h.person.neutral - a.person.neutral)[w == 1].max() > 0.02
    pose = Pose({"jawOpen": 0.5, "mouthSmileLeft": 0.5}, (5.0, 0.0), (20.0, -5.0, 3.0))
    ours, theirs = a.person.pose(pose), h.person.pose(pose)
    assert np.abs(theirs.layers[-1] - ours.layers[-1]).max() == 0, "hair"
    cloth = slice(a.person.part_start[4], None)
    assert np.array_equal(theirs.opaque[cloth], ours.opaque[cloth])
    assert np.array_equal(theirs.base[w == 0], ours.base[w == 0])


@needs_assets
def test_hybrid_skin_takes_the_wearers_tone(couple):
    a, b, h = couple
    w = hybrid.texture_weight(MAPS)
    ours, mixed = a.person.skin_maps, h.person.skin_maps
    assert np.array_equal(mixed.albedo[w == 0], ours.albedo[w == 0])
    assert np.array_equal(mixed.gloss[w == 0], ours.gloss[w == 0])
    assert np.array_equal(mixed.gloss[w == 1], b.person.skin_maps.gloss[w == 1])
    shift = np.exp(tone_density(b.person.look.skin) - tone_density(a.person.look.skin))
    want = np.clip(from_bytes(b.person.skin_maps.albedo[w == 1]) * shift, 0, 1)
    assert np.abs(from_bytes(mixed.albedo[w == 1]) - want).max() < 0.006
    plain = hybrid.blend_maps(a.person, b.person, keep_tone=False)
    assert np.abs(plain.albedo[w == 1].astype(int) - b.person.skin_maps.albedo[w == 1]).max() <= 1


@needs_assets
def test_hybrid_occlusion_is_mixed_by_weight(couple):
    a, _, h = couple
    count = len(a.person.skin_top.base)
    w = hybrid.face_weight()[a.person.skin_top.base]
    shut = h.occlusion.shut[:count]
    assert shut[w == 0] == pytest.approx(180 / 255)
    assert shut[w == 1] == pytest.approx(90 / 255)
    eyes = slice(h.person.part_start[1], h.person.part_start[2])
    assert h.occlusion.shut[eyes] == pytest.approx(90 / 255)
    assert len(h.occlusion.shut) == h.person.part_start[-1]
    assert [len(x) for x in h.occlusion.layers] == [len(p.binding.corners) for p in h.person.layers]


@needs_assets
def test_a_shot_differs_within_the_oval_alone(couple):
    a, _, h = couple
    scene = scenes.sample(np.random.default_rng(5))
    scene = scenes.Scene(Pose({"jawOpen": 0.3}, (0.0, 0.0), (6.0, 2.0, -4.0)), scene.light, 90.0, 6.0, (0.0, 0.0), CameraSettings(), 3, 4, 17)
    shot = picture.shoot(a, h, scene)
    outside = shot.oval == 0
    assert np.array_equal(shot.wearer[outside], shot.truth[outside])
    inside = (shot.oval > 0.95) & (shot.veil < 0.05)
    assert inside.sum() > 1000
    assert np.abs(shot.wearer[inside].astype(int) - shot.truth[inside]).mean() > 2
    hidden = (shot.veil > 0.995) & (shot.classes == parsing.OCCLUDER)
    assert hidden.sum() > 200
    assert np.abs(shot.wearer[hidden].astype(int) - shot.truth[hidden]).max() <= 3, "the same thing before both"
    open_view = picture.shoot(a, h, replace(scene, occluder_seed=-1, face_px=120.0))
    assert set(np.unique(open_view.classes).tolist()) >= {
        parsing.BACKGROUND, parsing.SKIN_CLASS, parsing.BROWS, parsing.EYES, parsing.HAIR, parsing.LIPS, parsing.BODY}
    x, y = np.rint(shot.of_wearer.five_px[2]).astype(int)
    assert abs(x - shot.wearer.shape[1] / 2) < 30
    assert shot.oval[y, x] == pytest.approx(1, abs=0.01)
    alone = picture.portray(a, scene)
    assert np.array_equal(alone.wearer, shot.wearer)
    assert np.array_equal(alone.classes, shot.classes)
    again = picture.shoot(a, h, scene)
    assert np.array_equal(again.truth, shot.truth)
    assert np.array_equal(again.classes, shot.classes)


# -- the set's files ------------------------------------------------------------------------


class FakeStudio(pairs.Studio):
    """Draws nothing: every third scene is lost, the others hold their seed."""

    def __init__(self, settings, assets_):
        del assets_
        self._settings = settings

    def sample(self, a, b, seed):
        if seed % 3 == 2:
            return None
        square = np.full((8, 8), seed % 250, np.uint8)
        three = np.repeat(square[..., None], 3, 2)
        row = {name: three for name in ("wearer", "truth", "mesh")} | {name: square // 30 for name in ("mesh_mask", "oval", "occluder", "classes")}
        return row | {"a": np.int32(a), "b": np.int32(b), "seed": np.int64(seed)}

    def describe(self):
        return {"held_out": self._settings.held_out, "seed": self._settings.seed}


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(pairs, "Studio", FakeStudio)


def _load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as data:
        return dict(data)


def test_shards_hold_what_was_asked_for(tmp_path, fake):
    settings = pairs.Settings(tmp_path, 70, seed=4, identities=9, personas=5)
    assert pairs.make_pairs(settings, Path()) == 2
    first, last = _load(tmp_path / "pairs-00000.npz"), _load(tmp_path / "pairs-00001.npz")
    assert first["wearer"].shape == (pairs.SHARD, 8, 8, 3)
    assert len(last["seed"]) == 70 - pairs.SHARD
    assert len(np.unique(first["seed"])) == pairs.SHARD
    assert not set(first["seed"]) & set(last["seed"])
    assert (first["seed"] % 3 != 2).all()
    assert first["a"].max() < 9
    assert first["b"].max() < 5
    assert (first["wearer"][:, 0, 0, 0] == first["seed"] % 250).all(), "rows stay together"
    assert json.loads((tmp_path / "set.json").read_text())["seed"] == 4
    assert not list(tmp_path.glob("*.part*"))


def test_a_set_goes_on_where_it_stopped_and_is_shared(tmp_path, fake):
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    pairs.make_pairs(pairs.Settings(whole, 256, seed=2), Path())
    for part in (1, 0):
        pairs.make_pairs(pairs.Settings(shared, 256, seed=2, part=part, parts=2), Path(), resume=True)
    (shared / "pairs-00002.npz").unlink()
    with pytest.raises(assets.AssetsError, match="--resume"):
        pairs.make_pairs(pairs.Settings(shared, 256, seed=2), Path())
    assert pairs.make_pairs(pairs.Settings(shared, 256, seed=2), Path(), resume=True) == 1
    for number in range(4):
        one, other = (_load(folder / f"pairs-{number:05d}.npz") for folder in (whole, shared))
        assert all(np.array_equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(("change", "message"), [
    ({"size": 128}, "--size 256"), ({"face_px": 300.0}, "--face 40 to 256"),
    ({"count": 0}, "at least one sample"), ({"part": 2, "parts": 2}, "--part K/N"),
    ({"held_out": True}, "other people")])
def test_settings_that_cannot_be_met(tmp_path, change, message):
    (tmp_path / "set.json").write_text('{"held_out": false}')
    with pytest.raises(assets.AssetsError, match=message):
        pairs.check(pairs.Settings(**({"out": tmp_path, "count": 10} | change)))


def test_held_out_people_are_others(tmp_path):
    train, held = pairs.Settings(tmp_path, 1), pairs.Settings(tmp_path, 1, held_out=True)
    seeds = [{pairs.wearer(s, k).seed for k in range(60)} | {pairs.persona_seed(s, k, t) for k in range(60) for t in range(pairs.MOST_TRIES)}
             for s in (train, held)]
    assert not seeds[0] & seeds[1]
    bare = [pairs.bare_forehead(sampler.sample(k).look) for k in range(40)]
    assert all(look.hair not in sampler.FRINGED_HAIR for look in bare)
    assert all(look.fringe is not None and look.fringe >= pairs.BARE_FRINGE_DM for look in bare)


def test_sheet_shows_every_row(tmp_path, fake):
    pairs.make_pairs(pairs.Settings(tmp_path, 10), Path())
    sheet.write_sheet(tmp_path, tmp_path / "sheet.jpg", columns=4, cell_px=16)
    import cv2

    assert cv2.imread(str(tmp_path / "sheet.jpg")).shape == (5 * 16, 4 * 16, 3)
    with pytest.raises(assets.AssetsError, match="pairs-"):
        sheet.write_sheet(tmp_path / "none", tmp_path / "x.jpg")


def test_redraw_writes_drawings_and_gaze_alone(tmp_path, monkeypatch):
    """Who wears whom, on which crop, reaches the swapper; what it draws and the gaze are stored, and nothing else changes."""
    folder = pairs_fixture.write(tmp_path / "set")
    before = _load(next(folder.glob("pairs-*.npz")))

    def drawn(_self, a, b, actor, crop, seen):
        known = json.loads((folder / "set.json").read_text(encoding="utf-8"))["wearers"][a]["flags"]
        expected = sampler.sample(a).look
        assert actor.look == (expected if known["glasses"] else replace(expected, glasses=None)), "as the set shows them"
        assert before["a"][k_of(crop)] == a
        assert seen.face.mesh_px is not None
        return SimpleNamespace(crop=crop // 2 + np.uint8(b), mask=crop[..., 1])

    def k_of(crop):
        return next(k for k in range(len(before["a"])) if any(np.array_equal(crop, before[w][k]) for w in ("wearer", "wearer2")))

    monkeypatch.setattr(redraw.Live, "__init__", lambda *_: None)
    monkeypatch.setattr(redraw.Live, "swap", drawn)
    monkeypatch.setattr(redraw.Cast, "actor", lambda _self, look: SimpleNamespace(look=look))
    looks = iter(range(1000))
    monkeypatch.setattr(redraw, "GazeNetwork", lambda *_: SimpleNamespace(read=lambda _eye, head, left: (next(looks) / 10, float(left))))
    assert redraw.redraw(folder, Path(), (1, 2)) == len(list(folder.glob("pairs-*.npz"))) // 2
    assert np.array_equal(before["mesh"], _load(min(folder.glob("pairs-*.npz")))["mesh"]), "another part's"
    assert redraw.redraw(folder, Path()) == len(list(folder.glob("pairs-*.npz")))
    after = _load(next(folder.glob("pairs-*.npz")))
    for k in range(len(before["a"])):
        for ending in ("", "2"):
            assert np.array_equal(after["mesh" + ending][k], before["wearer" + ending][k] // 2 + np.uint8(before["b"][k]))
            assert np.array_equal(after["mesh_mask" + ending][k], before["wearer" + ending][k][..., 1])
    assert (after["tracker_gaze"][:, :, 1] == (0.0, 1.0)).all() and len(np.unique(after["tracker_gaze"][:, :, 0])) == 2 * len(before["a"])
    same = set(before) - {"mesh", "mesh2", "mesh_mask", "mesh_mask2", "tracker_gaze"}
    assert all(np.array_equal(before[key], after[key]) for key in same)
    with pytest.raises(assets.AssetsError, match="expected a set"):
        redraw.redraw(tmp_path / "none", Path())


def test_kept_drops_what_was_used_longest_ago():
    made: list[int] = []
    kept: cast.Kept[int, SimpleNamespace] = cast.Kept(2)

    def get(key: int) -> SimpleNamespace:
        return kept.get(key, lambda: (made.append(key), SimpleNamespace(key=key))[1])

    assert [get(k).key for k in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
    assert made == [1, 2, 3, 2]
