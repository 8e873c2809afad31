"""The live table of `livecam run`, drawn from `Surface.snapshot()`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

STATE_STYLE = {"LIVE": "bold green", "HOLD": "bold yellow", "COVER": "bold magenta", "SLATE": "bold red", "REVEAL": "bold white on red"}


def show_live(console: Console) -> Callable[[dict[str, Any]], None]:
    """A function that redraws the table in place at each call; the first call starts it."""
    live = Live(console=console, auto_refresh=False, transient=True)

    def show(snapshot: dict[str, Any]) -> None:
        if not live.is_started:
            live.start()
        live.update(table(snapshot), refresh=True)
        if snapshot.get("ending"):
            live.stop()

    return show


def _three(figures: dict[str, float]) -> tuple[str, str, str]:
    if not figures:
        return ("–", "–", "–")
    return (f"{figures['p50']:.1f}", f"{figures['p95']:.1f}", f"{figures['p99']:.1f}")


def table(snapshot: dict[str, Any]) -> Group:
    """The whole table as a rich renderable."""
    state = str(snapshot["state"])
    head = Text.assemble(
        (f" {state} ", STATE_STYLE.get(state, "bold")),
        f"  {snapshot['fps']:.1f} fps   persona {snapshot['persona']}   faces {snapshot['faces']}   ",
        (str(snapshot.get("reason") or ""), "dim"),
    )
    times = Table(box=None, pad_edge=False, header_style="dim")
    times.add_column("ms", min_width=12)
    for name in ("p50", "p95", "p99"):
        times.add_column(name, justify="right", min_width=7)
    times.add_row("frame age", *_three(snapshot["frame_age_ms"]), style="bold")
    for stage, figures in snapshot["stages_ms"].items():
        times.add_row(stage, *_three(figures))
    drops = snapshot["drops"]
    foot = Text(f"dropped: camera {drops['camera']}, output {drops['output']}   restarts {snapshot['restarts']}   {snapshot['camera']}", style="dim")
    notes = [Text(str(n), style="yellow") for n in snapshot["notes"][-3:]]
    return Group(head, times, foot, *notes)
