"""Where a user's own insightface models lie. livecam ships none of them: their weights are for non-commercial research only."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from livecam.errors import MissingExtraError, ModelFileError

LICENCE = "non-commercial research only (InsightFace)"
PACKS = ("buffalo_l", "buffalo_m", "buffalo_s", "buffalo_sc", "antelopev2")
"""Packs of the insightface package, most exact first."""


def folder() -> Path:
    """insightface's model folder: INSIGHTFACE_HOME/models, else ~/.insightface/models."""
    return Path(os.environ.get("INSIGHTFACE_HOME") or "~/.insightface").expanduser() / "models"


def lookup(names: Sequence[str]) -> Path | None:
    """The first of `names` in the first pack that has it; None when no pack has any."""
    home = folder()
    for pack in PACKS:
        for name in names:
            for path in (home / pack / name, home / pack / pack / name):
                if path.is_file():
                    return path
    return None


def find(names: Sequence[str], purpose: str) -> Path:
    """The first of `names` in the first pack that has it. Raises MissingExtraError (no file, no package), ModelFileError (no file)."""
    found = lookup(names)
    if found is not None:
        return found
    home = folder()
    if importlib.util.find_spec("insightface") is None:
        raise MissingExtraError("insightface", "insightface", f"{purpose} (none of {', '.join(names)} in a pack in {home})")
    raise ModelFileError(
        f"{purpose} needs one of {', '.join(names)} in a pack ({', '.join(PACKS)}) in {home}, and none is there; the insightface package fetches "
        f"them (licence: {LICENCE}): python -c \"from insightface.app import FaceAnalysis; FaceAnalysis('buffalo_l')\""
    )
