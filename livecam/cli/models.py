"""`livecam models`: the model files that livecam runs: list, fetch (for machines without a network too), verify."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table

from livecam import _shipped, store
from livecam.config import Config, RunConfig
from livecam.errors import ModelFileError, UsageError
from livecam.store import Checked, Store

app = App(name="models", help="List, fetch and verify model files.")

CacheDir = Annotated[Path | None, Parameter(name="--cache-dir", help="Folder of model files; default: LIVECAM_CACHE, else the user's cache folder.")]


@contextmanager
def fetching(console: Console | None = None) -> Generator[store.Progress]:
    """A progress bar in the terminal for each file that a Store fetches; nothing is drawn until one is. Yields what `Store(progress=...)` takes."""
    columns = (TextColumn("fetching {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, console=console or Console(stderr=True), transient=False)
    tasks: dict[str, TaskID] = {}

    def report(model_id: str, done_bytes: int, total_bytes: int) -> None:
        if model_id not in tasks:
            bar.start()
            tasks[model_id] = bar.add_task(model_id, total=total_bytes)
        bar.update(tasks[model_id], completed=done_bytes, total=total_bytes)

    try:
        yield report
    finally:
        bar.stop()


def fetch_for(config: Config, console: Console) -> None:
    """Fetches what a run with these settings opens and the cache lacks, with a progress bar, before anything else starts. Raises ModelFileError."""
    members = (f"detect/{config.detect.detector}", f"track/{config.track.tracker}")
    with fetching(console) as progress:
        models = Store(config.run.cache_dir, progress)
        for card in models.missing(members):
            models.fetch(card.id)
        _fetch_second_check(models, config, console)


def _fetch_second_check(models: Store, config: Config, console: Console) -> None:
    """What the second check opens; a run that does not insist on it goes on without when it cannot be had."""
    if config.guard.second_check == "off":
        return
    for card in models.missing(("guard/second",)):
        try:
            models.fetch(card.id)
        except ModelFileError as error:
            if config.guard.second_check == "on":
                raise
            console.print(f"the second check is left out: {error}", markup=False, soft_wrap=True)


def _open_store(cache_dir: Path | None, progress: store.Progress | None = None) -> Store:
    return Store(cache_dir or RunConfig().cache_dir, progress)


@app.command(name="list")
def list_models(*, cache_dir: CacheDir = None) -> None:
    """List the model files: what each is for, its licence, size, whether it is in the cache and is the right one.

    Example: `livecam models list`
    """
    models = _open_store(cache_dir)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("id", "purpose", "licence", "size", "cached", "verified"):
        table.add_column(column, justify="right" if column == "size" else "left", overflow="fold")
    for card in models.cards.values():
        state = models.check(card.id).state
        verified = {"ok": "yes", "missing": "-", "altered": "[red]NO, altered[/red]"}[state]
        table.add_row(card.id, card.purpose, card.licence, f"{card.size_bytes / 1e6:.1f} MB", "no" if state == "missing" else "yes", verified)
    console = Console()
    console.print(table)
    console.print(f"cache: {models.cache_dir / 'models'}", style="dim", soft_wrap=True, highlight=False)


@app.command
def fetch(
    *ids: str,
    all_: Annotated[bool, Parameter(name="--all", negative="", help="All model files.")] = False,
    to: Annotated[Path | None, Parameter(help="Put the files below this folder, for a machine without a network.")] = None,
    cache_dir: CacheDir = None,
) -> None:
    """Fetch model files now, so that everything later runs offline. Altered files are replaced.

    Examples: `livecam models fetch --all`, `livecam models fetch yunet face_landmark --to /media/stick`
    """
    with fetching() as progress:
        models = _open_store(to or cache_dir, progress)
        chosen = _chosen(models, ids, all_)
        for model_id in chosen:
            models.card(model_id)
        for model_id in chosen:
            sys.stdout.write(f"{model_id}: {models.fetch(model_id)}\n")
    if to is not None:
        where = f"copy {to / 'models'} into its cache folder (`livecam models list` shows it)"
        sys.stdout.write(f"On the other machine set LIVECAM_CACHE to this folder, or {where}.\n")


@app.command
def verify(*ids: str, cache_dir: CacheDir = None) -> None:
    """Compute the SHA-256 of each cached file anew and compare it with its card, and of each file that comes with livecam and compare it with the
    signed list; ends with an exit code other than 0 when one differs.

    Files that were never fetched are no error, unless named. Example: `livecam models verify`
    """
    models = _open_store(cache_dir)
    results = [models.check(model_id) for model_id in _chosen(models, ids, not ids)]
    for checked in results:
        sys.stdout.write(f"{checked.card.id}: {_verdict(checked)}\n")
    bad = [store.altered_text(c) for c in results if c.state == "altered"]
    bad += [f"comes with livecam: {line}; {_shipped.WAY_OUT}" for line in _shipped.differences()]
    sys.stdout.write("" if bad else f"comes with livecam: {len(_shipped.released().files)} files as signed, key {_shipped.released().fingerprint}\n")
    bad += [f"model file {c.path} is missing; fetch it with: livecam models fetch {c.card.id}" for c in results if c.state == "missing" and ids]
    if bad:
        raise ModelFileError("\n".join(bad))


def _verdict(checked: Checked) -> str:
    if checked.state == "altered":
        return f"ALTERED: expected {checked.card.sha256}, found {checked.found_sha256}"
    return {"ok": f"ok, SHA-256 {checked.found_sha256}", "missing": "not fetched"}[checked.state]


def _chosen(models: Store, ids: tuple[str, ...], everything: bool) -> tuple[str, ...]:
    if everything and not ids:
        return tuple(models.cards)
    if not ids or everything:
        raise UsageError(f"name model files or --all, not both; there are: {', '.join(models.cards)}")
    return ids
