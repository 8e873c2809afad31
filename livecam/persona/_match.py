"""Whether the face before the camera and the faces on photographs are one person's: cosines of SFace embeddings. No input or output in here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from livecam.errors import PersonaError
from livecam.types import F32

SAME_PERSON = 0.363
"""Cosine from which two faces count as one person's: SFace's published threshold, best on LFW (OpenCV's model zoo, face_recognition_sface)."""
LEAST_LIVE = 5
"""Pictures of the live face, one a round."""


@dataclass(frozen=True, slots=True)
class Match:
    """scores: cosine of each photograph with the live face; live: least cosine of a live picture with the others' mean; embedding: (128,) float32 of
    length 1, the mean of the photographs' and the live face's."""

    scores: tuple[float, ...]
    live: float
    embedding: F32


def match(live: Sequence[F32], photographs: Sequence[F32], names: Sequence[str]) -> Match:
    """live, photographs: (128,) embeddings of length 1; names: of the photographs, for messages. Raises PersonaError: they are not one person's."""
    if len(live) < LEAST_LIVE:
        raise PersonaError(f"expected at least {LEAST_LIVE} pictures of the live face, found {len(live)}; try again")
    if not photographs or len(names) != len(photographs):
        raise PersonaError("expected at least one photograph of the person before the camera, found none")
    rows = np.stack(live)
    alone = [float(row @ unit(rows.sum(axis=0) - row)) for row in rows]
    if min(alone) < SAME_PERSON:
        raise PersonaError(
            f"expected one person before the camera all the time (cosine of at least {SAME_PERSON}), found faces that differ ({min(alone):.2f}); try "
            "again in even light"
        )
    middle = unit(rows.mean(axis=0))
    scores = tuple(float(middle @ one) for one in photographs)
    strangers = [f"{name} ({score:.2f})" for name, score in zip(names, scores, strict=True) if not score >= SAME_PERSON]
    if strangers:
        raise PersonaError(
            f"expected photographs of the person before the camera (cosine of at least {SAME_PERSON}), found others: {', '.join(strangers)}; "
            "give photographs of yourself alone, from the front"
        )
    return Match(scores, min(alone), unit(np.mean([middle, *photographs], axis=0)))


def unit(vector: F32) -> F32:
    """Of length 1."""
    return (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)
