"""Boots the user-mode Linux kernel and runs one Python program in it: the host's files (read-only) and Python, the guest's own /dev and modules.

The program prints its results as lines that begin with RESULT (see guest.py); everything else that comes on the console is kept for error messages.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RESULT = "@@RESULT "
REPOSITORY = Path(__file__).resolve().parents[3]
MEMORY = "1536M"

INIT = """#!/bin/sh
export PATH=/sbin:/usr/sbin:/bin:/usr/bin HOME=/dev/shm TMPDIR=/dev/shm XDG_RUNTIME_DIR=/run LC_ALL=C.UTF-8
mount -t proc proc /proc && mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm && mount -t tmpfs tmpfs /dev/shm && mount -t tmpfs tmpfs /run
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
cd {repository}
PYTHONPATH={repository}:{programs} PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1 {python} -u {program} {modules} {names}
echo "guest program ended with $?"
echo o > /proc/sysrq-trigger
sleep 10
"""
"""/tmp stays the host's, so that a clone below it is seen; what is written goes to /dev/shm."""


class GuestError(Exception):
    """The guest did not come up, or ended without results. The text holds the end of its console."""


def _memory_folder() -> str:
    """Where the guest's memory lies: a file that must be executable."""
    shared = "/dev/shm"
    if Path(shared).is_dir() and not os.statvfs(shared).f_flag & os.ST_NOEXEC:
        return shared
    return tempfile.gettempdir()


def boot(kernel: Path, program: Path, timeout_s: float, names: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """Runs `program` in a fresh guest and returns its results by name. kernel: folder made by build.py; names: only these scenarios.

    Raises GuestError."""
    with tempfile.TemporaryDirectory(prefix="livecam-guest-") as name:
        Path(name).chmod(0o755)
        init = Path(name) / "init.sh"
        quoted = {"repository": REPOSITORY, "programs": program.parent, "python": sys.executable, "program": program, "modules": kernel}
        init.write_text(INIT.format(names=shlex.join(names), **{key: shlex.quote(str(value)) for key, value in quoted.items()}))
        init.chmod(0o755)
        machine = [f"mem={MEMORY}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "con=null", "con0=null,fd:1"]
        console = _run([str(kernel / "linux"), *machine, "quiet", "loglevel=3", "panic=1", f"init={init}"], timeout_s)
    results: dict[str, dict[str, Any]] = {}
    for line in console.splitlines():
        if line.startswith(RESULT):
            results.update(json.loads(line.removeprefix(RESULT)))
    if not results:
        raise GuestError(f"{program.name} gave no results in user-mode Linux; the end of its console:\n{console[-3000:]}")
    return results


def _run(command: list[str], timeout_s: float) -> str:
    """The console's text. The kernel and the host processes behind its own are ended together at the timeout."""
    environment = {**os.environ, "TMPDIR": _memory_folder()}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
    try:
        text, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
    return text.decode("utf-8", "replace").replace("\r", "")
