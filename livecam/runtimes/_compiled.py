"""Compiled networks kept between starts, each under a seal: a blob whose SHA-256 is not the one noted when it was made is deleted and made anew.

OpenVINO itself notices a blob that was cut short, but not flipped bits in its weights: those would quietly draw something else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

BLOBS = "*.blob"
SEAL = ".sha256"
KEY_DIGITS = 16


def folder_for(cache_dir: Path, model: Path | bytes) -> Path:
    """The folder of a model's blobs: named by its content, so that another file of the same name gets its own. Raises OSError."""
    digest = hashlib.sha256(model if isinstance(model, bytes) else model.read_bytes())
    return cache_dir / digest.hexdigest()[:KEY_DIGITS]


@contextmanager
def sealed(folder: Path) -> Generator[None]:
    """Around compiling with `folder` as the runtime's cache: drops blobs that are not as they were, seals those that are new."""
    folder.mkdir(parents=True, exist_ok=True)
    for blob in folder.glob(BLOBS):
        if _read(_seal_of(blob)) != _hash(blob):
            _drop(blob)
    yield
    for blob in folder.glob(BLOBS):
        if not _seal_of(blob).exists():
            # A cache that cannot be written is only slower.
            with suppress(OSError):
                _seal_of(blob).write_text(_hash(blob), "ascii")


def _seal_of(blob: Path) -> Path:
    return blob.with_name(blob.name + SEAL)


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, ValueError):
        return ""


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "unreadable"


def _drop(blob: Path) -> None:
    for path in (blob, _seal_of(blob)):
        # On Windows another process may hold it open; then it was made by that one just now.
        with suppress(OSError):
            path.unlink(missing_ok=True)
