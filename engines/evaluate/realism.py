"""How far rendered pictures are from photographs of faces, in what two networks see of them.

Kernel distance (Binkowski et al. 2018: polynomial kernel of degree 3, unbiased estimate) on features of spread 1; its expectation
does not depend on how many pictures there are, unlike the Frechet distance, which needs thousands. Beside it: what two halves of the photographs
measure against each other (the floor), and how often a picture's nearest neighbour is of its own kind (0.5: the two sets cannot be told apart).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.evaluate import perceptual
from engines.evaluate.dataset import Pairs, landmarks_of
from engines.evaluate.judge import aligned
from engines.evaluate.portraits import find_mesh
from engines.evaluate.subjects import CROP
from livecam import align, detect, image, track
from livecam.config import Config
from livecam.errors import UsageError
from livecam.runtimes import openvino
from livecam.store import Store
from livecam.track._landmarks import five_points
from livecam.types import F64, U8, CropSpec

PICTURE_PX = 128
SFACE_PX = 112
BORDER_SHARE = 0.25
ROUNDS = 200
SEED = 11
LEAST_PICTURES = 20
SPEC = CropSpec(PICTURE_PX, CROP.template, CROP.scale, CROP.offset)
TERMS = ("same person's look (SFace)", f"picture's look ({perceptual.NAME}, layers' means)")


def run(data: Path, faces: Path, limit: int) -> dict[str, Any]:
    """Both kinds of features of up to `limit` renders (wearers of a set) and of all photographs in `faces`; JSON-ready. Raises LivecamError."""
    seer = _Seer()
    rendered = [seer.see(picture, five) for picture, five in _renders(Pairs.open(data), limit)]
    photos = [seer.see(picture, five) for picture, five in seer.photographs(faces, limit)]
    if min(len(rendered), len(photos)) < LEAST_PICTURES:
        raise UsageError(f"expected at least {LEAST_PICTURES} pictures on both sides, found {len(rendered)} renders and {len(photos)} photographs")
    rows = {name: compare(np.array([r[i] for r in rendered]), np.array([p[i] for p in photos])) for i, name in enumerate(TERMS)}
    return {"renders": len(rendered), "photographs": len(photos), "note": __doc__, "distances": rows}


def _renders(pairs: Pairs, limit: int) -> Iterator[tuple[U8, F64]]:
    for sample in pairs.samples(limit):
        yield sample.picture("wearer"), five_points(landmarks_of(sample).astype(np.float64))


class _Seer:
    """The two networks, and what finds faces in photographs."""

    def __init__(self) -> None:
        config = Config()
        store = Store(config.run.cache_dir)
        self._detector = detect.load("yunet", config.detect, store, 1)
        self._tracker = track.load("mediapipe", config.track, store, 1)
        self._lpips = perceptual.Lpips(perceptual.alex(), PICTURE_PX)
        self._sface = openvino.open(store.path("sface"), 1, store.compiled_dir)

    def photographs(self, folder: Path, limit: int) -> Iterator[tuple[U8, F64]]:
        """Pictures of `folder` in which a face is found, with its five points."""
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png")) if folder.is_dir() else []
        if not files:
            raise UsageError(f"{folder}: expected a folder with pictures of faces (.jpg, .png), found none")
        for path in files[:: max(len(files) // limit, 1)][:limit]:
            picture = np.asarray(cv2.imread(str(path)), np.uint8)
            edge = round(picture.shape[0] * BORDER_SHARE)
            wide = np.asarray(cv2.copyMakeBorder(picture, edge, edge, edge, edge, cv2.BORDER_REPLICATE), np.uint8)
            mesh = find_mesh(wide, self._detector, self._tracker)
            if mesh is not None:
                yield wide, five_points(mesh)

    def see(self, picture: U8, five_px: F64) -> tuple[F64, F64]:
        """(128,) SFace's embedding and (1152,) AlexNet's pooled features of the crop that the generator sees."""
        face = aligned(picture, five_px, SFACE_PX)
        tensor = np.ascontiguousarray(face[..., ::-1].transpose(2, 0, 1)[None], np.float32)
        embedding = next(iter(self._sface.run({self._sface.inputs[0].name: tensor}).values())).reshape(-1).astype(np.float64)
        crop = image.crop(picture, align.align(five_px, SPEC))
        return embedding, perceptual.pooled(self._lpips.features(crop)).astype(np.float64)


def compare(first: F64, second: F64) -> dict[str, Any]:
    """first: (N, D), second: (M, D) features. Kernel distance with its interval, its floor, and nearest neighbours."""
    scale = np.concatenate([first, second]).std(axis=0)
    keep = scale > 1e-9
    a, b = first[:, keep] / scale[keep], second[:, keep] / scale[keep]
    middle = np.concatenate([a, b]).mean(axis=0)
    a, b = a - middle, b - middle
    rng = np.random.default_rng(SEED)
    halves = [kernel_distance(b[order[: len(b) // 2]], b[order[len(b) // 2 :]]) for order in (rng.permutation(len(b)) for _ in range(ROUNDS // 10))]
    # Subsets without repetition: a drawn pair of equal pictures would look like a likeness.
    parts = [kernel_distance(a[rng.permutation(len(a))[: len(a) // 2]], b[rng.permutation(len(b))[: len(b) // 2]]) for _ in range(ROUNDS // 10)]
    spread = 1.96 * float(np.std(parts)) / np.sqrt(2.0)
    value = kernel_distance(a, b)
    return {
        "kernel_distance": _round(value),
        "ci95": [_round(value - spread), _round(value + spread)],
        "floor_two_halves_of_photographs": [_round(float(np.percentile(halves, q))) for q in (2.5, 97.5)],
        "nearest_neighbour_of_own_kind": _round(nearest_of_own_kind(a, b)),
    }


def kernel_distance(a: F64, b: F64) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / D + 1)^3."""
    dims = a.shape[1]
    xx, yy, xy = ((p @ q.T / dims + 1.0) ** 3 for p, q in ((a, a), (b, b), (a, b)))
    n, m = len(a), len(b)
    same = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(same - 2 * xy.mean())


def nearest_of_own_kind(a: F64, b: F64) -> float:
    """Share of pictures whose nearest other one is of the same set; both sets cut to one size."""
    count = min(len(a), len(b))
    both = np.concatenate([a[:count], b[:count]])
    squares = (both**2).sum(axis=1)
    apart = squares[:, None] + squares[None] - 2 * both @ both.T
    np.fill_diagonal(apart, np.inf)
    nearest: NDArray[np.intp] = apart.argmin(axis=1)
    return float(((nearest < count) == (np.arange(2 * count) < count)).mean())


def _round(value: float) -> float:
    return float(f"{value:.4g}")



