"""libpipewire-0.3 by ctypes: the few calls and structures that a video source (and the tests' reader) needs. No compiler, no bindings package.

Structures follow `pipewire/stream.h` and `spa/buffer/*.h` of 0.3.40 and later (1.x included), of which only a stable prefix is used.
"""

from __future__ import annotations

import ctypes as ct
import os
import socket
from functools import cache
from pathlib import Path

from livecam.errors import OutputError

SONAME = "libpipewire-0.3.so.0"
ANY_ID = 0xFFFFFFFF
DIRECTION_INPUT, DIRECTION_OUTPUT = 0, 1
FLAG_AUTOCONNECT, FLAG_MAP_BUFFERS, FLAG_DRIVER = 1 << 0, 1 << 2, 1 << 3
STATE_ERROR, STATE_UNCONNECTED, STATE_CONNECTING, STATE_PAUSED, STATE_STREAMING = -1, 0, 1, 2, 3
CHUNK_CORRUPTED = 1

StateCallback = ct.CFUNCTYPE(None, ct.c_void_p, ct.c_int, ct.c_int, ct.c_char_p)
ParamCallback = ct.CFUNCTYPE(None, ct.c_void_p, ct.c_uint32, ct.c_void_p)
PlainCallback = ct.CFUNCTYPE(None, ct.c_void_p)


class Chunk(ct.Structure):
    """spa_chunk: which part of the memory is the picture."""

    _fields_ = [("offset", ct.c_uint32), ("size", ct.c_uint32), ("stride", ct.c_int32), ("flags", ct.c_int32)]


class Data(ct.Structure):
    """spa_data: one block of memory, mapped at `data`."""

    _fields_ = [
        ("type", ct.c_uint32),
        ("flags", ct.c_uint32),
        ("fd", ct.c_int64),
        ("mapoffset", ct.c_uint32),
        ("maxsize", ct.c_uint32),
        ("data", ct.c_void_p),
        ("chunk", ct.POINTER(Chunk)),
    ]


class Meta(ct.Structure):
    """spa_meta."""

    _fields_ = [("type", ct.c_uint32), ("size", ct.c_uint32), ("data", ct.c_void_p)]


class SpaBuffer(ct.Structure):
    """spa_buffer."""

    _fields_ = [("n_metas", ct.c_uint32), ("n_datas", ct.c_uint32), ("metas", ct.POINTER(Meta)), ("datas", ct.POINTER(Data))]


class PwBuffer(ct.Structure):
    """pw_buffer (its first member is all that is used)."""

    _fields_ = [("buffer", ct.POINTER(SpaBuffer))]


class Header(ct.Structure):
    """spa_meta_header: times in nanoseconds of CLOCK_MONOTONIC."""

    _fields_ = [("flags", ct.c_uint32), ("offset", ct.c_uint32), ("pts", ct.c_int64), ("dts_offset", ct.c_int64), ("seq", ct.c_uint64)]


class StreamEvents(ct.Structure):
    """pw_stream_events, version 2; members left at null are not called."""

    _fields_ = [
        ("version", ct.c_uint32),
        ("destroy", ct.c_void_p),
        ("state_changed", StateCallback),
        ("control_info", ct.c_void_p),
        ("io_changed", ct.c_void_p),
        ("param_changed", ParamCallback),
        ("add_buffer", ct.c_void_p),
        ("remove_buffer", ct.c_void_p),
        ("process", PlainCallback),
        ("drained", ct.c_void_p),
        ("command", ct.c_void_p),
        ("trigger_done", ct.c_void_p),
    ]


_VP, _INT, _U32 = ct.c_void_p, ct.c_int, ct.c_uint32
_BUFFER = ct.POINTER(PwBuffer)
_CALLS: dict[str, tuple[object, list[object]]] = {
    "pw_init": (None, [_VP, _VP]),
    "pw_log_set_level": (None, [_INT]),
    "pw_thread_loop_new": (_VP, [ct.c_char_p, _VP]),
    "pw_thread_loop_get_loop": (_VP, [_VP]),
    "pw_thread_loop_start": (_INT, [_VP]),
    "pw_thread_loop_stop": (None, [_VP]),
    "pw_thread_loop_destroy": (None, [_VP]),
    "pw_thread_loop_lock": (None, [_VP]),
    "pw_thread_loop_unlock": (None, [_VP]),
    "pw_properties_new_string": (_VP, [ct.c_char_p]),
    "pw_stream_new_simple": (_VP, [_VP, ct.c_char_p, _VP, _VP, _VP]),
    "pw_stream_connect": (_INT, [_VP, _INT, _U32, _INT, _VP, _U32]),
    "pw_stream_update_params": (_INT, [_VP, _VP, _U32]),
    "pw_stream_dequeue_buffer": (_BUFFER, [_VP]),
    "pw_stream_queue_buffer": (_INT, [_VP, _BUFFER]),
    "pw_stream_trigger_process": (_INT, [_VP]),
    "pw_stream_destroy": (None, [_VP]),
}


@cache
def load() -> ct.CDLL:
    """The library, initialised, its log silenced (it writes across the live table) unless PIPEWIRE_DEBUG asks for it.

    Raises OutputError when it is not installed or is older than 0.3.40. `pw_deinit` is never called: this process may hold other users of it.
    """
    try:
        lib = ct.CDLL(SONAME)
    except OSError as error:
        raise OutputError(
            f"the PipeWire camera needs {SONAME}, which could not be loaded ({error}); "
            "install PipeWire (Debian, Ubuntu: apt install pipewire wireplumber), or choose another output: see `livecam devices`"
        ) from error
    for name, (result, arguments) in _CALLS.items():
        function = getattr(lib, name, None)
        if function is None:
            raise OutputError(
                f"the PipeWire camera needs PipeWire 0.3.40 or newer; the installed {SONAME} has no {name}; update it or choose another output"
            )
        function.restype, function.argtypes = result, arguments
    lib.pw_init(None, None)
    if "PIPEWIRE_DEBUG" not in os.environ:
        lib.pw_log_set_level(0)
    return lib


def socket_path() -> Path | None:
    """Where the daemon's socket is expected (pipewire(1), variables PIPEWIRE_REMOTE to USERPROFILE); None if nothing says where."""
    remote = os.environ.get("PIPEWIRE_REMOTE") or "pipewire-0"
    if remote.startswith("/"):
        return Path(remote)
    for variable in ("PIPEWIRE_RUNTIME_DIR", "XDG_RUNTIME_DIR", "USERPROFILE"):
        if folder := os.environ.get(variable):
            return Path(folder) / remote
    return None


def why_absent() -> str:
    """Empty if a daemon answers at the socket; else what was expected and what was found."""
    if not hasattr(socket, "AF_UNIX"):
        return "PipeWire is a Linux service"
    path = socket_path()
    if path is None:
        return "XDG_RUNTIME_DIR is not set, so the PipeWire service of a desktop session cannot be found"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(str(path))
        except OSError as error:
            return f"no PipeWire service answers at {path} ({error.strerror or error})"
    return ""


def pod_array(*pods: bytes) -> tuple[ct.Array[ct.c_void_p], list[ct.Array[ct.c_char]]]:
    """`const struct spa_pod **` of PODs, and the memory that must live as long as it is used."""
    memory = [ct.create_string_buffer(pod, len(pod)) for pod in pods]
    return (ct.c_void_p * len(pods))(*[ct.addressof(block) for block in memory]), memory


def pod_bytes(address: int) -> bytes:
    """A copy of the POD at `address`."""
    return ct.string_at(address, 8 + ct.c_uint32.from_address(address).value)
