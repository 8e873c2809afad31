"""What programs inside the guest share: loading modules, V4L2 controls, running scenarios and telling their results."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import platform
import re
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from boot import RESULT

MODULES = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
SCENARIO_S = 120
SYSTEM_CALLS = {"x86_64": (313, 176), "aarch64": (273, 106)}
"""finit_module, delete_module."""

_libc = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: Any) -> None:
    if _libc.syscall(number, *arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def load(module: str, **parameters: object) -> None:
    """insmod `module` and what it depends on."""
    if Path(f"/sys/module/{module.replace('-', '_')}").exists():
        return
    file = MODULES / f"{module}.ko"
    depends = re.search(rb"\0depends=([^\0]*)\0", b"\0" + file.read_bytes())
    for needed in (depends[1].decode().split(",") if depends and depends[1] else []):
        load(_file_name(needed))
    text = " ".join(f"{key}={value}" for key, value in parameters.items())
    with file.open("rb") as opened:
        _call(SYSTEM_CALLS[platform.machine()][0], opened.fileno(), text.encode(), 0)


def _file_name(module: str) -> str:
    return next(path.stem for path in MODULES.glob("*.ko") if path.stem.replace("-", "_") == module.replace("-", "_"))


def unload(module: str) -> None:
    """rmmod; waits while the last user lets go."""
    for attempt in range(50):
        try:
            _call(SYSTEM_CALLS[platform.machine()][1], module.encode(), os.O_NONBLOCK)
            break
        except OSError:
            if attempt == 49:
                raise
            time.sleep(0.1)


def wait_for(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """The first true value of `condition`."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise TimeoutError(f"not within {timeout_s} s: {what}")


class _Control(ctypes.Structure):
    _fields_ = (("id", ctypes.c_uint32), ("value", ctypes.c_int32))


class _QueryControl(ctypes.Structure):
    _fields_ = (
        ("id", ctypes.c_uint32), ("type", ctypes.c_uint32), ("name", ctypes.c_char * 32), ("minimum", ctypes.c_int32), ("maximum", ctypes.c_int32),
        ("step", ctypes.c_int32), ("default_value", ctypes.c_int32), ("flags", ctypes.c_uint32), ("reserved", ctypes.c_uint32 * 2),
    )  # fmt: skip


def set_control(device: str, name: str, value: int) -> None:
    """Sets the control that the driver calls `name` (vivid: "Disconnect", ...)."""
    next_control = 0x8000_0000
    fd = os.open(device, os.O_RDWR)
    try:
        query = _QueryControl(id=next_control)
        while True:
            fcntl.ioctl(fd, 3 << 30 | ctypes.sizeof(_QueryControl) << 16 | ord("V") << 8 | 36, query)
            if query.name.decode().lower() == name.lower():
                break
            query.id |= next_control
        fcntl.ioctl(fd, 3 << 30 | ctypes.sizeof(_Control) << 16 | ord("V") << 8 | 28, _Control(query.id, value))
    finally:
        os.close(fd)


def child(program: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python process of its own."""
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def seed_random() -> None:
    """Gives the guest's random pool its start: a machine without devices would wait for ever, and numpy with it."""
    entropy = bytes(range(64))
    with Path("/dev/urandom").open("wb") as pool:
        fcntl.ioctl(pool, 1 << 30 | 8 << 16 | ord("R") << 8 | 3, struct.pack("ii64s", len(entropy) * 8, len(entropy), entropy))


def _expired(signum: int, frame: object) -> None:
    raise TimeoutError(f"scenario took longer than {SCENARIO_S} s")


def run(*scenarios: Callable[[], dict[str, Any]]) -> None:
    """Runs each scenario and prints its result under its name: {"ok": true, ...details} or {"ok": false, "error": traceback}."""
    seed_random()
    signal.signal(signal.SIGALRM, _expired)
    for scenario in scenarios:
        signal.alarm(SCENARIO_S)
        began = time.monotonic()
        try:
            result = {"ok": True, **scenario()}
        except Exception:  # noqa: BLE001 - every failure goes into the result, and the next scenario runs
            result = {"ok": False, "error": traceback.format_exc()}
        signal.alarm(0)
        print(f"\n{RESULT}{json.dumps({scenario.__name__: {**result, 'seconds': round(time.monotonic() - began, 1)}})}", flush=True)
