"""`livecam engine`: TensorRT engines: build, list, verify, clean."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from livecam import runtimes
from livecam._sealed import Entry
from livecam.cli import models
from livecam.config import RunConfig
from livecam.errors import LivecamError, ModelError, ModelFileError, RuntimeAbsentError, UsageError
from livecam.runtimes import _engines, _gate, _memory, _nvidia, _trt
from livecam.store import Store

app = App(name="engine", help="Build, list, verify and clean TensorRT engines (extra `tensorrt`).")

CacheDir = Annotated[Path | None, Parameter(name="--cache-dir", help="Folder of model files; default: LIVECAM_CACHE, else the user's cache folder.")]
NETWORKS = {
    "lite128": {},
    "lite256": {},
    "gaze": {},
    "yunet": {"input": (1, 3, 192, 320)},
    "face_landmark": {},
    "iris_landmark": {},
    "sface": {},
}
"""Cards of the networks that livecam comes with or fetches, and the shape for those that take any: YuNet's search of a 16:9 picture."""
ALL = "all"


@dataclass(frozen=True, slots=True)
class Job:
    """A network and what it is to be built with. driver: AHEAD when it is built without the card."""

    name: str
    file: Path
    shapes: dict[str, tuple[int, ...]]
    package: _trt.Package
    arch: str
    driver: str


@app.command
def build(
    *networks: Annotated[str, Parameter(help="Cards (`livecam models list`), or .onnx files of your own; none: all that livecam comes with.")],
    arch: Annotated[str, Parameter(help="Ahead of time, for cards of these architectures: sm75, sm86, sm89, sm120, several by commas, or all.")] = "",
    package: Annotated[str, Parameter(help="tensorrt-rtx or tensorrt; auto takes what serves the card.")] = "auto",
    shape: Annotated[tuple[str, ...], Parameter(help="Of an input without a fixed one, such as input=1x3x192x320.")] = (),
    cache_dir: CacheDir = None,
) -> None:
    """Build engines now, so that a run finds them. Without a card in this machine name its architecture; only tensorrt-rtx can do that.

    Examples: `livecam engine build`, `livecam engine build lite128 --arch sm89`, `livecam engine build my.onnx --arch all`
    """
    with models.fetching() as progress:
        store = Store(cache_dir or RunConfig().cache_dir, progress)
        wanted = {name: _file(store, name) for name in networks or tuple(NETWORKS)}
    given = _shapes(shape)
    if any(name not in store.cards for name in wanted):
        _memory.bound_process()
    kept, failures = _engines.cache(store.compiled_dir), list[str]()
    for job in _jobs(wanted, given, arch, package):
        try:
            with _progress(job) as report:
                key = _engines.engine_key(data := _read(store, job), str(job.file), job.package, job.arch, job.driver, job.shapes)
                built = _engines.engine(kept, data, key, job.package, job.shapes, report)
        except ModelError as error:
            failures.append(str(error))
            continue
        took = f"made ready in {built.prepare_s:.1f} s, built in {built.build_s:.1f} s ({built.cpu_s:.1f} CPU-s)" if built.fresh else "was there"
        sys.stdout.write(f"{job.name} {job.arch}: {took}, {len(built.plan) / 1e6:.1f} MB\n")
        failures += _tried(job, store) if job.driver != _engines.AHEAD else []
    if failures:
        raise ModelFileError("\n".join(failures))


def _tried(job: Job, store: Store) -> list[str]:
    """Opens an engine for this machine's own card, which brings it before the parity gate; what went wrong."""
    try:
        options = {"shapes": job.shapes, "package": job.package.name, "name": str(job.file)}
        runtimes.load("tensorrt", _read(store, job), 1, store.compiled_dir, options)
    except LivecamError as error:
        return [str(error)]
    sys.stdout.write(f"{job.name} {job.arch}: reproduced the reference\n")
    return []


def _file(store: Store, name: str) -> Path:
    if name in store.cards:
        return store.path(name)
    path = Path(name).expanduser()
    if not path.is_file():
        raise UsageError(f"{name!r} is neither a card nor a file; the cards are: {', '.join(NETWORKS)}")
    return path


def _read(store: Store, job: Job) -> bytes:
    """The network's bytes: of a card as verified, of a file of the user's own as the gate let them through (ONNX alone)."""
    return _engines.read_model(job.file)[0] if job.name in store.cards else _gate.admit(job.file).data


