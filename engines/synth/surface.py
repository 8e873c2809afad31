"""Surfaces: which triangles are drawn, from where their points come, how they are refined."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines.synth.assets import Binding, Floats, Ints, ObjMesh
from engines.synth.expression import Weights
from engines.synth.raster import bulged, vertex_normals

TESSELLATION = 0.75
"""How far a new point moves from the chord to the tangent planes (Boubekeur & Alexa 2008)."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Triangles over their own points.

    tri (T, 3) int32; uv (T, 3, 2) float32, v upwards; base (P,) int32: base vertex of each point
    where the points are the base mesh's own.
    """

    tri: Ints
    uv: Floats
    base: Ints


def base_topology(mesh: ObjMesh, keep: Ints) -> Topology:
    """The given triangles of the base mesh over the vertices that they use."""
    tri = mesh.tri[keep]
    used, index = np.unique(tri, return_inverse=True)
    return Topology(index.reshape(-1, 3).astype(np.int32), mesh.uvs[mesh.tri_uv[keep]],
                    used.astype(np.int32))


def proxy_topology(mesh: ObjMesh) -> Topology:
    """All triangles of a proxy mesh."""
    return Topology(mesh.tri, mesh.uvs[mesh.tri_uv], np.zeros(0, np.int32))


@dataclass(frozen=True, slots=True)
class Refinement:
    """One level of subdivision of some triangles: each becomes four.

    ends (M, 2) int32: the points between which each new point lies; tri, uv: the finer triangles; parents
    (T,) int32: the triangle of which each was a part.
    """

    ends: Ints
    tri: Ints
    uv: Floats
    parents: Ints


def refine_topology(top: Topology, finer: np.ndarray, count: int) -> Refinement:
    """Split the triangles where `finer` (T,) bool; neighbours are fitted, so no cracks show."""
    edges = np.sort(np.stack([top.tri[:, [0, 1]], top.tri[:, [1, 2]], top.tri[:, [2, 0]]], 1), 2)
    keys = edges[..., 0].astype(np.int64) * count + edges[..., 1]
    split = np.unique(keys[finer])
    place = np.searchsorted(split, keys)
    place = np.clip(place, 0, max(len(split) - 1, 0))
    has = split[place] == keys if len(split) else np.zeros_like(keys, bool)
    mid = np.where(has, count + place, -1)
    ends = np.stack([split // count, split % count], 1).astype(np.int32)
    corners, uvs, owner = [], [], []
    flags = (mid >= 0) @ np.array([1, 2, 4])
    both = np.concatenate([top.tri, mid], 1)
    uv = np.concatenate([top.uv, (top.uv + np.roll(top.uv, -1, 1)) / 2], 1)
    for pattern in np.unique(flags):
        rows = np.flatnonzero(flags == pattern)
        for corner_set in _split_one(int(pattern)):
            corners.append(both[rows][:, corner_set])
            uvs.append(uv[rows][:, corner_set])
            owner.append(rows)
    parents = np.concatenate(owner)
    order = np.argsort(parents, kind="stable")
    return Refinement(ends, np.concatenate(corners)[order].astype(np.int32),
                      np.concatenate(uvs)[order].astype(np.float32),
                      parents[order].astype(np.int32))


def _split_one(pattern: int) -> list[tuple[int, int, int]]:
    """Corner triples (0..2 corners, 3..5 edge middles) of one triangle; bit k of the pattern: edge k
    is split."""
    flags = (bool(pattern & 1), bool(pattern & 2), bool(pattern & 4))
    table: dict[tuple[bool, ...], list[tuple[int, int, int]]] = {
        (False, False, False): [(0, 1, 2)],
        (True, False, False): [(0, 3, 2), (3, 1, 2)],
        (False, True, False): [(0, 1, 4), (0, 4, 2)],
        (False, False, True): [(0, 1, 5), (5, 1, 2)],
        (True, True, False): [(3, 1, 4), (0, 3, 2), (3, 4, 2)],
        (False, True, True): [(5, 4, 2), (0, 1, 4), (0, 4, 5)],
        (True, False, True): [(0, 3, 5), (3, 1, 2), (3, 2, 5)],
        (True, True, True): [(0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)],
    }
    return table[flags]


def refine_points(points: Floats, tri: Ints, ends: Ints) -> Floats:
    """Points (P + M, 3): the given ones, then each new one, bulged to the tangent planes."""
    return bulged(points, vertex_normals(points, tri), ends, TESSELLATION)


def weights_of_points(binding: Binding, groups: Weights) -> Weights:
    """Skinning weights (P,) of a proxy's points from those of their base vertices."""
    corner = np.clip(binding.weights, 0, None)
    corner = corner / np.maximum(corner.sum(1, keepdims=True), 1e-6)
    return Weights({name: np.asarray((w[binding.corners] * corner).sum(1), np.float32)
                    for name, w in groups.items()})
