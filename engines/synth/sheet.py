"""A contact sheet of samples: wearer, mesh, truth, classes, oval and occluder, one column each."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.synth.assets import AssetsError, Bytes

PALETTE = np.array([
    (40, 40, 40), (150, 180, 230), (30, 60, 120), (255, 255, 255), (60, 60, 200), (20, 120, 60),
    (255, 0, 255), (255, 160, 0), (120, 90, 230), (120, 120, 120)], np.uint8)
"""BGR of each class."""
OVAL_TINT = (1.0, 1.0, 0.35)


def rows_of(sample: dict[str, NDArray[np.generic]]) -> list[Bytes]:
    """The pictures of one sample, from top to bottom."""
    wearer = np.asarray(sample["wearer"], np.uint8)
    mask = np.asarray(sample["mesh_mask"], np.float32)[..., None] / 255
    mesh = np.asarray(sample["mesh"], np.float32) * mask + wearer * (1 - mask)
    oval = np.asarray(sample["oval"], np.float32)[..., None] / 255
    veil = np.asarray(sample["occluder"], np.float32)[..., None] / 255
    tint = wearer * (1 - 0.6 * oval) + 0.6 * oval * wearer * np.array(OVAL_TINT, np.float32)
    tint = tint * (1 - 0.6 * veil) + 0.6 * veil * np.array((255, 160, 0), np.float32)
    return [wearer, mesh.astype(np.uint8), np.asarray(sample["truth"], np.uint8),
            PALETTE[np.asarray(sample["classes"], np.uint8)], tint.astype(np.uint8)]


def write_sheet(folder: Path, out: Path, columns: int = 12, seed: int = 0, cell_px: int = 192,
                lines: int = 1) -> None:
    """A sheet of samples at random from a set's shards. Raises AssetsError when there are none."""
    shards = sorted(folder.glob("pairs-?????.npz"))
    if not shards:
        raise AssetsError(f"expected pairs-*.npz in {folder}, found none; make a set first")
    rng = np.random.default_rng(seed)
    strips: list[Bytes] = []
    keys = ("wearer", "mesh", "mesh_mask", "truth", "classes", "oval", "occluder")
    for _ in range(lines):
        cells: list[Bytes] = []
        with np.load(shards[int(rng.integers(len(shards)))]) as data:
            arrays = {k: data[k] for k in keys}
        count = len(arrays["wearer"])
        for k in rng.permutation(count)[:columns]:
            column = rows_of({name: value[k] for name, value in arrays.items()})
            cells.append(np.vstack([cv2.resize(c, (cell_px, cell_px), interpolation=cv2.INTER_AREA)
                                    for c in column]))
        strips.append(np.hstack(cells))
    width = max(s.shape[1] for s in strips)
    strips = [cv2.copyMakeBorder(s, 0, 0, 0, width - s.shape[1], cv2.BORDER_CONSTANT)
              for s in strips]
    out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out), np.vstack(strips), [cv2.IMWRITE_JPEG_QUALITY, 88])
