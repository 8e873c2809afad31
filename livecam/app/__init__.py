"""Settings to objects, processes and threads: the only place that starts any.

live.py      the main process: supervisor, states, outputs, the control surface
worker.py    the worker process: capture thread, compute thread
outputs.py   which outputs to open, and what to do when one cannot be had or goes away
"""

from __future__ import annotations

from livecam.app.live import Live

__all__ = ["Live"]
