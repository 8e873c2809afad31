"""The folder is the registry: a room's members are the modules in its package whose names do not begin with an underscore.

Code outside the tree joins a room by an entry point in the group `livecam.<room>` (name -> module).
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from types import ModuleType
from typing import cast

from livecam.errors import UsageError


@cache
def _installed() -> EntryPoints:
    """Every installed package's entry points, read once a process: 6 ms, and rooms are asked some twenty times at a start."""
    return cast(EntryPoints, entry_points())  # Python 3.11's is of another class, with the same `select`


def names(room: str) -> tuple[str, ...]:
    """Sorted names of the members of `room` (e.g. "capture"), entry points of the group `livecam.<room>` included."""
    package = importlib.import_module(f"livecam.{room}")
    inside = {m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")}
    outside = {e.name for e in _installed().select(group=f"livecam.{room}")}
    return tuple(sorted(inside | outside))


def load_module(room: str, name: str) -> ModuleType:
    """The module `name` of `room`. Raises UsageError, naming the choices, when there is none."""
    known = names(room)
    if name not in known:
        raise UsageError(f"{room} {name!r} is unknown; choose one of: {', '.join(known)}")
    for entry in _installed().select(group=f"livecam.{room}"):
        if entry.name == name:
            return entry.load()
    return importlib.import_module(f"livecam.{room}.{name}")
