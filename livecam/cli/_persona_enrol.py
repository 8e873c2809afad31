"""`livecam persona enrol`: a persona of the person in front of the camera, with that person's consent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.live import Live
from rich.text import Text

from livecam.cli import models
from livecam.config import CaptureConfig, Config, RunConfig
from livecam.errors import PersonaError, UsageError
from livecam.persona import _consent
from livecam.persona._prompts import Status
from livecam.store import Store

BELL = "\a"
INSTRUCTIONS = """Look into the camera. Do what is asked when it is asked, not before; between the prompts look into the camera, mouth closed,
and do not talk. Six to eight prompts come, about half a minute. When you have shut your eyes, a sound says that you may open them."""


def enrol(
    *,
    photos: Annotated[list[Path], Parameter(help="Photographs of you alone, or folders of them; compared, not kept.", consume_multiple=True)],
    name: Annotated[str, Parameter(help="The name by which you want to be called in the record.")],
    scope: Annotated[str, Parameter(help='What the persona is for, for example "my own video calls".')],
    output: Annotated[Path, Parameter(alias="-o", help="The file to write.")],
    camera: Annotated[str, Parameter(help="A camera that is plugged in or built in: number, path or name.")] = "0",
    months: Annotated[int, Parameter(help="How long the consent holds, 1 to 12.")] = 12,
    mirror: Annotated[bool, Parameter(help="This camera delivers a mirrored picture.", negative="")] = False,
    force: Annotated[bool, Parameter(help="Replace a file that exists.", negative="")] = False,
    cache_dir: Annotated[Path | None, Parameter(name="--cache-dir", help="Folder of model files; default: the user's.")] = None,
) -> None:
    """Make a persona of yourself: by you, in front of the camera, for at most twelve months.

    Example: `livecam persona enrol --photos ~/me --name "Ada L." --scope "my own calls" --months 6 -o me.safetensors`
    """
    from livecam.app import enrol as application
    from livecam.capture import _live_only

    console = Console(highlight=False)
    _check(name, scope, output, force)
    term = _consent.term(months)
    files = application.photographs(photos)
    real = _live_only.vet(camera)  # before anything is asked: a recording is refused at once
    statement = _consent.shown(name, scope, term[1])
    answer = _ask(console, statement, name)
    run = RunConfig(cache_dir=cache_dir) if cache_dir else RunConfig()
    config = CaptureConfig(camera=camera, mirror=mirror)
    models.fetch_for(Config(capture=config, run=run), console)
    with models.fetching(console) as progress:
        Store(run.cache_dir, progress).path(application.EMBEDDER)
    try:
        looker = application.Looker(run.cache_dir, run.threads)
        pictures = [(str(path), looker.photograph(path)) for path in files]
        console.print(f"{len(pictures)} photograph(s), one face each. Camera: {real}\n\n{INSTRUCTIONS}\n", markup=False, soft_wrap=True)
        opened, known_as = application.open_camera(camera, config)
        with opened, _Prompter(console) as show:
            sat = application.sit(opened, known_as, looker, show)
        console.print("the prompts are passed; comparing with the photographs and mixing pictures, about half a minute", markup=False, soft_wrap=True)
        record, near = application.make(application.Wanted(name, scope, *term, answer, output, force), pictures, sat, looker)
    except KeyboardInterrupt:
        console.print("ended; nothing was written")
        raise
    console.print(f"persona: {output}, encrypted, until {_consent.day(record.expires)}; id {record.id}", markup=False, soft_wrap=True)
    scores = ", ".join(f"{score:.2f}" for score in record.match)
    console.print(f"match:   {scores} (at least {record.threshold}); mixed portrait {near:.2f}", soft_wrap=True)
    console.print(f"wear it: livecam run --persona {output}\nend it:  livecam persona revoke {output}", markup=False, soft_wrap=True)


class _Prompter:
    """Shows the prompts on one line that changes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(Text(""), console=console, refresh_per_second=15, transient=True)
        self._shown = ""
        self._done = 0

    def __enter__(self) -> _Prompter:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def __call__(self, status: Status) -> None:
        if status.done > self._done:
            self._done = status.done
            self._console.print(BELL, end="")
        text = f"[{status.done} of {status.rounds}]  {status.say}"
        if text != self._shown:
            self._shown = text
            style = "bold yellow" if status.prompt is not None else "dim"
            self._live.update(Text(text, style=style), refresh=True)
            if not self._console.is_terminal:
                self._console.print(text, markup=False)


def _check(name: str, scope: str, output: Path, force: bool) -> None:
    for what, text, most in (("--name", name, _consent.MAX_NAME), ("--scope", scope, _consent.MAX_SCOPE)):
        if not 1 <= len(text.strip()) <= most or not text.isprintable():
            raise UsageError(f"{what} expected 1 to {most} printable characters, found {len(text)}")
    if output.exists() and not force:
        raise PersonaError(f"{output} exists and was left as it is; choose another file, or replace it with --force")


def _ask(console: Console, statement: str, name: str) -> str:
    """The typed agreement. Raises UsageError: no terminal, or no agreement."""
    console.print(statement, markup=False, soft_wrap=True)
    if not sys.stdin.isatty():
        raise UsageError("expected a terminal at which the person types the agreement, found none; start enrolment from one")
    expected = _consent.ANSWER.format(subject=name)
    console.print(f"\nTo agree, type:  {expected}\nAnything else ends here, and nothing is kept.", markup=False, soft_wrap=True)
    answer = input().strip()
    if answer != expected:
        raise UsageError(f"expected {expected!r}, found something else: no consent was given, and nothing was kept")
    return answer
