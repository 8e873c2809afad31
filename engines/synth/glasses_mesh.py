"""The mesh of a frame, gathered from tubes.

Convention: as in `identity`: decimetres, y up, z towards the viewer; triangles are seen from both sides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.synth.assets import Bytes, Floats, Ints
from engines.synth.glasses import FRONT_V
from engines.synth.shade import CLOTH, TEETH, TONGUE

PLASTIC, METAL, GLASS_EDGE = CLOTH, TONGUE, TEETH
"""Kinds of the frame's triangles, named as the sample shader knows them: those whose colour is a texture's."""
SECTION = 8
"""Corners of a tube's section."""
MIRROR = np.array([-1, 1, 1], np.float32)
"""To the other side."""


class Mesh:
    """Gathers triangles of one side."""

    def __init__(self) -> None:
        self.points: list[Floats] = []
        self.tri: list[Ints] = []
        self.uv: list[Floats] = []
        self.kind: list[Bytes] = []
        self.forward: list[Floats] = []
        self.count = 0

    def add(self, points: NDArray[np.floating], tri: Ints, uv: Floats, kind: int, forward: float = 0.0) -> None:
        """Add points (P, 3) and triangles (T, 3) over them, uv (T, 3, 2); forward as in `glasses_fit.Fitted`."""
        self.forward.append(np.full(len(points), forward, np.float32))
        self.points.append(np.asarray(points, np.float32))
        self.tri.append((tri + self.count).astype(np.int32))
        self.uv.append(np.asarray(uv, np.float32))
        self.kind.append(np.full(len(tri), kind, np.uint8))
        self.count += len(points)

    def mirror(self) -> None:
        """Add the other side of all that is there."""
        kind, forward = np.concatenate(self.kind), np.concatenate(self.forward)
        self.add(np.concatenate(self.points) * MIRROR, np.concatenate(self.tri)[:, ::-1], np.concatenate(self.uv)[:, ::-1], 0)
        self.kind[-1], self.forward[-1] = kind, forward

    def tube(self, path: NDArray[np.floating], wide: NDArray[np.floating], deep: NDArray[np.floating], kind: int, band: float | None = None,
             closed: bool = False, forward: float = 0.0) -> None:
        """A tube along path (N, 3) with half axes wide, deep (N, 3) of its rounded rectangular section; band: v of its colour, None
        lets the pattern run along it."""
        count = len(path)
        angle = np.linspace(0, 2 * np.pi, SECTION, endpoint=False) + np.pi / SECTION
        c, s = (np.sign(f) * np.abs(f) ** 0.6 for f in (np.cos(angle), np.sin(angle)))
        points = path[:, None] + c[None, :, None] * wide[:, None] + s[None, :, None] * deep[:, None]
        rows = count if closed else count - 1
        i, k = np.meshgrid(np.arange(rows), np.arange(SECTION), indexing="ij")
        a, b = i * SECTION + k, i * SECTION + (k + 1) % SECTION
        d, e = (i + 1) % count * SECTION + k, (i + 1) % count * SECTION + (k + 1) % SECTION
        tri = np.concatenate([np.stack([a, d, b], -1).reshape(-1, 3), np.stack([b, d, e], -1).reshape(-1, 3)])
        if not closed:
            ends = [[s0, s0 + x, s0 + x + 1] for s0 in (0, rows * SECTION) for x in range(1, SECTION - 1)]
            tri = np.concatenate([tri, np.array(ends)])
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
        across = np.abs(np.linspace(-1, 1, SECTION))
        u = np.repeat(0.02 + 0.96 * np.abs((along / 1.8) % 2 - 1), SECTION)
        v = np.tile(FRONT_V[0] + (FRONT_V[1] - FRONT_V[0]) * across, count) if band is None else np.full(count * SECTION, band)
        self.add(points.reshape(-1, 3), tri.astype(np.int32), np.stack([u, v], 1).astype(np.float32)[tri], kind, forward)
