"""engines.synth: compiled passes against the plain formulas that they stand for; no assets and no anny needed."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
pytest.importorskip("numba", reason="the renderer needs numba")

from engines.synth import _things, camera, film, lanes, occluders, raster, scenes, screen, shade
from engines.synth.light import ROOM_DAY


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(8)


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=0)


def test_a_lamp_on_lanes_is_the_plain_formula(rng):
    block = rng.uniform(0.05, 1, (lanes.ROWS, lanes.LANES))
    for row in (lanes.NX, lanes.MX, lanes.VX):
        block[int(row) // lanes.LANES:][:3] = _unit(rng.normal(size=(3, lanes.LANES)))
    for row in (lanes.DR, lanes.SR):
        block[int(row) // lanes.LANES:][:3] = 0
    block[int(lanes.SKIN_ROW) // lanes.LANES] = rng.random(lanes.LANES) < 0.5
    lamp = np.array([*_unit(rng.normal(size=3)), 0.9, 0.6, 0.4, 0.7, 5.0])
    got = block.astype(np.float32).reshape(-1)
    lanes.add_lamp(got, np.uintp(lanes.LANES), lamp.astype(np.float32), False)

    def row(name: np.uintp, count: int = 1) -> np.ndarray:
        return np.squeeze(block[int(name) // lanes.LANES:][:count])

    occ = row(lanes.OCC)
    lit = (0.25 + 0.75 * occ) * (0.55 + 0.45 * occ)
    for k in range(3):
        wrap = block[int(lanes.WR) // lanes.LANES + k]
        d = np.maximum((lamp[:3] @ row(lanes.NX, 3) + wrap) / (1 + wrap), 0)
        share = np.where(row(lanes.SKIN_ROW) > 0, lit * (1.35 - 0.35 * lit), lit) if k == 0 else lit
        want = d * d / (d + 0.08) * lamp[3 + k] * share
        assert got.reshape(block.shape)[int(lanes.DR) // lanes.LANES + k] == pytest.approx(want, abs=1e-5)
    m, v = row(lanes.MX, 3), row(lanes.VX, 3)
    h = _unit(lamp[:3, None] + v)
    n_h, v_h = np.maximum((m * h).sum(0), 0), np.maximum((v * h).sum(0), 0)
    lobes = sum(part * a2 / (np.pi * (n_h ** 2 * (a2 - 1) + 1) ** 2 + 1e-7)
                for part, a2 in ((0.8, row(lanes.ROUGH) ** 4), (0.2, row(lanes.SMOOTH) ** 4)))
    fresnel = row(lanes.STRENGTH) + (1 - row(lanes.STRENGTH)) * (1 - v_h) ** 5
    want = fresnel * lobes * np.maximum(lamp[:3] @ m, 0) * lit * row(lanes.GLOSS) * occ ** 2 * lamp[6] * row(lanes.SCALE) * lamp[3]
    assert got.reshape(block.shape)[int(lanes.SR) // lanes.LANES] == pytest.approx(want, rel=2e-2, abs=1e-4)


def test_sparse_shading_leaves_out_only_what_lies_on_the_same_surface():
    ids = np.zeros((6, 6), np.int32)
    ids[:, 3:] = 1
    ids[5] = -1
    depth = np.ones((6, 6), np.float32)
    depth[2, 1] = 1.1
    material = np.array([shade.SKIN, shade.CLOTH], np.uint8)
    slot, at = shade.pick_samples(ids, depth, material, True)
    assert (slot[5] == -1).all()
    assert (slot[:2, :2] == slot[0, 0]).all()
    assert slot[2, 1] != slot[2, 0], "a step in depth"
    assert slot[0, 3] != slot[0, 2], "another material"
    assert [int(at[s]) for s in slot[slot >= 0]][:2] == [0, 0]
    assert len(shade.pick_samples(ids, depth, material, False)[1]) == 30


def test_layers_from_near_to_far_are_those_from_far_to_near(rng):
    count = 30
    xs, ys = (rng.uniform(-5, 25, 3 * count).astype(np.float32) for _ in range(2))
    inv = np.repeat(np.linspace(0.2, 0.9, count), 3).astype(np.float32)
    tri = np.arange(3 * count, dtype=np.int32).reshape(-1, 3)
    light, sheen = rng.random((2, 3 * count, 3)).astype(np.float32)
    arrays = (tri, rng.random((count, 3, 2)).astype(np.float32), light, sheen, np.ones(3 * count, np.float32),
              rng.random((4, 4, 5)).astype(np.float32))
    depth = np.zeros((20, 20), np.float32)
    images, veils = np.full((2, 20, 20, 4), 0.4, np.float32), np.zeros((2, 20, 20), np.float32)
    order = np.arange(count, dtype=np.int32)
    raster.blend_sorted(order, xs, ys, inv, *arrays, 1.8, 0.0, depth, images[0], veils[0])
    for k in order:  # one at a time: each lies over what was there
        raster.blend_sorted(order[k:k + 1], xs, ys, inv, *arrays, 1.8, 0.0, depth, images[1], veils[1])
    assert np.abs(images[0] - images[1]).max() < 1e-5
    assert np.abs(veils[0] - veils[1]).max() < 1e-5
    assert (veils[0] == 1).any(), "some are hidden whole"


def test_mean_distance_is_that_of_what_is_drawn():
    depth = np.full((40, 40), 0.5, np.float32)
    depth[:, 20:] = 0
    near, wide = screen.mean_distances(depth, 60.0)
    assert near.shape == (20, 20)
    assert wide.shape == (10, 10)
    assert near[:, :10] == pytest.approx(2, abs=1e-4)


def test_light_spreads_within_the_skin_alone():
    ids = np.full((30, 30), 1, np.int32)
    ids[:, :15] = 0
    shaded = np.zeros((900, 9), np.float32)
    shaded[:, :6] = 1
    shaded[450:, 0] = 3
    slot = np.arange(900, dtype=np.int32).reshape(30, 30)
    slot[0] = -1
    image = screen.compose(slot, shaded, np.where(slot < 0, -1, ids).astype(np.int32), np.array([shade.SKIN, shade.CLOTH], np.uint8), 100.0)
    assert (image[0] == 0).all()
    assert (image[1:15, 20, 0] == 1).all()
    assert (image[15:, 20, 0] == 2.5).all(), "highlights are capped"
    assert np.all(np.diff(image[10:20, 7, 0]) >= 0)
    assert 1.3 < image[14, 7, 0] < 2.0, "red light has crossed the border"


def test_wide_blurs_of_a_backdrop_are_full_ones(rng):
    picture = cv2.resize(rng.random((9, 9, 3)).astype(np.float32), (203, 203), interpolation=cv2.INTER_NEAREST)
    for sigma in (2.0, 5.0, 11.9, 12.0):
        assert np.abs(scenes._soft(picture, sigma) - cv2.GaussianBlur(picture, (0, 0), sigma)).max() < 0.004


def test_a_plain_picture_is_an_exposed_one(rng):
    linear = rng.uniform(-0.1, 3, (40, 50, 3)).astype(np.float32)
    want = cv2.convertScaleAbs(film.expose(linear, 0.8, blur_px=0.0, sharpen=0.0))
    assert np.abs(film.plain(linear, 0.8).astype(int) - want).max() <= 1
    x = np.sqrt(np.clip(linear * np.float32(0.8), 0, film.TABLE_TOP)) * np.float32((film.TABLE_STEPS - 1) / film.TABLE_TOP ** 0.5)
    assert np.abs(film.tone(linear, 0.8) - film._tone_table()[(x + 0.5).astype(int)]).max() < 0.2


def test_a_camera_without_noise_is_the_plain_formula(rng):
    picture = cv2.GaussianBlur(rng.integers(0, 256, (60, 80, 3)).astype(np.uint8), (0, 0), 2)
    settings = camera.Settings(gamma=0.85, contrast=1.1, veil=9.0, saturation=0.7, sharpen=0.4, denoise=0.5)
    x = picture.astype(np.float32)
    x = cv2.addWeighted(x, 0.5, cv2.bilateralFilter(x, 5, 12 + 40 * 0.5, 1.6), 0.5, 0)
    x = (255 * (np.clip(x, 0, 255) / 255) ** np.float32(0.85) - 118) * np.float32(1.1) + 118
    grey = (x @ camera.LUMA)[..., None]
    x = grey + (x - grey) * np.float32(0.7)
    x = cv2.addWeighted(x, 1.4, cv2.GaussianBlur(x, (0, 0), 1.1), -0.4, 0)
    want = np.clip(x * (1 - 9 / 255) + 9, 0, 255)
    assert np.abs(camera.apply(picture, settings, 1) - want).max() < 1.6


def test_noise_keeps_its_strength_and_its_seed():
    for grain in (0.3, 0.9):
        settings = camera.Settings(shot=1e-4, read=1e-3, grain_px=grain, chroma=0.5)
        noise = camera._noise((200, 220), settings, 5)
        assert noise.std() == pytest.approx(1, abs=0.03)
        assert np.array_equal(noise, camera._noise((200, 220), settings, 5))
        assert np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1] == pytest.approx(0.75, abs=0.03)


def test_a_thing_over_a_picture_is_rounded_as_integers_are(rng):
    picture, image = rng.integers(0, 256, (2, 30, 40, 3), dtype=np.uint8)
    alpha, shadow = rng.integers(0, 256, (2, 30, 40), dtype=np.uint8)
    behind = (picture.astype(np.uint32) * (255 - shadow.astype(np.uint32))[..., None] + 127) // 255
    a = alpha.astype(np.uint32)[..., None]
    want = (behind * (255 - a) + image * a + 127) // 255
    assert np.array_equal(occluders.over(picture, occluders.Occluder(image, alpha, "thing", shadow)), want)


def test_lit_things_are_the_plain_formula(rng):
    normals = _unit(rng.normal(size=(3, 12 * 9))).T.reshape(12, 9, 3).astype(np.float32)
    ambient, lamps = ROOM_DAY.ambient_rows(), ROOM_DAY.lamp_rows(1.0)
    total, shine = ambient[0] + normals @ ambient[1:], 0
    for row in lamps:
        half = row[:3] + np.array([0, 0, 1])
        total = total + row[3:6] * np.clip(normals @ row[:3], 0, None)[..., None]
        shine = shine + np.clip(normals @ (half / np.linalg.norm(half)), 0, 1)[..., None] ** 30 * row[6]
    level = ambient[0].mean() + ambient[3].mean() + sum(r[3:6].mean() * max(r[2], 0) for r in lamps)
    assert _things.lit(normals, ROOM_DAY, 0.4) == pytest.approx((np.maximum(total, 0.03) + 0.4 * shine) / level, abs=1e-4)
    one = np.broadcast_to(normals[3, 3], normals.shape)
    assert np.array_equal(_things.lit(one, ROOM_DAY, 0.4), np.broadcast_to(_things.lit(normals, ROOM_DAY, 0.4)[3, 3], normals.shape))
