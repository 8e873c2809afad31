"""TOML files from anywhere: cards and settings."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

MAX_BYTES = 262_144
"""The largest card has 4,000."""


def read(path: Path) -> tuple[dict[str, Any], bytes]:
    """What is in a TOML file, and its bytes. Raises OSError, ValueError (too large, not UTF-8, no TOML, nested without end)."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    try:
        return tomllib.loads(data.decode("utf-8")), data
    except RecursionError:
        raise ValueError("its tables or lists are nested too deeply") from None
