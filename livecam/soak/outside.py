"""What is done from the main process: signals, limits that the kernel keeps, files that vanish. Everything is real, and put right again in time."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from livecam.app.outputs import Outputs
from livecam.guard.supervisor import Supervisor
from livecam.soak.sinks import Device, Disk, PipeNode, Viewer

STOPS_S = (0.05, 0.2, 0.5, 0.9, 1.6, 3.6)
"""For how long a process is stopped; the longest is over GuardConfig.stall_s."""
MAIN_STOPS_S = (0.1, 0.4, 1.0, 2.0)
SHORT_S = 0.8
"""For how long memory, descriptors, a reader or a device are missing."""
FILLS_AFTER_S, ENDS_AFTER_S = 0.5, 1.5
SMALL_SHM_BYTES = 128 << 20
"""A /dev/shm with less room than this is really filled; a larger one would take the machine's memory with it."""
SHM = Path("/dev/shm")
LEAST_FILE_BYTES = 64 << 10


class Outside:
    """Does one fault at a time, puts it right later. Used by the main loop's thread."""

    def __init__(self, supervisor: Supervisor, outputs: Callable[[], Outputs | None], device: Device, disk: Disk, seed: int) -> None:
        self._supervisor, self._outputs, self._device, self._disk = supervisor, outputs, device, disk
        self._random = random.Random(seed)
        self._later: list[tuple[float, Callable[[], object]]] = []
        self._helpers: list[subprocess.Popen[bytes]] = []
        self.limited = False
        """Whether files cannot grow or be opened now: write nothing meanwhile."""
        self.recordings_lost = 0

    def tick(self) -> None:
        """Puts right what is due."""
        now = time.monotonic()
        due = [act for at, act in self._later if at <= now]
        self._later = [one for one in self._later if one[0] > now]
        for act in due:
            act()
        self._helpers = [one for one in self._helpers if one.poll() is None]

    def _in(self, seconds: float, act: Callable[[], object]) -> None:
        self._later.append((time.monotonic() + seconds, act))

    def settle(self) -> None:
        """Puts everything right now."""
        for _, act in self._later:
            act()
        self._later = []
        for one in self._helpers:
            one.wait()

    def do(self, kind: str) -> float | None:
        """The fault `kind`. Returns after how many seconds it is over, None when it is not one of these."""
        act: Callable[[], float] | None = {
            "worker: SIGKILL": lambda: self._signal(signal.SIGKILL),
            "worker: SIGSEGV": lambda: self._signal(signal.SIGSEGV),
            "worker: SIGTERM": lambda: self._signal(signal.SIGTERM),
            "worker: SIGSTOP and SIGCONT": self._stop_worker,
            "worker: shared memory full": self._without_memory,
            "worker: shared memory full at growth": self._without_memory_at_growth,
            "worker: shared memory removed": self._remove_memory,
            "worker: no descriptor free": self._without_descriptors,
            "main: SIGSTOP and SIGCONT": lambda: self._stop_main([os.getpid()]),
            "main: machine sleeps": lambda: self._stop_main([os.getpid(), *([self._supervisor.pid] if self._supervisor.pid else [])]),
            "output: reader gone": self._reader_gone,
            "output: reader hangs": self._reader_hangs,
            "output: device gone": self._device_gone,
            "output: device error": self._device_error,
            "output: disk full": self._disk_full,
            "output: viewer leaves": lambda: self._viewer(True),
            "output: viewer does not read": lambda: self._viewer(False),
        }.get(kind)
        return None if act is None else act()

    # -- processes ----------------------------------------------------------------------------------------------------------------------------

    def _signal(self, number: signal.Signals, pid: int | None = None) -> float:
        pid = pid or self._supervisor.pid
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return 0.0

    def _stop_worker(self) -> float:
        seconds, pid = self._random.choice(STOPS_S), self._supervisor.pid
        self._signal(signal.SIGSTOP, pid)
        self._in(seconds, lambda: self._signal(signal.SIGCONT, pid))
        return seconds

    def _stop_main(self, pids: list[int]) -> float:
        """By another process: this one cannot wake itself."""
        seconds, words = self._random.choice(MAIN_STOPS_S), " ".join(str(pid) for pid in pids)
        script = f"kill -STOP {words}; sleep {seconds}; kill -CONT {words}"
        self._helpers.append(subprocess.Popen(["sh", "-c", script], stdin=subprocess.DEVNULL))
        return seconds

    # -- memory and descriptors -------------------------------------------------------------------------------------------------------------------

    def _without_memory(self) -> float:
        """The worker dies, and for its successor there is no shared memory."""
        self._fill_memory()
        return self._signal(signal.SIGKILL) + SHORT_S

    def _without_memory_at_growth(self) -> float:
        """The camera's pictures grow, and there is no room for larger segments."""
        self._fill_memory()
        width, height = self._supervisor.size_px
        self._supervisor.grow(width * 2, height * 2)
        return SHORT_S

    def _fill_memory(self) -> None:
        if sys.platform != "linux":
            return
        import resource
        import shutil

        if shutil.disk_usage(SHM).free <= SMALL_SHM_BYTES:
            ballast = SHM / f"livecam-soak-ballast-{os.getpid()}"
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 16))
            self._in(SHORT_S, lambda: ballast.unlink(missing_ok=True))
            return
        self._limit(resource.RLIMIT_FSIZE, LEAST_FILE_BYTES)

    def _without_descriptors(self) -> float:
        """The worker dies, and for its successor no file, pipe or segment can be opened."""
        if sys.platform == "linux":
            import resource

            lowest = os.open("/dev/null", os.O_RDONLY)
            os.close(lowest)
            self._limit(resource.RLIMIT_NOFILE, lowest)
        return self._signal(signal.SIGKILL) + SHORT_S

    def _limit(self, which: int, soft: int) -> None:
        import resource

        before = resource.getrlimit(which)
        resource.setrlimit(which, (soft, before[1]))
        self.limited = True

        def restore() -> None:
            resource.setrlimit(which, before)
            self.limited = False

        self._in(SHORT_S, restore)

    def _remove_memory(self) -> float:
        """Somebody cleans /dev/shm."""
        if self._supervisor.segment:
            (SHM / self._supervisor.segment).unlink(missing_ok=True)
        return 0.0

    # -- outputs ----------------------------------------------------------------------------------------------------------------------------------

    def _reader_gone(self) -> float:
        self._device.end_reader()
        self._in(SHORT_S, self._device.restore)
        return SHORT_S

    def _reader_hangs(self) -> float:
        self._device.stop_reader(go_on=False)
        self._in(SHORT_S, lambda: self._device.stop_reader(go_on=True))
        return SHORT_S

    def _device_gone(self) -> float:
        self._device.remove()
        self._in(SHORT_S, self._device.restore)
        return SHORT_S

    def _device_error(self) -> float:
        PipeNode.broken = self._random.choice((errno.EIO, errno.ENODEV, errno.EINVAL, errno.EAGAIN))
        return 0.0

    def _disk_full(self) -> float:
        outputs, spec = self._outputs(), f"file:{self._disk.recording}?overwrite=1"
        if outputs is None:
            return 0.0
        self._disk.empty()
        outputs.add(spec)
        if self._disk.real:
            self._in(FILLS_AFTER_S, self._disk.fill)
        else:
            import resource

            self._limit(resource.RLIMIT_FSIZE, LEAST_FILE_BYTES)

        def end() -> None:
            self.recordings_lost += not outputs.remove(spec)
            self._disk.empty()

        self._in(ENDS_AFTER_S, end)
        return ENDS_AFTER_S

    def _viewer(self, reads: bool) -> float:
        outputs = self._outputs()
        url = next((getattr(sink, "url", "") for sink in outputs.sinks() if hasattr(sink, "url")), "") if outputs else ""
        if url:
            Viewer(url, reads)
        return 0.0
