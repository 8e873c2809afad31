"""Who else has a device open: a look through /proc/*/fd, as far as this user may look."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

PERIOD_S = 1.0
"""A look costs 7 ms with a hundred processes, so it is taken at most once in this time."""

SECRETIVE = frozenset({"ssh-agent", "gpg-agent", "gnome-keyring-d", "(sd-pam)", "kwalletd5", "kwalletd6", "scdaemon", "fusermount3", "bwrap"})
"""Session daemons that hide their open files from their own user and never read a camera (names as /proc/PID/comm cuts them)."""


def find(device: Path) -> tuple[tuple[str, ...], bool]:
    """Names of other processes that have `device` open, and whether a process of this user that hides its files might have it too.

    Processes of other users are taken for no readers unless this is root, who sees all.
    """
    names: list[str] = []
    hidden = False
    wanted = os.fspath(device)
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if any(_points_to(link, wanted) for link in os.scandir(folder / "fd")):
                names.append(_name(folder))
        except PermissionError:
            hidden = hidden or (_is_mine(folder) and _name(folder) not in SECRETIVE)
        except OSError:
            continue
    return tuple(names), hidden


def _points_to(link: os.DirEntry[str], wanted: str) -> bool:
    try:
        return os.readlink(link.path) == wanted  # noqa: PTH115 - thousands of links a second, and Path costs ten times as much
    except OSError:
        return False


def _name(folder: Path) -> str:
    try:
        return (folder / "comm").read_text().strip()
    except OSError:
        return "?"


def _is_mine(folder: Path) -> bool:
    """By the process's own uid: /proc/PID of a process that hides its files belongs to root."""
    try:
        status = (folder / "status").read_text()
    except OSError:
        return False
    uid = next((line.split()[1] for line in status.splitlines() if line.startswith("Uid:")), "")
    return uid == str(os.getuid())


class Watch:
    """Whether another process has `device` open. Looks in a thread of its own, at most once in PERIOD_S; unknown counts as yes."""

    def __init__(self, device: Path) -> None:
        self._device = device.resolve()
        self._looked_s = -PERIOD_S
        self._watched = True
        self._look: threading.Thread | None = None

    def watched(self) -> bool:
        """The newest look's answer; never waits for one."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= PERIOD_S and (self._look is None or not self._look.is_alive()):
            self._looked_s = now_s
            self._look = threading.Thread(target=self._ask, name="livecam-openers", daemon=True)
            self._look.start()
        return self._watched

    def _ask(self) -> None:
        try:
            names, hidden = find(self._device)
        except OSError:
            names, hidden = (), True
        self._watched = bool(names) or hidden

    def settle(self) -> None:
        """Waits for a look that is under way."""
        if self._look is not None:
            self._look.join()
