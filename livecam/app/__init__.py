"""Settings to objects, processes and threads: the only place that starts any.

live.py      the main process: supervisor, states, outputs, the control surface
worker.py    the worker process: capture thread, compute thread
wardrobe.py, engine_room.py   personas and runtimes made ready while frames go on
second_check.py   faces compared in a thread of its own, for guard/second.py
preload.py   what the worker process loads before it knows its settings
outputs.py   which outputs to open, and what to do when one cannot be had or goes away
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livecam.app.live import Live

__all__ = ["Live"]


def __getattr__(name: str) -> Any:
    """`Live` when it is asked for: the worker imports this package too, and needs nothing of the main process."""
    if name != "Live":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from livecam.app.live import Live

    return Live
