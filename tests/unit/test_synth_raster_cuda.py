"""The GPU's rasteriser against the CPU's, in numba's CUDA simulator (a process of its own: the simulator is chosen at import)."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
pytest.importorskip("numba", reason="the renderer needs numba")

COMPARE = '''
import json
import numpy as np
from engines.synth import raster, raster_cuda
gpu = raster_cuda.choose("cuda")
rng = np.random.default_rng(1)
xs, ys = (rng.uniform(-4, n + 4, 45).astype(np.float32) for n in (34, 21))
inv = rng.uniform(0.05, 1, 45).astype(np.float32)
inv[0] = -1.0
tri = rng.permutation(45).reshape(15, 3).astype(np.int32)
cull = (rng.random(15) < 0.5).astype(np.uint8)
out = {}

def ids(module):
    depth, got, bary = np.zeros((21, 34), np.float32), np.full((21, 34), -1, np.int32), np.zeros((21, 34, 2), np.float32)
    depth[:8] = 0.4
    module.raster_ids(xs, ys, inv, tri, cull, depth, got, bary)
    return depth, got, bary

a, b = ids(raster), ids(gpu)
same = a[1] == b[1]
out["ids_same"] = float(same.mean())
out["ids_drawn"] = int((a[1] >= 0).sum())
out["depth"] = float(np.abs(a[0] - b[0])[same].max())
out["bary"] = float(np.abs(a[2] - b[2])[same].max())

uv = rng.random((15, 3, 2)).astype(np.float32)
alpha = rng.integers(0, 256, (8, 8)).astype(np.uint8)
pair = [np.zeros((21, 34), np.float32) for _ in range(2)]
for module, depth in zip((raster, gpu), pair):
    module.raster_depth(xs, ys, np.abs(inv), tri, uv, alpha, cull, depth)
out["shadow"] = float((np.abs(pair[0] - pair[1]) > 1e-5).mean())
out["shadow_drawn"] = int((pair[0] > 0).sum())

light, sheen = (rng.random((45, 3)).astype(np.float32) for _ in range(2))
cover = rng.uniform(0.3, 1, 45).astype(np.float32)
texture = rng.random((9, 7, 5)).astype(np.float32)
order = rng.permutation(15).astype(np.int32)
behind = np.where(rng.random((21, 34)) < 0.3, 0.5, 0).astype(np.float32)
pair = [np.full((21, 34, 4), 0.2, np.float32) for _ in range(2)]
veils = [np.zeros((21, 34), np.float32) for _ in range(2)]
for module, image, veil in zip((raster, gpu), pair, veils):
    module.blend_sorted(order, xs, ys, inv, tri, uv, light, sheen, cover, texture, 1.2, 0.01, behind, image, veil)
out["veil"] = float((np.abs(veils[0] - veils[1]) > 1e-4).mean())
out["blend"] = float((np.abs(pair[0] - pair[1]).max(2) > 1e-4).mean())
out["blend_drawn"] = int((np.abs(pair[0] - 0.2).max(2) > 0.01).sum())

values = rng.random(45).astype(np.float32)
pair = [np.zeros((21, 34), np.float32) for _ in range(2)]
for module, image in zip((raster, gpu), pair):
    module.interpolate(a[1], a[2], tri, values, image)
out["interpolated"] = float(np.abs(pair[0] - pair[1]).max())
print(json.dumps(out))
'''


@pytest.fixture(scope="module")
def compared() -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", COMPARE], cwd=ROOT, capture_output=True, text=True, timeout=280,
                          env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_opaque_triangles_are_the_cpus(compared):
    assert compared["ids_drawn"] > 100
    assert compared["ids_same"] > 0.99  # a sample on an edge may fall to either side in float32
    assert compared["depth"] < 1e-5
    assert compared["bary"] < 1e-3


def test_shadow_depth_is_the_cpus(compared):
    assert compared["shadow_drawn"] > 100
    assert compared["shadow"] < 0.01


def test_transparent_triangles_blend_in_the_cpus_order(compared):
    assert compared["blend_drawn"] > 100
    assert compared["blend"] < 0.01
    assert compared["veil"] < 0.01


def test_interpolation_is_the_cpus(compared):
    assert compared["interpolated"] < 1e-5


def test_both_have_the_same_functions_and_arguments():
    from engines.synth import raster, raster_cuda

    assert raster_cuda.choose("cpu") is raster
    for name in ("raster_ids", "raster_depth", "blend_sorted", "interpolate"):
        ours = list(inspect.signature(getattr(raster_cuda, name)).parameters)
        assert ours == list(inspect.signature(getattr(raster, name).py_func).parameters)
    for name in ("vertex_normals", "blend_rigid", "surface_gradients", "gather_corners"):
        assert getattr(raster_cuda, name) is getattr(raster, name)


def test_a_missing_gpu_and_an_unknown_name_are_told():
    from numba import cuda

    from engines.synth import raster_cuda

    with pytest.raises(raster_cuda.RasterError, match="choose one of"):
        raster_cuda.choose("vulkan")
    if not cuda.is_available():
        with pytest.raises(raster_cuda.RasterError, match="use cpu"):
            raster_cuda.choose("cuda")
