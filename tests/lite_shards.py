"""Shards of a training set in the right form, drawn instead of rendered: smooth pictures, an oval, a drawing that is truth gone soft and aside."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from livecam.types import F32

PEOPLE = 4


def write(path: Path, count: int, size: int = 64, seed: int = 0) -> None:
    """One shard."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / (size - 1) - 0.5
    oval = np.clip((1 - np.hypot(x / 0.36, y / 0.44)) * 8, 0, 1)
    rows = [_sample(rng, size, oval) for _ in range(count)]
    arrays = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    np.savez(path, **arrays)


def people() -> dict[int, F32]:
    """Embeddings of the personas in the shards."""
    vectors = np.random.default_rng(5).normal(size=(PEOPLE, 128)).astype(np.float32)
    return dict(enumerate(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)))


def _smooth(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    return cv2.resize(rng.random((cells, cells, 3)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)


def _sample(rng: np.random.Generator, size: int, oval: np.ndarray) -> dict[str, np.ndarray]:
    a, b = int(rng.integers(0, PEOPLE)), int(rng.integers(0, PEOPLE))
    wearer = _smooth(rng, size, 5)
    worn = np.random.default_rng(b)
    face = _smooth(worn, size, 12)
    truth = wearer + (face - wearer) * oval[..., None]
    mesh = cv2.GaussianBlur(np.roll(truth, 1, axis=1), (0, 0), size / 64)
    angle = np.linspace(0, 2 * np.pi, 478, endpoint=False)
    landmarks = np.stack([size / 2 + 0.36 * size * np.cos(angle), size / 2 + 0.44 * size * np.sin(angle), 0 * angle], axis=1)
    occluder = np.zeros((size, size), np.uint8)
    levels = {key: (np.clip(value, 0, 1) * 255).astype(np.uint8) for key, value in (("wearer", wearer), ("truth", truth), ("mesh", mesh))}
    plane = (oval * 255).astype(np.uint8)
    return levels | {
        "mesh_mask": plane, "oval": plane, "occluder": occluder, "landmarks": landmarks.astype(np.float32), "a": np.int32(a), "b": np.int32(b),
    }  # fmt: skip
