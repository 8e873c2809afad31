"""`livecam run`: the live filter."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from livecam import app as application
from livecam import gpu
from livecam.app.governor import parse_budget
from livecam.cli import _early, models
from livecam.cli._keys import Keys
from livecam.cli._view import show_live
from livecam.config import CaptureConfig, Config, DetectConfig, GuardConfig, MarkConfig, OutputConfig, RunConfig, SwapConfig, TrackConfig
from livecam.errors import UsageError
from livecam.guard.reveal import WORDS, RevealGrant, grant

app = App(name="run")

KEYS = "space cover · n next persona · p previous · s snapshot · q quit"


def _group(name: str) -> Parameter:
    return Parameter(name="*", group=name)


@app.default
def run(
    source: Annotated[str | None, Parameter(help="The same as --camera: a camera, file or address.")] = None,
    /,
    *,
    capture: Annotated[CaptureConfig, _group("Camera")] = CaptureConfig(),  # noqa: B008 - frozen
    swap: Annotated[SwapConfig, _group("Persona")] = SwapConfig(),  # noqa: B008
    output: Annotated[OutputConfig, _group("Output")] = OutputConfig(),  # noqa: B008
    mark: Annotated[MarkConfig, _group("Mark")] = MarkConfig(),  # noqa: B008
    detect: Annotated[DetectConfig, _group("Detection")] = DetectConfig(),  # noqa: B008
    track: Annotated[TrackConfig, _group("Tracking")] = TrackConfig(),  # noqa: B008
    guard: Annotated[GuardConfig, _group("Guard")] = GuardConfig(),  # noqa: B008
    run_: Annotated[RunConfig, _group("Machine")] = RunConfig(),  # noqa: B008
    seconds: Annotated[float, Parameter(help="End by itself after so long; 0 runs until you quit.", group="Running")] = 0.0,
    json_lines: Annotated[
        bool, Parameter(name="--json", help="One JSON line a second instead of the live table.", negative="", group="Running")
    ] = False,
    reveal: Annotated[
        bool,
        Parameter(
            help="Show the unmasked picture, watermarked UNMASKED, on the outputs: asks for words first, any key ends it.",
            negative="",
            group="Running",
        ),
    ] = False,
) -> None:
    """Mask the face and send the picture to a virtual camera, the page, a window or a file.

    Examples: `livecam run`, `livecam run 0 --persona NAME`, `livecam run talk.mp4 --outputs file:masked.mp4 --no-loop --no-realtime`.
    While it runs: space covers the picture at once, n and p change the persona, s takes a snapshot, q quits.
    """
    if source is not None:
        if any(word == "--camera" or word.startswith("--camera=") for word in sys.argv):
            raise UsageError(f"expected the camera once, found {source!r} and --camera {capture.camera!r}; leave one of them out")
        capture = replace(capture, camera=source)
    config = Config(capture, detect, track, swap, output, mark, guard, run_)
    console = Console(stderr=True)
    gpu.chosen(run_.device)
    parse_budget(run_.budget)
    granted = _ask_reveal(console) if reveal else None
    models.fetch_for(config, console)
    tell = partial(console.print, markup=False, soft_wrap=True)  # as it is: livecam[signed] is a name, no style
    with application.Live(config, progress=tell, reveal=granted, begun=_early.take()) as live, Keys(live.press):
        tell(live.banner())
        if not json_lines and sys.stdin.isatty():
            console.print(f"keys: {KEYS}", style="dim")
        show = _print_json if json_lines else (show_live(console) if console.is_terminal else None)
        live.run(seconds=seconds, each_second=show)
    if not json_lines:
        tell(live.farewell())


def _ask_reveal(console: Console) -> RevealGrant | None:
    """Unmasked output is asked for in words, at the terminal, each time."""
    if "--reveal" not in sys.argv:
        raise UsageError("expected reveal only as the option --reveal on the command line, found it in a config file; take it out of there")
    if not sys.stdin.isatty():
        console.print("--reveal is asked for in words at a terminal; there is none here, so the picture stays masked")
        return None
    console.print(f"--reveal shows your real face, watermarked UNMASKED, until any key. Type [bold]{WORDS}[/bold] to go on:")
    return grant(input())


def _print_json(snapshot: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(snapshot, separators=(",", ":")) + "\n")
    sys.stdout.flush()
