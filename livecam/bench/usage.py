"""CPU time and memory of this process and all it started."""

from __future__ import annotations

from typing import Any

import psutil


class Usage:
    """CPU time since it was made, and memory now, of `root` (as "main") and its children (as "worker")."""

    def __init__(self, root: psutil.Process) -> None:
        self._root = root
        self._before = self._cpu_s()

    def _processes(self) -> dict[str, list[psutil.Process]]:
        return {"main": [self._root], "worker": self._root.children(recursive=True)}

    def _cpu_s(self) -> dict[str, float]:
        return {name: sum(_cpu_s(p) for p in processes) for name, processes in self._processes().items()}

    def read(self) -> dict[str, Any]:
        """{"cpu_s", "cpu_s_by_process", "rss_mb", "pss_mb" (None where the system has none), "threads", "fds"}."""
        spent = {name: value - self._before.get(name, 0.0) for name, value in self._cpu_s().items()}
        every = [p for processes in self._processes().values() for p in processes]
        pss = [_pss(p) for p in every]
        return {
            "cpu_s": sum(spent.values()),
            "cpu_s_by_process": spent,
            "rss_mb": round(sum(p.memory_info().rss for p in every) / 2**20, 1),
            "pss_mb": None if None in pss else round(sum(v for v in pss if v is not None) / 2**20, 1),
            "threads": sum(p.num_threads() for p in every),
            "fds": sum(p.num_fds() for p in every) if hasattr(self._root, "num_fds") else None,
        }


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _pss(process: psutil.Process) -> float | None:
    try:
        return getattr(process.memory_full_info(), "pss", None)
    except psutil.Error:
        return None
