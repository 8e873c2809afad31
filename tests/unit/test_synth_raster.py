"""engines.synth: rasteriser, readers, labels, light; no assets and no anny needed."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
pytest.importorskip("numba", reason="the renderer needs numba")

from engines.synth import assets, film, light, raster, skin, surface  # noqa: E402


def plain_raster(xs, ys, inv, tri, cull, shape):
    """The rasteriser in plain numpy: every triangle against every sample."""
    depth = np.zeros(shape)
    ids = np.full(shape, -1)
    jj, ii = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    for t, (a, b, c) in enumerate(tri):
        area = (xs[b] - xs[a]) * (ys[c] - ys[a]) - (ys[b] - ys[a]) * (xs[c] - xs[a])
        if abs(area) < 1e-9 or (cull[t] and area > 0):
            continue
        u = ((xs[b] - ii) * (ys[c] - jj) - (ys[b] - jj) * (xs[c] - ii)) / area
        v = ((xs[c] - ii) * (ys[a] - jj) - (ys[c] - jj) * (xs[a] - ii)) / area
        w = 1 - u - v
        z = u * inv[a] + v * inv[b] + w * inv[c]
        hit = (u >= 0) & (v >= 0) & (w >= 0) & (z > depth)
        depth[hit] = z[hit]
        ids[hit] = t
    return depth, ids


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_raster_equals_plain_reference(seed):
    rng = np.random.default_rng(seed)
    xs = rng.uniform(-5, 45, 60).astype(np.float32)
    ys = rng.uniform(-5, 35, 60).astype(np.float32)
    inv = rng.uniform(0.05, 1, 60).astype(np.float32)
    tri = rng.permutation(60).reshape(20, 3).astype(np.int32)
    cull = (rng.random(20) < 0.5).astype(np.uint8)
    depth, ids = np.zeros((30, 40), np.float32), np.full((30, 40), -1, np.int32)
    bary = np.zeros((30, 40, 2), np.float32)
    raster.raster_ids(xs, ys, inv, tri, cull, depth, ids, bary)
    want_depth, want_ids = plain_raster(xs.astype(float), ys.astype(float), inv.astype(float), tri, cull, (30, 40))
    # A sample on an edge may fall to either side in float32.
    assert (ids == want_ids).mean() > 0.995
    same = ids == want_ids
    assert np.abs(depth - want_depth)[same].max() < 1e-4
    assert (want_ids >= 0).sum() > 200


def test_raster_weights_are_perspective_correct():
    # A square that recedes to the right: the middle of the screen is not the middle of the square.
    xs, ys = np.array([0, 10, 10, 0], np.float32), np.array([10, 10, 0, 0], np.float32)
    inv = np.array([1.0, 0.25, 0.25, 1.0], np.float32)
    tri = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    depth, ids = np.zeros((11, 11), np.float32), np.full((11, 11), -1, np.int32)
    bary = np.zeros((11, 11, 2), np.float32)
    raster.raster_ids(xs, ys, inv, tri, np.ones(2, np.uint8), depth, ids, bary)
    across = np.array([0.0, 1.0, 1.0, 0.0])
    weights = np.append(bary[6, 5], 1 - bary[6, 5].sum())
    u = float(weights @ across[tri[ids[6, 5]]])
    assert u == pytest.approx((0.5 * 0.25) / (0.5 * 1.0 + 0.5 * 0.25), abs=1e-4)


def test_blend_sorted_is_source_over():
    xs, ys = np.array([-1, 20, -1], np.float32), np.array([-1, -1, 20], np.float32)
    tri = np.array([[0, 1, 2]], np.int32)
    texture = np.zeros((4, 4, 5), np.float32)
    texture[..., 0], texture[..., 3], texture[..., 4] = 0.8, 0.5, 1.0
    image = np.zeros((4, 4, 4), np.float32)
    image[..., 1] = 0.4
    image[..., 3] = 1.0
    ones = np.ones((3, 3), np.float32)
    veil = np.zeros((4, 4), np.float32)
    args = (xs, ys, np.ones(3, np.float32), tri, np.full((1, 3, 2), 0.5, np.float32), ones, 0 * ones, np.ones(3, np.float32), texture, 1.0, 0.0)
    raster.blend_sorted(np.zeros(1, np.int32), *args, np.zeros((4, 4), np.float32), image, veil)
    assert image[1, 1] == pytest.approx([0.4, 0.2, 0.0, 1.0], abs=1e-5)
    assert veil[1, 1] == pytest.approx(0.5)
    before = image.copy()
    raster.blend_sorted(np.zeros(1, np.int32), *args, np.full((4, 4), 9.0, np.float32), image, veil)
    assert np.array_equal(image, before), "a layer behind the surface must not show"


def test_vertex_normals_point_out_of_a_tetrahedron():
    points = np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]], np.float32)
    tri = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    normals = raster.vertex_normals(points, tri)
    assert np.abs(normals - points / np.sqrt(3)).max() < 1e-5


MHCLO = """# made for this test
name thing
obj_file thing.obj
x_scale 0 1 2.0
verts 0
material thing.mhmat
tag young
5
 1  2   3 0.2 0.3 0.5 0.1 0.0 0.0
