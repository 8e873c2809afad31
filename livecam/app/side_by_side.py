"""The first start's compiling in several processes: Numba compiles one kernel at a time, and a generator's take longer than all others together.

Each process compiles one part of the generator's kernels and leaves it on the disk, where the worker finds it. Whether that was done before, for
this version, is told by a file beside it; if it says so wrongly, the worker compiles by itself and nothing but time is lost.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numba

import livecam
from livecam import swap

FOLDER = "NUMBA_CACHE_DIR"
"""The environment's word for where compiled kernels are kept."""
LONGEST_S = 90.0
"""What is not compiled by then the worker compiles itself."""
DONE = "compiled.txt"


class Compiling:
    """The processes that compile the parts of the generator `name`; none when all was compiled before."""

    def __init__(self, name: str) -> None:
        self._name, folder = name, os.environ.get(FOLDER, "")
        self._done = Path(folder) / DONE if folder else None
        self._running: list[subprocess.Popen[bytes]] = []
        if self._done is not None and self._stamp() not in _lines(self._done):
            self._begin(len(swap.kernels(name)))

    def _begin(self, parts: int) -> None:
        try:
            for part in range(parts):
                self._running.append(_begun(self._name, part))
        except OSError:
            return  # no more processes are to be had: this one compiles what is missing

    def __len__(self) -> int:
        return len(self._running)

    def wait(self) -> None:
        """Until all have ended, LONGEST_S at most."""
        until = time.monotonic() + LONGEST_S
        for process in self._running:
            try:
                process.wait(max(until - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                _killed(process)

    def done(self) -> None:
        """All kernels are on the disk now: the next start has nothing to compile."""
        if self._running and self._done is not None:
            self._note(self._done)

    def stop(self) -> None:
        """Ends what still runs: the start has failed."""
        for process in self._running:
            _killed(process)

    def _note(self, path: Path) -> None:
        try:
            path.write_text("\n".join([*_lines(path)[-20:], self._stamp()]) + "\n", encoding="utf-8")
        except OSError:
            return  # the folder cannot be written to: then nothing was kept there either

    def _stamp(self) -> str:
        """What the kernels on the disk are good for: Numba compiles anew when their source is newer."""
        changed = Path(swap.__file__).stat().st_mtime_ns
        return f"{self._name} livecam {livecam.__version__} of {changed}, numba {numba.__version__}, python {sys.version_info[:2]}"


def _killed(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _begun(name: str, part: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", __name__, name, str(part)]
    nothing = subprocess.DEVNULL
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=nothing, stderr=nothing)


def _end_with_parent() -> None:
    """The pipe closes when whoever wanted the kernels is gone, however that went."""
    os.read(0, 1)  # not sys.stdin, whose lock a thread must not hold when Python ends
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    swap.kernels(sys.argv[1])[int(sys.argv[2])]()