def _shapes(texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    out: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, sizes = text.partition("=")
        try:
            out[name] = tuple(int(size) for size in sizes.split("x"))
        except ValueError:
            raise UsageError(f"--shape expected an input and its sizes, such as input=1x3x192x320, found {text!r}") from None
    return out


def _jobs(wanted: dict[str, Path], given: dict[str, tuple[int, ...]], arch: str, package: str) -> Generator[Job]:
    """Each network for each architecture. Raises UsageError, MissingExtraError, ModelFileError, RuntimeAbsentError (no card, and none named)."""
    if arch:
        chosen, driver = _trt.load("tensorrt-rtx" if package == "auto" else package), _engines.AHEAD
        arches = chosen.arches if arch == ALL else tuple(word.strip().lower() for word in arch.split(","))
        unknown = [word for word in arches if word not in chosen.arches]
        if unknown or not arches:
            known = ", ".join(chosen.arches) or "the card of this machine only (leave --arch out)"
            raise UsageError(f"--arch {arch}: {chosen.name} {chosen.version} builds for {known}, not for {', '.join(unknown) or arch}")
    else:
        found = _nvidia.read()
        if found is None or not found.gpus:
            raise RuntimeAbsentError("there is no NVIDIA card here; name the architecture to build for, such as --arch sm89 (RTX 40), or --arch all")
        arches, driver = (found.gpus[0].arch,), found.driver
        chosen = _trt.choose(arches[0]) if package == "auto" else _trt.load(package)
    for name, file in wanted.items():
        for one in arches:
            yield Job(name, file, given or dict(NETWORKS.get(name, {})), chosen, one, driver)


@contextmanager
def _progress(job: Job) -> Generator[_trt.Progress]:
    columns = (TextColumn(f"{job.name} {job.arch}"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share, doing: bar.update(task, completed=share, description=doing)


def _entries(cache_dir: Path | None) -> tuple[Entry, ...]:
    return _engines.cache(Store(cache_dir or RunConfig().cache_dir).compiled_dir).entries()


@app.command(name="list")
def list_engines(*, cache_dir: CacheDir = None) -> None:
    """List what was built on this machine: engines, kernels compiled on the card, and the references that they are held to.

    Example: `livecam engine list`
    """
    store = Store(cache_dir or RunConfig().cache_dir)
    cards = {card.sha256: card.id for card in store.cards.values()}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("network", "what", "made by", "card", "driver", "size", "made", "state"):
        table.add_column(column, justify="right" if column == "size" else "left", overflow="fold", no_wrap=column in ("network", "card", "size"))
    for entry in _entries(cache_dir):
        of, made = entry.wanted, datetime.datetime.fromtimestamp(entry.made_s).strftime("%m-%d %H:%M")
        size = f"{entry.size_bytes / 1e6:.1f} MB"
        if entry.why:
            table.add_row(entry.path.name[:12], "", "", "", "", size, "", f"[red]{entry.why}[/red]")
            continue
        name, what = cards.get(of["model"], of["name"]), f"{of['kind']} {of['precision']}"
        table.add_row(name, what, f"{of['package']} {of['version']}", of["arch"], of["driver"], size, made, _state(entry))
    console = Console()
    console.print(table if table.row_count else "nothing was built yet; `livecam engine build` does it, or a run with --runtime tensorrt")


def _state(entry: Entry) -> str:
    """Why a good entry is not loaded any more, or "ok"."""
    of = entry.wanted
    if of["recipe"] != _engines.RECIPE:
        return "older: made by another version of livecam"
    if of["kind"] == _engines.REFERENCE or of["package"] not in _trt.installed():
        return "ok"
    current = _trt.load(of["package"]).version
    return "ok" if current == of["version"] else f"older: {of['package']} is {current} now"


@app.command
def verify(*, cache_dir: CacheDir = None) -> None:
    """Authenticate each entry, and bring the engines of this machine's own card before the parity gate again.

    Ends with an exit code other than 0 when an entry was altered or an engine is refused. Example: `livecam engine verify`
    """
    bad: list[str] = []
    store = Store(cache_dir or RunConfig().cache_dir)
    entries = _entries(cache_dir)
    for entry in entries:
        state = entry.why or _state(entry)
        sys.stdout.write(f"{entry.wanted.get('name', entry.path.name)} {entry.wanted.get('kind', '')} {entry.wanted.get('arch', '')}: {state}\n")
        if entry.why:
            bad.append(f"{entry.path}: {entry.why}; it is not loaded, and is built anew when it is wanted")
    bad += _run_again(entries, store)
    if bad:
        raise ModelFileError("\n".join(bad))


def _run_again(entries: tuple[Entry, ...], store: Store) -> list[str]:
    """Engines of livecam's own networks for this card, held to their reference; what went wrong."""
    found = _nvidia.read()
    if found is None or not found.gpus:
        sys.stdout.write("no NVIDIA card here: engines were authenticated, not run\n")
        return []
    arch = found.gpus[0].arch
    built = {e.wanted["model"] for e in entries if not e.why and (e.wanted["kind"], e.wanted["arch"]) == (_engines.ENGINE, arch)}
    ours = {name: shapes for name, shapes in NETWORKS.items() if store.card(name).sha256 in built}
    package = _trt.choose(arch) if ours else None
    jobs = [Job(name, store.path(name), dict(shapes), package, arch, found.driver) for name, shapes in ours.items() if package]
    return [text for job in jobs for text in _tried(job, store)]


@app.command
def clean(
    *,
    bad: Annotated[bool, Parameter(help="Only entries that were altered or are of another user.", negative="")] = False,
    cache_dir: CacheDir = None,
) -> None:
    """Remove engines; they are built anew when they are wanted. Example: `livecam engine clean`"""
    kept = _engines.cache(Store(cache_dir or RunConfig().cache_dir).compiled_dir)
    files, size = kept.clean(only_bad=bad)
    sys.stdout.write(f"removed {files} entries, {size / 1e6:.1f} MB, of {kept.folder}\n")
