"""What identifies a persona: an embedding of its neutral portrait, by an openly licensed network (SFace, 128 numbers, length 1).

Persona files that ship have it inside; for others it is computed when they are put on, and kept.
Method: SFace (Zhong et al., IEEE TIP 2021) on the portrait aligned to ArcFace's 112-px template.
"""

from __future__ import annotations

import hashlib

import cv2
import numpy as np

from livecam import geometry, runtimes
from livecam.errors import ModelFileError, PersonaError
from livecam.runtimes import Runtime
from livecam.store import Store
from livecam.types import F32, U8, Persona

LENGTH = 128
TEMPLATE_PX = 112
FIVE_OF_MESH = (468, 473, 1, 61, 291)
"""Mesh points that are ArcFace's five: irises (image-left first), nose tip, mouth corners."""
ANTI_ALIAS = 0.4
"""Gaussian sigma in source pixels per pixel that the shrinking skips."""
LEAST_NORM = 1e-6
KEPT = 64
"""Embeddings kept."""


def aligned(picture: U8, mesh: F32) -> U8:
    """A portrait aligned to ArcFace's template: (112, 112, 3) uint8 BGR. mesh: (478, 3) landmarks on it. Raises ValueError, IndexError, cv2.error."""
    return aligned_by_five(picture, mesh[list(FIVE_OF_MESH), :2])


def aligned_by_five(picture: U8, five_px: F32) -> U8:
    """The same by a face's five points (5, 2) in the picture. Raises ValueError, cv2.error."""
    matrix = geometry.umeyama(five_px, geometry.ARCFACE_112_V2)
    # Blurred to what the small crop can show, or its bilinear samples would alias.
    sigma = max(ANTI_ALIAS * (1 / geometry.scale_of(matrix) - 1), 1e-3)
    smooth = cv2.GaussianBlur(picture, (0, 0), sigma)
    return cv2.warpAffine(smooth, matrix, (TEMPLATE_PX, TEMPLATE_PX), flags=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def portrait_crop(persona: Persona) -> U8:
    """The persona's neutral portrait, `aligned`. Raises PersonaError."""
    try:
        return aligned(persona.images["neutral"], persona.meshes["neutral"])
    except (KeyError, IndexError, ValueError, ZeroDivisionError, cv2.error) as error:
        raise PersonaError(f"persona {persona.id!r} has no neutral portrait with landmarks that could be embedded: {error}") from error


class Embedders:
    """Embedding networks by the id of their model card, opened when one is first needed. Used by one thread at a time."""

    def __init__(self, store: Store, threads: int = 1) -> None:
        self._store, self._threads = store, threads
        self._networks: dict[str, Runtime] = {}
        self._kept: dict[str, F32] = {}

    def embedding(self, persona: Persona, model: str) -> F32:
        """(128,) float32 of length 1: the file's own when it was made by `model`, else computed. Raises PersonaError, ModelFileError."""
        if persona.embedding is not None and persona.metadata.get("embedding_model") == model:
            return persona.embedding
        return self._keep(portrait_crop(persona), model, persona.id)

    def of_picture(self, picture: U8, mesh: F32, model: str, what: str) -> F32:
        """The same of a portrait (BGR) with its landmarks (478, 3); what: its name in messages."""
        return self._keep(aligned(picture, mesh), model, what)

    def of_crop(self, crop: U8, model: str, what: str) -> F32:
        """The same of a crop that is aligned already, (112, 112, 3) uint8 BGR; not kept."""
        return self._compute(crop, model, what)

    def _keep(self, crop: U8, model: str, what: str) -> F32:
        key = model + hashlib.sha256(crop.tobytes()).hexdigest()
        if key not in self._kept:
            while len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = self._compute(crop, model, what)
        return self._kept[key]

    def _compute(self, crop: U8, model: str, what: str) -> F32:
        network = self._networks.get(model)
        if network is None:
            network = self._networks[model] = runtimes.load("openvino", self._store.path(model), self._threads, self._store.compiled_dir)
        rgb = np.ascontiguousarray(crop[..., ::-1].transpose(2, 0, 1)[None], np.float32)
        vector = next(iter(network.run({network.inputs[0].name: rgb}).values())).reshape(-1).astype(np.float64)
        norm = float(np.linalg.norm(vector))
        if vector.shape != (LENGTH,) or not np.isfinite(norm) or norm < LEAST_NORM:
            raise ModelFileError(f"embedder {model!r} should give {LENGTH} finite numbers for {what!r}, found {vector.shape} of length {norm}")
        return (vector / norm).astype(np.float32)
