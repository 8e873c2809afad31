"""The control socket: its own user alone, only what the keys can do, bounded; two runs, dead runs, and the command line in front of it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from livecam import _runtime_dir
from livecam._rate import Bucket
from livecam.app import control
from livecam.app.control import ControlSocket, Remote
from livecam.cli import ctl
from livecam.errors import LivecamError, UsageError

pytestmark = pytest.mark.skipif(not control.supported(), reason="this system has no Unix sockets that tell who connects")


class Surface:
    """A run that can be commanded."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, str]] = []
        self.status: dict[str, Any] = {"state": "LIVE", "covered": False, "persona": "noor", "camera": "demo", "notes": []}

    def command(self, name: str, value: str = "") -> None:
        self.commands.append((name, value))
        if name == "cover":
            self.status["covered"] = not self.status["covered"] if value not in ("on", "off") else value == "on"
        elif name == "persona":
            if value == "nobody":
                raise UsageError("persona 'nobody' is unknown")
            self.status["persona"] = {"next": "ravi", "previous": "mei"}.get(value, value)
        elif name == "snapshot":
            self.status["notes"].append("saved: a.png")

    def snapshot(self) -> dict[str, Any]:
        return self.status

    def portrait_jpeg(self, persona_id: str) -> bytes | None:
        return None


