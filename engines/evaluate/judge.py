"""Who is this? Face embedders that no training uses, on the face oval alone, at one tone.

So that neither hair nor skin colour tells people apart (a gallery matched in both): outside a fixed ellipse of the aligned crop all is grey, and
inside it mean and spread of the colours are brought to one value for everybody. The ellipse is the same for all, so its shape says nothing.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from engines.evaluate import tfjs, weights
from livecam import geometry
from livecam.types import F32, F64, U8

TEMPLATE_PX = 112
ELLIPSE = ((55.5, 60.5), (37.0, 50.0))
"""Centre and half axes on ArcFace's 112-px template: forehead's lower half to chin, cheek to cheek."""
SOFT_PX = 2.5
GREY = 127.0
TONE_MEAN = np.array([62.0, 12.0, 14.0], np.float32)
TONE_STD = np.array([12.0, 4.0, 5.0], np.float32)
"""L*, a*, b* inside the ellipse, for everybody."""
LEAST_STD = 0.5
ANTI_ALIAS = 0.4
"""Gaussian sigma in source pixels per pixel that the shrinking skips."""


def aligned(picture: U8, five_px: F32 | F64, size: int = TEMPLATE_PX) -> U8:
    """(size, size, 3) uint8: the face on ArcFace's template. five_px: (5, 2) points in `picture`."""
    template = (np.array(geometry.ARCFACE_112_V2) + 0.5) * (size / TEMPLATE_PX) - 0.5
    matrix = geometry.umeyama(five_px, template)
    sigma = ANTI_ALIAS * (1.0 / geometry.scale_of(matrix) - 1.0)
    smooth = cv2.GaussianBlur(picture, (0, 0), sigma) if sigma > 0.05 else picture
    return np.asarray(cv2.warpAffine(smooth, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def oval_only(face: U8) -> U8:
    """`face` ((S, S, 3), aligned) with grey around the ellipse and one tone in it."""
    size = face.shape[0]
    alpha = ellipse(size)
    inside = alpha > 0.5
    colours = np.asarray(cv2.cvtColor(face.astype(np.float32) / np.float32(255), cv2.COLOR_BGR2LAB), np.float32)
    mean, std = colours[inside].mean(axis=0), np.maximum(colours[inside].std(axis=0), LEAST_STD)
    matched = (colours - mean) * (TONE_STD / std) + TONE_MEAN
    back = np.clip(cv2.cvtColor(matched.astype(np.float32), cv2.COLOR_LAB2BGR), 0, 1) * 255.0
    return np.rint(GREY + (back - GREY) * alpha[..., None]).astype(np.uint8)


def ellipse(size: int) -> NDArray[np.float32]:
    """(size, size) float32 0..1."""
    k = size / TEMPLATE_PX
    y, x = np.indices((size, size), np.float32)
    (cx, cy), (rx, ry) = ELLIPSE
    r = np.sqrt((((x + 0.5) / k - 0.5 - cx) / rx) ** 2 + (((y + 0.5) / k - 0.5 - cy) / ry) ** 2)
    return np.clip((1.0 - r) * min(rx, ry) / SOFT_PX + 0.5, 0.0, 1.0).astype(np.float32)


class Judge:
    """One embedder. Called from one thread."""

    def __init__(self, name: str, folder: Path | None = None, threads: int = 1) -> None:
        found = weights.load(name, folder)
        card = found.card["input"]
        network = tfjs.convert(found.paths[f"{name}.json"], found.paths[f"{name}.bin"], card["output"])
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        self._request = ov.Core().compile_model(network, "CPU", settings).create_infer_request()
        self.name, self.licence = name, str(found.card["licence"])
        self._size, self._mean, self._std = int(card["size_px"]), float(card["mean"]), float(card["std"])

    def embed(self, picture: U8, five_px: F32 | F64) -> F64:
        """(N,) float64 of length 1: the face of `picture` and its mirror image, oval only."""
        return self.embed_face(oval_only(aligned(picture, five_px, self._size)))

    def embed_face(self, face: U8) -> F64:
        """`embed` of a face that is aligned and prepared."""
        both = [self._run(face), self._run(np.ascontiguousarray(face[:, ::-1]))]
        total = both[0] + both[1]
        return total / max(float(np.linalg.norm(total)), 1e-12)

    def _run(self, face: U8) -> F64:
        rgb = (face[..., ::-1].astype(np.float32) - np.float32(self._mean)) / np.float32(self._std)
        self._request.infer({0: np.ascontiguousarray(rgb[None])})
        out = self._request.get_output_tensor(0).data.reshape(-1).astype(np.float64)
        return out / max(float(np.linalg.norm(out)), 1e-12)
