"""Puts this folder on the path, so that tests share its helpers; the user's keys and lists are those of the tests, not the ones of who runs them."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_config(tmp_path_factory: pytest.TempPathFactory) -> None:  # pyright: ignore[reportUnusedFunction]
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))
