"""`livecam ctl`: press the keys of a running livecam from elsewhere: a stream deck, a shortcut of the desktop, a script."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from livecam.app import control
from livecam.app.control import Remote
from livecam.errors import LivecamError, UsageError

app = App(name="ctl", help="Command a run from elsewhere: a stream deck's key, a shortcut, a script.")

Run = Annotated[int, Parameter(name="--run", help="Which run, by its process number, when there are several.")]
WEAR_S = 5.0
"""Longest wait for a persona to be put on."""
POLL_S = 0.1
Status = dict[str, Any]
Seen = Callable[[Status], bool]


def _remote(run: int) -> Remote:
    """The run that is meant. Raises LivecamError (none), UsageError (several, and none named)."""
    found = control.runs()
    chosen = [remote for remote in found if run in (0, remote.pid)]
    if len(chosen) == 1:
        return chosen[0]
    if not found:
        raise LivecamError("no livecam runs here; start one with: livecam run")
    there = "; ".join(f"--run {remote.pid} ({_line(remote.ask('status')['status'])})" for remote in found)
    raise UsageError(f"expected {'one of these runs' if run == 0 else f'a run {run}'}, found: {there}; name one")


def _line(status: dict[str, Any]) -> str:
    covered = ", covered" if status.get("covered") else ""
    return f"{status.get('state', 'starting')}{covered}, persona {status.get('persona') or 'none yet'}, camera {status.get('camera') or 'none yet'}"


@app.command
def status(*, json_: Annotated[bool, Parameter(name="--json", negative="", help="All that is known, as JSON.")] = False, run: Run = 0) -> None:
    """What is on air. Example: `livecam ctl status --json`"""
    with _remote(run) as remote:
        told = remote.ask("status")["status"]
    sys.stdout.write((json.dumps(told) if json_ else _line(told)) + "\n")


@app.command
def cover(how: Literal["toggle", "on", "off"] = "toggle", /, *, run: Run = 0) -> None:
    """Cover the picture at once, or show the masked picture again; without a word it is the other of the two, like the space bar.

    Examples: `livecam ctl cover`, `livecam ctl cover on`
    """
    with _remote(run) as remote:
        remote.ask("cover", "" if how == "toggle" else how)
        told = _after(remote, lambda status: how == "toggle" or status.get("covered") == (how == "on"))
    sys.stdout.write(("covered" if told.get("covered") else "not covered") + "\n")


@app.command
def persona(which: Annotated[str, Parameter(help="A persona's id, next or previous.")] = "next", /, *, run: Run = 0) -> None:
    """Wear another persona; it is said when it is on.

    Examples: `livecam ctl persona next`, `livecam ctl persona ada`
    """
    with _remote(run) as remote:
        before = remote.ask("status")["status"].get("persona")
        remote.ask("persona", which)
        told = _after(remote, lambda status: status.get("persona") == which if which not in ("next", "previous") else status.get("persona") != before)
    sys.stdout.write(f"persona {told.get('persona') or 'none yet'}\n")


@app.command
def snapshot(*, run: Run = 0) -> None:
    """Save the picture that is on air, marked and signed like the run's other files. Example: `livecam ctl snapshot`"""
    with _remote(run) as remote:
        remote.ask("snapshot")
        told = _after(remote, lambda _: False, 1.0)
    sys.stdout.write((told.get("notes") or ["asked for"])[-1] + "\n")


@app.command(name="quit")
def quit_run(*, run: Run = 0) -> None:
    """End a run: files are finished, the camera goes off. Example: `livecam ctl quit`"""
    with _remote(run) as remote:
        remote.ask("quit")
        sys.stdout.write(f"run {remote.pid} ends\n")


def _after(remote: Remote, seen: Seen, longest_s: float = WEAR_S) -> dict[str, Any]:
    """The status once `seen(status)` holds, or the last one after `longest_s`; the status that a run tells is up to a fifth of a second old."""
    until = time.monotonic() + longest_s
    while True:
        time.sleep(2 * POLL_S)
        told = remote.ask("status")["status"]
        if seen(told) or time.monotonic() >= until:
            return told