4 5 6 0.5 0.25 0.25

delete_verts
7 - 9 12
"""


def test_mhclo_reader_takes_all_variants(tmp_path):
    path = tmp_path / "thing.mhclo"
    path.write_text(MHCLO)
    bound = assets.read_mhclo(path)
    assert bound.corners.tolist() == [[5, 5, 5], [1, 2, 3], [4, 5, 6]]
    assert bound.weights.tolist()[0] == [1, 0, 0]
    assert bound.hidden.tolist() == [7, 8, 9, 12]
    base = np.random.default_rng(3).normal(size=(10, 3)).astype(np.float32)
    base[0], base[1] = 0, (4, 0, 0)  # reference distance 4 instead of 2: offsets double
    points = assets.follow(bound, base)
    assert points[0] == pytest.approx(base[5])
    assert points[1] == pytest.approx(0.2 * base[1] + 0.3 * base[2] + 0.5 * base[3] + [0.2, 0, 0], abs=1e-6)


@pytest.mark.parametrize("text", ["verts 0\nnothing\n", "name x\n"])
def test_mhclo_without_bindings_is_refused(tmp_path, text):
    path = tmp_path / "bad.mhclo"
    path.write_text(text)
    with pytest.raises(assets.AssetsError, match="expected bindings"):
        assets.read_mhclo(path)


def test_mhclo_for_another_base_is_refused(tmp_path):
    path = tmp_path / "bad.mhclo"
    path.write_text("verts 0\n19158\n")
    with pytest.raises(assets.AssetsError, match="another base mesh"):
        assets.read_mhclo(path)


def test_obj_reader_fans_polygons(tmp_path):
    path = tmp_path / "a.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\ng quad\nf 1/1 2/2 3/3 4/4\n")
    mesh = assets.read_obj(path)
    assert mesh.tri.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert mesh.groups["quad"].tolist() == [0, 1]


def test_target_reader(tmp_path):
    path = tmp_path / "t.target.gz"
    path.write_bytes(gzip.compress(b"# comment\n2 .5 0 -1\n"))
    offsets = assets.read_target(path, 4)
    assert offsets[2].tolist() == [0.5, 0, -1]
    assert np.count_nonzero(offsets) == 2


def test_missing_assets_are_named(tmp_path):
    with pytest.raises(assets.AssetsError, match="--assets"):
        assets.find_assets(tmp_path / "none")
    (tmp_path / "skins").mkdir()
    with pytest.raises(assets.AssetsError, match="without hair"):
        assets.find_assets(tmp_path)


def test_refinement_leaves_no_cracks():
    top = surface.Topology(np.array([[0, 1, 2], [0, 2, 3]], np.int32), np.zeros((2, 3, 2), np.float32), np.arange(4, dtype=np.int32))
    finer = surface.refine_topology(top, np.array([True, False]), 4)
    assert len(finer.tri) == 4 + 2, "four for the refined one, two for its neighbour along the shared edge"
    edges = np.sort(np.concatenate([finer.tri[:, [0, 1]], finer.tri[:, [1, 2]], finer.tri[:, [2, 0]]]), 1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert counts.max() == 2
    flat = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    points = surface.refine_points(flat, top.tri, finer.ends)
    assert np.abs(points[:, 2]).max() == 0
    assert points[4:] == pytest.approx(flat[finer.ends].mean(1))


def test_skin_tone_goes_along_pigments():
    pale = np.full((4, 4, 3), 0.5, np.float32)
    mean = pale[0, 0]
    light_skin = skin.shift_tone(pale, mean, skin.SkinLook(melanin=0.0))[0, 0]
    dark_skin = skin.shift_tone(pale, mean, skin.SkinLook(melanin=1.0))[0, 0]
    assert skin.to_srgb(light_skin) == pytest.approx(skin.LIGHT_SRGB, abs=1)
    assert skin.to_srgb(dark_skin) == pytest.approx(skin.DARK_SRGB, abs=1)
    flushed = skin.shift_tone(pale, mean, skin.SkinLook(melanin=0.0, blood=0.2))[0, 0]
    loss = flushed / light_skin
    assert loss[0] > 0.95
    assert loss[1] < 0.85


def test_srgb_round_trip():
    levels = np.arange(256, dtype=np.float32)
    assert np.abs(skin.to_srgb(skin.to_linear(levels)) - levels).max() < 0.02


def test_tone_table_equals_formula():
    x = np.linspace(0, 3.9, 2000, dtype=np.float32)
    assert np.abs(film.tone(x) - film.exact_tone(x)).max() < 0.4
    assert np.all(np.diff(film.tone(x)) >= 0)


def test_lights_mix_to_their_ends():
    a, b = light.ROOM_DAY, light.ROOM_WARM
    for part, want in ((0.0, a), (1.0, b)):
        mixed = light.mix_lights(a, b, part)
        assert mixed.lamp_rows(1.0) == pytest.approx(want.lamp_rows(1.0))
        assert mixed.ambient_rows() == pytest.approx(want.ambient_rows())
