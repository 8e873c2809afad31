"""`livecam soak`: the guard under fire."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from livecam.app.live import parse_size
from livecam.cli import models
from livecam.config import Config, GuardConfig, RunConfig, SwapConfig
from livecam.errors import UsageError

if TYPE_CHECKING:
    from livecam.soak.run import Now

app = App(name="soak")
SIZES = {"720p": "1280x720", "1080p": "1920x1080"}
VERDICT = {True: "[green]reached[/green]", False: "[red]NOT reached[/red]", None: "more to run"}


@app.default
def soak(
    *,
    hours: Annotated[float, Parameter(help="End after so many hours; 0: after --frames.")] = 0.0,
    frames: Annotated[int, Parameter(help="End after so many frames of the camera; 0: after --hours.")] = 0,
    seed: Annotated[int, Parameter(help="Which faults come when, who is before the camera, and the canary.")] = 1,
    size: Annotated[str, Parameter(help="The camera's: 720p, 1080p, or such as 480x270.")] = "720p",
    stages: Annotated[Literal["real", "stub"], Parameter(help="stub: without networks, for many more frames.")] = "real",
    only: Annotated[str, Parameter(help="Only faults whose name contains one of these words, by commas, such as camera,swap:")] = "",
    plant: Annotated[float, Parameter(help="A broken worker lets this share of the face through now and then: exit code 1 is expected.")] = 0.0,
    resume: Annotated[bool, Parameter(help="Go on where --output stands, and add up.", negative="")] = False,
    output: Annotated[Path, Parameter(help="The report, as JSON; what --resume reads.")] = Path("soak.json"),
    swap: Annotated[SwapConfig, Parameter(name="*", group="Persona")] = SwapConfig(),  # noqa: B008 - frozen
    run: Annotated[RunConfig, Parameter(name="*", group="Machine")] = RunConfig(),  # noqa: B008
    second_check: Annotated[Literal["auto", "on", "off"], Parameter(help="As in livecam run.")] = "auto",
) -> None:
    """Run livecam's real processes under load, with about a hundred kinds of fault at random, and look for the wearer's face in every picture.

    Ends with exit code 1 when one was found, or when the oracle missed a planted one. Figures that were reached and missed are listed at the end.
    Examples: `livecam soak --hours 2`, `livecam soak --hours 72 --resume`, `livecam soak --frames 200000 --size 480x270 --stages stub`
    """
    from livecam.soak import report
    from livecam.soak import run as soaking

    if hours <= 0 and frames <= 0:
        raise UsageError("expected --hours or --frames above 0, found neither; for example: livecam soak --hours 2")
    if not 0.0 <= plant <= 1.0:
        raise UsageError(f"--plant expected a share from 0 to 1, found {plant:g}")
    if not resume and output.exists():
        raise UsageError(f"{output} is there already; add --resume to go on with it, or name another --output")
    width, height = parse_size(SIZES.get(size, size))
    config = Config(swap=swap, run=run, guard=GuardConfig(second_check=second_check))
    console = Console(stderr=True)
    if stages == "real":
        models.fetch_for(config, console)
    else:
        config = replace(config, guard=GuardConfig(second_check="off"))
    command = "livecam " + shlex.join(sys.argv[1:])
    asked = soaking.Asked(hours, frames, seed, width - width % 4, height - height % 4, stages, only, plant, command)
    with _progress(console) as tell:
        sums = soaking.run(asked, config, output, resume, tell, lambda text: console.print(text, markup=False))
    console.print(summary(report.goals(sums)))
    console.print(f"report: {output}", markup=False, highlight=False)
    total = sums["parts"][asked.part(config)] if plant else sums["totals"]
    for one in [wrong for part in sums["parts"].values() for wrong in part["wrong_list"]][:5]:
        console.print(f"[red]wrong picture[/red] at frame {one['index']} during {one['kind'] or 'no fault'}: {one['state']}, z {one['z']:.1f}")
    if total["wrong"]:
        sys.exit(1)


def summary(rows: list[tuple[str, str, str, bool | None]]) -> Table:
    """The figures beside what they should be."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("what", "found", "goal", ""):
        table.add_column(column)
    for what, found, goal, reached in rows:
        table.add_row(what, found, goal, VERDICT[reached] if goal else "")
    return table


class _progress:  # noqa: N801 - used as a function in a with statement
    """A bar in the terminal, or a line every minute where there is none."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("self-check", total=None)
        self._told_s = 0.0

    def __enter__(self) -> Callable[[Now], None]:
        self._bar.start()
        return self._tell

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def _tell(self, now: Now) -> None:
        done: dict[str, Any] = {"total": now.wanted, "completed": now.frames} if now.wanted else {"total": now.hours * 3600, "completed": now.seconds}
        self._bar.update(self._task, description=line(now), **done)
        if not self._console.is_terminal and now.seconds - self._told_s >= 60.0:
            self._told_s = now.seconds
            self._console.print(line(now), markup=False, highlight=False)


def line(now: Now) -> str:
    """Where the run stands."""
    return (
        f"{now.frames} frames, {now.faults} faults, {now.wrong} wrong, highest z {now.highest_z:.1f} of {now.threshold_z:.1f}, "
        f"worker {now.workers}, {now.kind or 'healthy'}: {now.on_air}"
    )
