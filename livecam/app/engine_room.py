"""A faster runtime for the generator's network, made ready in a thread of its own while the plain one draws, so that it costs no frame.

The compute thread takes what is ready between two frames and puts it in place, as it does with personas (wardrobe.py).
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from livecam import runtimes
from livecam.errors import LivecamError, ModelError
from livecam.runtimes import Runtime, _choice, _fallback, tensorrt
from livecam.runtimes._gate import Checked
from livecam.store import Store

Tell = Callable[[str], object]
BUILDS = "tensorrt"
"""The runtime whose engines are built before they are opened."""
BUILD_S = 600.0
"""Longest time for building; the largest network took 34 s on a busy machine."""
NICE = 10


class Refittable(Protocol):
    """A swapper whose network another runtime may run (livecam/swap/__init__.py)."""

    @property
    def runtime(self) -> str:
        """What ran its network when it was opened."""
        ...

    def prepare_network(self, remake: Callable[[Checked, Runtime], Runtime]) -> Callable[[], None]:
        """See there."""
        ...


@dataclass(frozen=True, slots=True)
class Made:
    """A runtime that is ready. put_on: makes it the one that draws; text: what to say then."""

    put_on: Callable[[], None]
    text: str


class EngineRoom:
    """See the module. `take` and `news` are called by the compute thread, and so is what is made ready here."""

    def __init__(self, make: Callable[[str, Tell], Made], wanted: Sequence[str], plain: str) -> None:
        """make: (runtime, tell) -> ready, slow, raises LivecamError; tried for each of `wanted` until one succeeds. plain: what draws meanwhile."""
        self._make, self._wanted, self._plain = make, tuple(wanted), plain
        self._made: Made | None = None
        self._news: deque[str] = deque()
        self._thread = threading.Thread(target=self._work, name="engine-room", daemon=True)
        self._thread.start()

    def take(self) -> Made | None:
        """What is ready, once. Never waits."""
        made, self._made = self._made, None
        return made

    def news(self) -> str | None:
        """The oldest line that was not told yet."""
        return self._news.popleft() if self._news else None

    def _work(self) -> None:
        failures: list[str] = []
        for name in self._wanted:
            try:
                self._made = self._make(name, self._news.append)
            except LivecamError as error:
                failures.append(f"{name}: {error}")
            except Exception as error:  # noqa: BLE001 - a library's own error must not end the run; what draws goes on drawing
                failures.append(f"{name}: {type(error).__name__}: {error}")
            else:
                if failures:
                    self._news.append(f"not used: {'; '.join(failures)}")
                return
        self._news.append(f"the generator's network stays on {self._plain}: {'; '.join(failures)}")


def maker(swapper: Refittable, threads: int, cache_dir: Path, provider: str) -> Callable[[str, Tell], Made]:
    """What an EngineRoom calls for `swapper`'s networks. cache_dir: the store's; provider: see `--provider`."""
    compiled = Store(cache_dir, cards={}).compiled_dir

    def make(name: str, tell: Tell) -> Made:
        gated: list[str] = []

        def remake(file: Checked, plain: Runtime) -> Runtime:
            options = {"name": str(file.path), **(_choice.options_for(name, provider) or {})}
            if name == BUILDS and not tensorrt.is_built(file.data, compiled, options):
                tell(f"building an engine of {file.path.name} with {name}; {swapper.runtime} draws meanwhile")
                build_aside(file.path, cache_dir)  # of another file by now it would get another name, and not be found
            fast = runtimes.load(name, file.data, threads, compiled, options)
            if getattr(fast, "approximate", False):
                gated.append(file.path.name)
            return _fallback.Fallback(fast, plain, name, tell)

        put_on = swapper.prepare_network(remake)
        return Made(put_on, f"the generator's network runs on {name} now" + ("; it reproduced the float32 reference" if gated else ""))

    return make


def build_aside(file: Path, cache_dir: Path) -> None:
    """`livecam engine build` in a process of its own, at low priority: here its Python would hold up frames (77 ms with `lite`, 0.8 s with SimSwap),
    and a builder that dies would take the filter with it. Raises ModelError with the last line that it said."""
    import psutil  # here, because hardly any worker builds

    words = [sys.executable, "-m", "livecam.cli", "engine", "build", str(file.resolve()), "--cache-dir", str(cache_dir)]
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    # It may be over already.
    with suppress(psutil.Error, OSError):
        psutil.Process(child.pid).nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else NICE)
    try:
        _, said = child.communicate(timeout=BUILD_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise ModelError(f"building the engine of {file.name} took longer than {BUILD_S:g} s and was ended") from None
    if child.returncode:
        last = (said.strip().splitlines() or [f"it ended with exit code {child.returncode}"])[-1]
        raise ModelError(last.removeprefix("livecam: "))
