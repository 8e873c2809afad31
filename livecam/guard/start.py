"""How a worker process begins: started with a pipe and nothing else, it loads what it surely needs, then is told over the pipe what to do.

So a worker can be started before the settings are known, and loads while the main process still reads them.

    main:   begin(preload) ─▶ Begun ─────────────▶ hand_over(begun, Job) ─▶ words and frames (link.py)
    worker:       └─▶ preload() ─▶ waits for the job ─────────┘
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, NoReturn, cast

from livecam.errors import GuardError, LivecamError

if TYPE_CHECKING:
    from livecam.guard.link import WorkerLink
    from livecam.guard.shm import SegmentSpec

THREAD_SETTINGS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Thread pools of libraries whose work here is small solves: a pool costs milliseconds there. The worker inherits them."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to do. target: "package.module:function", called as function(link, *args); args: picklable; segments to write to."""

    target: str
    args: tuple[Any, ...]
    spec: SegmentSpec
    reveal: SegmentSpec | None


@dataclass(frozen=True, slots=True)
class Begun:
    """A worker process, and main's end of its pipe."""

    process: BaseProcess
    connection: Connection[Any, Any]


def begin(preload: str = "") -> Begun:
    """Starts a worker process that has no job yet. preload: "package.module:function", called in it at once. It ends when this process does."""
    for name in THREAD_SETTINGS:  # inherited by the worker, read when its libraries load
        os.environ.setdefault(name, "1")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=True)
    process = context.Process(target=enter, args=(theirs, preload), name="livecam-worker", daemon=True)
    with _sigint_blocked():
        _stand_somewhere()
        process.start()
    theirs.close()
    return Begun(process, cast("Connection[Any, Any]", ours))


def hand_over(begun: Begun, job: Job) -> None:
    """Tells a worker its job. A worker that died meanwhile is noticed by who listens to it."""
    with contextlib.suppress(OSError):
        begun.connection.send(job)


def _stand_somewhere() -> None:
    """A new process begins in this one's working folder. If that was deleted, both move to the root; nothing can lie in it any more."""
    try:
        os.getcwd()  # noqa: PTH109 - asks the system, which is the point
    except OSError:
        os.chdir(os.sep)


@contextlib.contextmanager
def _sigint_blocked() -> Generator[None, None, None]:
    """A process started inside never sees Ctrl-C before it ignores it; main gets a Ctrl-C of these milliseconds afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- in the worker -------------------------------------------------------------------------------------------------------------------------


def resolve(target: str) -> Callable[..., None]:
    """The function that "package.module:function" names. Raises GuardError."""
    module, _, name = target.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise GuardError(f"worker: expected a function at {target!r}, found none ({error})") from error


def enter(connection: Connection[Any, Any], preload: str) -> NoReturn:
    """The worker process: main alone reacts to Ctrl-C; the worker ends when main does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    if preload:
        with contextlib.suppress(ImportError):  # the job itself will say what is missing
            resolve(preload)()
    try:
        job = connection.recv()
    except (EOFError, OSError):
        os._exit(0)  # main has ended, or never had work
    os._exit(_work(connection, job))  # at once: libraries' threads may still be at work, and nothing is left to tidy up


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def _work(connection: Connection[Any, Any], job: Job) -> int:
    """Does the job; returns the process's exit code."""
    from livecam.guard.link import MainGoneError, WorkerLink, encode

    link: WorkerLink | None = None
    try:
        link = WorkerLink(connection, job.spec, job.reveal)
        resolve(job.target)(link, *job.args)
    except MainGoneError:
        pass
    except Exception as error:  # noqa: BLE001 - the process's last barrier: this text is all that main will know
        text = str(error) if isinstance(error, LivecamError) else "".join(traceback.format_exception_only(error)).strip()
        with contextlib.suppress(OSError):
            connection.send_bytes(encode(["died", text]))
        return 1
    finally:
        if link is not None:
            link.close()
    return 0
