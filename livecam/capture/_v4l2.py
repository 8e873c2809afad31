"""What Linux says of its cameras, asked by ioctl: names, abilities, formats, and who holds them.

Source: the kernel's include/uapi/linux/videodev2.h; sizes and numbers are those of 64-bit Linux.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from livecam.errors import CaptureError, DeviceAbsentError, DeviceBusyError, FormatError

QUERYCAP, ENUM_FMT, G_FMT, REQBUFS = 0x80685600, 0xC0405602, 0xC0D05604, 0xC0145608
ENUM_FRAMEINTERVALS = 0xC034564B
CAP_CAPTURE, CAP_CAPTURE_MPLANE, CAP_STREAMING, CAP_DEVICE_CAPS = 0x1, 0x1000, 0x04000000, 0x80000000
CAP_OUTPUT = 0x2
BUF_CAPTURE, MEMORY_MMAP = 1, 1
INTERVAL_DISCRETE = 1
MOST_ENTRIES = 64
"""Entries asked for of any list: a driver that never says EINVAL must not hold us."""
SYSFS = Path("/sys/class/video4linux")
LOOPBACK_DRIVERS = frozenset({"v4l2 loopback", "v4l2loopback"})
OWN_NAME = "livecam"
COLOUR_FREE = frozenset({"GREY", "Y10 ", "Y12 ", "Y16 ", "Y8I ", "Y12I", "Z16 ", "INVZ", "INZI"})
"""Pixel formats of infrared and depth sensors: a node that has only these is no webcam."""


@dataclass(frozen=True, slots=True)
class Node:
    """A /dev/video node. path; card: its name; driver; caps: the device capability bits; formats: FourCCs that it captures, in the driver's order;
    bus: where it is plugged in ("usb-0000:00:14.0-1"), as the driver says."""

    path: str
    card: str
    driver: str
    caps: int
    formats: tuple[str, ...]
    bus: str = ""

    @property
    def captures(self) -> bool:
        """Whether pictures come out of it now (a metadata node's do not, nor do those of a loopback without a writer and exclusive_caps)."""
        return bool(self.caps & (CAP_CAPTURE | CAP_CAPTURE_MPLANE)) and bool(self.caps & CAP_STREAMING)

    @property
    def virtual(self) -> bool:
        """A v4l2loopback device: what comes out is what some program writes, perhaps our own."""
        return self.driver in LOOPBACK_DRIVERS

    @property
    def own(self) -> bool:
        """Our own virtual camera, by its name."""
        return self.virtual and OWN_NAME in self.card.lower()

    @property
    def colour_free(self) -> bool:
        """Only infrared or depth."""
        return bool(self.formats) and set(self.formats) <= COLOUR_FREE


def nodes() -> tuple[Node, ...]:
    """All /dev/video nodes that can be asked, by number. Never raises; does not wait for a device."""
    found: list[Node] = []
    names = sorted((p.name for p in SYSFS.glob("video*") if p.name[5:].isdigit()), key=lambda name: int(name[5:])) if SYSFS.is_dir() else []
    for name in names:
        try:
            found.append(query(f"/dev/{name}"))
        except CaptureError:
            continue
    return tuple(found)


def query(path: str) -> Node:
    """What `path` is. Raises DeviceAbsentError, DeviceBusyError (opened exclusively), CaptureError (no permission), FormatError (no V4L2 device)."""
    with _opened(path) as fd:
        raw = bytearray(104)
        try:
            fcntl.ioctl(fd, QUERYCAP, raw)
        except OSError as error:
            raise FormatError(f"{path}: expected a camera, found something else ({error.strerror}); try `livecam devices`") from error
        driver, card, bus, _, all_caps, device_caps = struct.unpack_from("16s32s32sIII", raw)
        caps = device_caps if all_caps & CAP_DEVICE_CAPS else all_caps
        formats = tuple(_formats(fd)) if caps & CAP_CAPTURE else ()
        return Node(path, _text(card), _text(driver), caps, formats, _text(bus))


def check_free(path: str) -> None:
    """Raises DeviceBusyError when another program streams from `path` (asked by releasing no buffers: only the owner of the queue may)."""
    with _opened(path) as fd:
        try:
            fcntl.ioctl(fd, REQBUFS, bytearray(struct.pack("5I", 0, BUF_CAPTURE, MEMORY_MMAP, 0, 0)))
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise busy(path) from error


def busy(path: str) -> DeviceBusyError:
    """The error for a camera that another program holds, with that program's name where it may be known."""
    holders = ", ".join(_holders(path))
    who = f"by {holders}" if holders else "by another program"
    return DeviceBusyError(f"{path}: expected a free camera, found it in use {who}; close that program, or choose another camera (`livecam devices`)")


def rates(path: str, fourcc: str, width_px: int, height_px: int) -> tuple[float, ...]:
    """Frames per second that the driver lists for this format and size; empty when it lists none (or a range, whose fastest is then given)."""
    found: list[float] = []
    try:
        with _opened(path) as fd:
            for index in range(MOST_ENTRIES):
                raw = bytearray(struct.pack("5I", index, _code(fourcc), width_px, height_px, 0) + bytes(32))
                fcntl.ioctl(fd, ENUM_FRAMEINTERVALS, raw)
                kind, numerator, denominator = struct.unpack_from("III", raw, 16)
                if numerator:
                    found.append(denominator / numerator)
                if kind != INTERVAL_DISCRETE:
                    break
    except (OSError, CaptureError):
        pass
    return tuple(found)


def stream_fd(path: str, before: frozenset[int]) -> int | None:
    """The descriptor that OpenCV opened on `path` since `before` was taken by `own_fds(path)`; None if it cannot be told."""
    new = own_fds(path) - before
    return next(iter(new)) if len(new) == 1 else None


def own_fds(path: str) -> frozenset[int]:
    """This process' descriptors on the device `path`."""
    real, found = os.path.realpath(path), set[int]()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if str(entry.readlink()) == real:
                found.add(int(entry.name))
        except OSError:
            continue
    return frozenset(found)


def delivered_format(fd: int) -> str:
    """FourCC that the driver was really set to, "" if it does not say."""
    raw = bytearray(struct.pack("II", BUF_CAPTURE, 0) + bytes(200))
    try:
        fcntl.ioctl(fd, G_FMT, raw)
    except OSError:
        return ""
    return _name(struct.unpack_from("I", raw, 16)[0])


@contextmanager
def _opened(path: str) -> Generator[int]:
    try:
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR):
            raise DeviceAbsentError(f"{path}: expected a camera, found no such device; plug it in, or see `livecam devices`") from error
        if error.errno == errno.EBUSY:
            raise busy(path) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise CaptureError(f"{path}: no permission to open the camera; join the group video (sudo usermod -aG video $USER)") from error
        raise CaptureError(f"{path}: cannot be opened ({error.strerror}); choose one that `livecam devices` lists") from error
    try:
        yield fd
    finally:
        os.close(fd)


def _formats(fd: int) -> Iterator[str]:
    for index in range(MOST_ENTRIES):
        raw = bytearray(struct.pack("II", index, BUF_CAPTURE) + bytes(56))
        try:
            fcntl.ioctl(fd, ENUM_FMT, raw)
        except OSError:
            return
        yield _name(struct.unpack_from("I", raw, 44)[0])


def _holders(path: str) -> list[str]:
    """Names of the programs (of this user) that have `path` open, "name (pid)"."""
    real, found = os.path.realpath(path), list[str]()
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        try:
            if any(str(fd.readlink()) == real for fd in (process / "fd").iterdir()):
                found.append(f"{(process / 'comm').read_text().strip()} ({process.name})")
        except OSError:
            continue
    return found


def _name(code: int) -> str:
    return "".join(chr((code >> shift) & 0x7F) for shift in (0, 8, 16, 24))


def _code(fourcc: str) -> int:
    return sum(ord(letter) << (8 * i) for i, letter in enumerate(fourcc.ljust(4)))


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace").strip()
