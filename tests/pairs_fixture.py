"""A tiny set of pairs in the form of `engines synth pairs`: blobs for faces, exact in everything that a table is computed from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIZE = 64


def _blob(rng: np.random.Generator, tone: float) -> NDArray[np.float64]:
    y, x = np.indices((SIZE, SIZE))
    waves = sum(8 * np.sin(rng.uniform(0.1, 0.5) * x + rng.uniform(0.1, 0.5) * y + rng.uniform(0, 6)) for _ in range(4))
    return np.stack([tone * 0.7 + waves, tone * 0.8 + waves, tone + waves], axis=-1)


def write(folder: Path, samples: int = 12, personas: int = 4, noise: float = 3.0) -> Path:
    """Writes the set and returns its folder. The stored mesh drawing is truth, 6 grey levels darker."""
    rng = np.random.default_rng(3)
    faces = [_blob(rng, 140.0) for _ in range(personas)]
    y, x = np.indices((SIZE, SIZE))
    oval = np.where((x - 32) ** 2 / 400 + (y - 32) ** 2 / 600 < 1, 255, 0).astype(np.uint8)
    rows: list[dict[str, NDArray[np.generic]]] = []
    for i in range(samples):
        b = i % personas
        wearer = _blob(rng, 150.0)
        truth = np.where(oval[..., None] > 0, faces[b], wearer)

        def shot(picture: NDArray[np.float64]) -> NDArray[np.uint8]:
            return np.clip(picture + rng.normal(0, noise, picture.shape), 0, 255).astype(np.uint8)

        marks = np.zeros((478, 3), np.float32)
        marks[:, :2] = 32 + 18 * np.stack([np.cos(np.arange(478)), np.sin(np.arange(478))], axis=1)
        rows.append(
            {
                "wearer": shot(wearer), "wearer2": shot(wearer), "truth": shot(truth), "truth2": shot(truth),
                "mesh": shot(truth - 6), "mesh2": shot(truth - 6), "mesh_mask": oval, "mesh_mask2": oval, "oval": oval,
                "occluder": np.zeros((SIZE, SIZE), np.uint8), "classes": np.ones((SIZE, SIZE), np.uint8), "landmarks": marks, "landmarks2": marks,
                "gaze": np.array([i, 0], np.float32), "head": np.array([5 * i - 25, 0, 0], np.float32), "eye_open": np.ones(2, np.float32),
                "tracker_gaze": np.zeros((2, 2), np.float32), "actions": np.array([0.1 * (i % 5)], np.float32),
                "a": np.int32((i + 1) % personas), "b": np.int32(b), "seed": np.int64(i),
            }
        )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "pairs-00000.npz", **{key: np.stack([row[key] for row in rows]) for key in rows[0]})
    people = [{"index": k, "flags": {"tone": k / personas, "glasses": k == 0, "beard": k == 1, "fringe": False}} for k in range(personas)]
    about = {"seed": 3, "size": SIZE, "held_out": False, "commit": "none", "actions": ["eyeBlinkLeft"], "wearers": people, "personas": people}
    (folder / "set.json").write_text(json.dumps(about), "utf-8")
    return folder