@pytest.fixture(autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path_factory.mktemp("rt")  # short: a socket's path has at most 103 bytes
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
    return home / "livecam"


@pytest.fixture
def surface() -> Surface:
    return Surface()


@pytest.fixture
def run(surface: Surface) -> Iterator[ControlSocket]:
    held = ControlSocket(surface)
    yield held
    held.close()


def say(run: ControlSocket, *lines: bytes) -> list[dict[str, Any]]:
    """What is answered to these bytes until the run ends the connection, or all complete lines are answered."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(str(run.path))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(b"".join(lines))
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError), connection.makefile("rb") as answers:
            return [json.loads(line) for line in answers]
    return []


def test_the_socket_is_closed_to_others(run: ControlSocket, folder: Path) -> None:
    assert run.path.parent == folder and run.path.name == f"control-{os.getpid()}.sock"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and stat.S_IMODE(run.path.stat().st_mode) == 0o600
    run.close()
    run.close()
    assert not run.path.exists()


def test_commands_and_status(run: ControlSocket, surface: Surface) -> None:
    with Remote(run.path) as remote:
        assert remote.ask("status")["status"]["persona"] == "noor"
        remote.ask("persona", "next")
        remote.ask("cover", "on")
        with pytest.raises(UsageError, match="'nobody' is unknown"):
            remote.ask("persona", "nobody")
        assert remote.ask("status")["status"]["covered"] is True
    assert surface.commands == [("persona", "next"), ("cover", "on"), ("persona", "nobody")]


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"null", b"{}", b'{"do": 1}', b'{"do": []}', b'{"do": "reveal"}', b'{"do": "press", "value": "q"}', b'{"do": "cover", "value": 1}',
     b'{"do": "persona", "value": "' + b"x" * 300 + b'"}', b"\xff\xfe", b"[" * 3000, b'{"do": "__class__"}', b"GET / HTTP/1.1\r"],
)  # fmt: skip
def test_nothing_but_the_keys_can_be_pressed(run: ControlSocket, surface: Surface, line: bytes) -> None:
    (said,) = say(run, line + b"\n")
    assert said["ok"] is False and "expected" in said["why"]
    assert not surface.commands
    assert say(run, b'{"do": "status"}\n')[0]["ok"], "the socket goes on"


def test_long_lines_and_floods_are_cut_off(run: ControlSocket, surface: Surface) -> None:
    assert "a line has more than" in say(run, b"x" * 20_000)[-1]["why"]
    answers = say(run, *[b'{"do": "cover"}\n'] * 500)
    done = sum(said["ok"] for said in answers)
    assert control.BURST <= done <= control.BURST + 20 and "requests a second" in answers[-1]["why"]
    assert len(surface.commands) == done


def test_one_client_too_many_is_told(run: ControlSocket) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(control.MAX_CLIENTS):
            held.enter_context(Remote(run.path)).ask("status")
        extra = held.enter_context(Remote(run.path))
        with pytest.raises(LivecamError):
            extra.ask("status")
    with Remote(run.path) as remote:
        assert remote.ask("status")["ok"]


def test_another_users_process_is_refused(run: ControlSocket, surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(run.path))
        assert control.peer_uid(connection) == os.geteuid()
    monkeypatch.setattr(control, "peer_uid", lambda connection: os.geteuid() + 1)
    assert say(run, b'{"do": "quit"}\n') == [{"ok": False, "why": "this run is another user's"}]
    assert not surface.commands
    with pytest.raises(PermissionError):
        Remote(run.path)


def test_a_client_that_says_nothing_is_let_go(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "SILENT_S", 0.3)
    run = ControlSocket(surface)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(str(run.path))
        assert connection.recv(1) == b""
    run.close()


def test_a_dead_runs_socket_is_removed_and_a_live_one_found(run: ControlSocket, folder: Path) -> None:
    dead = folder / "control-1.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gone:
        gone.bind(str(dead))
    (folder / "control-x.sock").write_text("of no run")
    found = control.runs()
    assert [remote.pid for remote in found] == [os.getpid()] and not dead.exists()
    for remote in found:
        remote.__exit__()


def test_a_new_run_takes_the_place_of_a_dead_one_with_its_number(folder: Path, surface: Surface) -> None:
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gone:
        gone.bind(str(folder / f"control-{os.getpid()}.sock"))
    run = ControlSocket(surface)
    assert say(run, b'{"do": "status"}\n')[0]["ok"]
    run.close()


def test_a_folder_of_somebody_else_is_not_used(folder: Path, surface: Surface, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(mode=0o700)
    folder.chmod(0o755)
    assert stat.S_IMODE(_runtime_dir.runtime_dir().stat().st_mode) == 0o700
    folder.rmdir()
    folder.symlink_to(tmp_path)
    notes: list[str] = []
    assert control.opened(surface, notes.append) is None and "of your own" in notes[0]
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(UsageError, match="found one of user"):
        _runtime_dir.runtime_dir()


def test_without_unix_sockets_a_run_goes_on_and_says_so(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "supported", lambda: False)
    notes: list[str] = []
    assert control.opened(surface, notes.append) is None and "use the page" in notes[0]
    with pytest.raises(UsageError, match="use the page"):
        control.runs()


def test_a_command_may_end_the_run_that_answers_it(surface: Surface) -> None:
    held: list[ControlSocket] = []
    surface.command = lambda name, value="": held[0].close()  # type: ignore[method-assign]
    held.append(ControlSocket(surface))
    with contextlib.suppress(LivecamError), Remote(held[0].path) as remote:
        remote.ask("quit")
    held[0]._thread.join(5)
    assert not held[0]._thread.is_alive() and not held[0].path.exists()


# ---------- the command line ----------


def test_ctl(run: ControlSocket, surface: Surface, capsys: pytest.CaptureFixture[str]) -> None:
    ctl.status()
    ctl.persona("next")
    ctl.persona("ada")
    ctl.cover()
    ctl.cover("off")
    ctl.snapshot()
    ctl.quit_run()
    lines = capsys.readouterr().out.splitlines()
    said = ["LIVE, persona noor, camera demo", "persona ravi", "persona ada", "covered", "not covered", "saved: a.png"]
    assert lines == [*said, f"run {run_pid(run)} ends"]
    ctl.status(json_=True, run=os.getpid())
    assert json.loads(capsys.readouterr().out)["persona"] == "ada"
    assert surface.commands[-1] == ("quit", "")


def run_pid(run: ControlSocket) -> int:
    return int(run.path.stem.partition("-")[2])


def test_ctl_without_a_run_or_with_several(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LivecamError, match="start one with: livecam run"):
        ctl.status()
    first = ControlSocket(surface)
    monkeypatch.setattr(os, "getpid", lambda: run_pid(first) + 1)
    second = ControlSocket(Surface())
    with pytest.raises(UsageError, match=rf"one of these runs.*--run {run_pid(first)} \(LIVE.*--run {run_pid(second)}"):
        ctl.cover()
    with pytest.raises(UsageError, match="a run 7"):
        ctl.cover(run=7)
    ctl.persona("ada", run=run_pid(first))
    assert surface.commands == [("persona", "ada")]
    first.close()
    second.close()


def test_a_bucket_gives_back_what_time_brings() -> None:
    bucket = Bucket(10, 2)
    start = bucket._then_s
    assert [bucket.take(start) for _ in range(3)] == [True, True, False]
    assert bucket.take(start + 0.11) and not bucket.take(start + 0.15) and bucket.take(start + 0.25)
    assert [bucket.take(start + 100) for _ in range(3)] == [True, True, False]


def test_many_at_once_are_all_answered(run: ControlSocket) -> None:
    answers: list[bool] = []

    def ask() -> None:
        with Remote(run.path) as remote:
            answers.extend(remote.ask("status")["ok"] for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 20
