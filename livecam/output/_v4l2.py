"""The few calls of Video4Linux2 that a writer needs, by ctypes and fcntl: no package, and every errno reaches Python.

Numbers and structures follow linux/videodev2.h; they are the same on all Linux machines that CPython runs on.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
from dataclasses import dataclass
from pathlib import Path

CAP_VIDEO_CAPTURE = 0x1
CAP_VIDEO_OUTPUT = 0x2
CAP_DEVICE_CAPS = 0x8000_0000
BUF_TYPE_VIDEO_CAPTURE = 1
BUF_TYPE_VIDEO_OUTPUT = 2
FIELD_NONE = 1
COLORSPACE_SRGB = 8
"""sRGB primaries; its default coding is BT.601 in limited range, which is what cv2.cvtColor computes."""

MEMORY_MMAP = 1
CID_TIMEOUT, CID_TIMEOUT_IMAGE_IO = 0x0098_F902, 0x0098_F903
"""v4l2loopback's own controls (v4l2loopback.c): milliseconds of silence after which readers get the timeout picture; "the next opener brings it"."""
TIMEOUT_NAMES = {CID_TIMEOUT: "timeout", CID_TIMEOUT_IMAGE_IO: "timeout_image_io"}

LOOPBACK_DRIVER = "v4l2 loopback"
SYSFS = Path("/sys/class/video4linux")
LOOPBACK_MODULE = Path("/sys/module/v4l2loopback")


class _Capability(ctypes.Structure):
    _fields_ = (
        ("driver", ctypes.c_char * 16),
        ("card", ctypes.c_char * 32),
        ("bus_info", ctypes.c_char * 32),
        ("version", ctypes.c_uint32),
        ("capabilities", ctypes.c_uint32),
        ("device_caps", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 3),
    )


class _PixFormat(ctypes.Structure):
    _fields_ = (
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("pixelformat", ctypes.c_uint32),
        ("field", ctypes.c_uint32),
        ("bytesperline", ctypes.c_uint32),
        ("sizeimage", ctypes.c_uint32),
        ("colorspace", ctypes.c_uint32),
        ("priv", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("ycbcr_enc", ctypes.c_uint32),
        ("quantization", ctypes.c_uint32),
        ("xfer_func", ctypes.c_uint32),
    )


class _FormatUnion(ctypes.Union):
    _fields_ = (("pix", _PixFormat), ("raw", ctypes.c_uint8 * 200), ("align", ctypes.c_void_p))


class _Format(ctypes.Structure):
    _fields_ = (("type", ctypes.c_uint32), ("fmt", _FormatUnion))


class _Fract(ctypes.Structure):
    _fields_ = (("numerator", ctypes.c_uint32), ("denominator", ctypes.c_uint32))


class _OutputParm(ctypes.Structure):
    _fields_ = (
        ("capability", ctypes.c_uint32),
        ("outputmode", ctypes.c_uint32),
        ("timeperframe", _Fract),
        ("extendedmode", ctypes.c_uint32),
        ("writebuffers", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 4),
    )


class _ParmUnion(ctypes.Union):
    _fields_ = (("output", _OutputParm), ("raw", ctypes.c_uint8 * 200))


class _StreamParm(ctypes.Structure):
    _fields_ = (("type", ctypes.c_uint32), ("parm", _ParmUnion))


class _QueryCtrl(ctypes.Structure):
    _fields_ = (
        ("id", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("name", ctypes.c_char * 32),
        ("minimum", ctypes.c_int32),
        ("maximum", ctypes.c_int32),
        ("step", ctypes.c_int32),
        ("default_value", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 2),
    )


class _Control(ctypes.Structure):
    _fields_ = (("id", ctypes.c_uint32), ("value", ctypes.c_int32))


class _RequestBuffers(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("memory", ctypes.c_uint32),
        ("capabilities", ctypes.c_uint32),
        ("flags", ctypes.c_uint8),
        ("reserved", ctypes.c_uint8 * 3),
    )


class _Buffer(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("bytesused", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("field", ctypes.c_uint32),
        ("timestamp", ctypes.c_long * 2),
        ("timecode", ctypes.c_uint32 * 4),
        ("sequence", ctypes.c_uint32),
        ("memory", ctypes.c_uint32),
        ("offset", ctypes.c_ulong),
        ("length", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 2),
    )


def _request(direction: int, number: int, size: int) -> int:
    """_IOC of asm-generic/ioctl.h for the type 'V'; direction: 1 write, 2 read, 3 both."""
    return direction << 30 | size << 16 | ord("V") << 8 | number


QUERYCAP = _request(2, 0, ctypes.sizeof(_Capability))
S_FMT = _request(3, 5, ctypes.sizeof(_Format))
S_PARM = _request(3, 22, ctypes.sizeof(_StreamParm))
REQBUFS = _request(3, 8, ctypes.sizeof(_RequestBuffers))
QUERYBUF = _request(3, 9, ctypes.sizeof(_Buffer))
QBUF = _request(3, 15, ctypes.sizeof(_Buffer))
S_CTRL = _request(3, 28, ctypes.sizeof(_Control))
QUERYCTRL = _request(3, 36, ctypes.sizeof(_QueryCtrl))
STREAMON = _request(1, 18, ctypes.sizeof(ctypes.c_int))


def fourcc(name: str) -> int:
    """The number of a four-letter pixel format."""
    return int.from_bytes(name.encode("ascii"), "little")


@dataclass(frozen=True, slots=True)
class Capability:
    """What a node says of itself. caps: CAP_* bits of this node."""

    driver: str
    card: str
    caps: int

    @property
    def is_loopback(self) -> bool:
        return self.driver == LOOPBACK_DRIVER

    @property
    def takes_frames(self) -> bool:
        return bool(self.caps & CAP_VIDEO_OUTPUT)

    @property
    def is_stuck(self) -> bool:
        """v4l2loopback 0.12 with exclusive_caps=1 after its writer left without STREAMON: neither camera nor output, and every S_FMT fails."""
        return self.is_loopback and not self.caps & (CAP_VIDEO_OUTPUT | CAP_VIDEO_CAPTURE)


@dataclass(frozen=True, slots=True)
class Granted:
    """What the driver made of the format asked for. pixel_format: its four letters."""

    width_px: int
    height_px: int
    pixel_format: str


class Node:
    """One open device node. All methods raise OSError with the driver's errno."""

    def __init__(self, path: Path, *, nonblocking: bool = False) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_NONBLOCK if nonblocking else 0))

    def _ioctl(self, request: int, argument: ctypes.Structure | ctypes.c_int) -> None:
        if sys.platform == "linux":
            import fcntl  # Windows has none

            fcntl.ioctl(self._fd, request, argument)  # type: ignore[arg-type]

    def capability(self) -> Capability:
        """QUERYCAP."""
        found = _Capability()
        self._ioctl(QUERYCAP, found)
        caps = found.device_caps if found.capabilities & CAP_DEVICE_CAPS else found.capabilities
        return Capability(found.driver.decode("utf-8", "replace"), found.card.decode("utf-8", "replace"), caps)

    def set_format(self, width_px: int, height_px: int, pixel_format: str) -> Granted:
        """S_FMT for output. The driver may grant another format: a reader that is still there holds a loopback to the old one."""
        asked = _Format(type=BUF_TYPE_VIDEO_OUTPUT)
        pix = asked.fmt.pix
        pix.width, pix.height, pix.pixelformat, pix.field, pix.colorspace = width_px, height_px, fourcc(pixel_format), FIELD_NONE, COLORSPACE_SRGB
        pix.sizeimage = width_px * height_px * (3 if pixel_format == "YU12" else 4) // 2
        pix.bytesperline = width_px * (1 if pixel_format == "YU12" else 2)
        self._ioctl(S_FMT, asked)
        return Granted(pix.width, pix.height, pix.pixelformat.to_bytes(4, "little").decode("ascii", "replace"))

    def set_fps(self, fps: float) -> None:
        """S_PARM: what readers are told."""
        asked = _StreamParm(type=BUF_TYPE_VIDEO_OUTPUT)
        asked.parm.output.timeperframe.numerator = 1000
        asked.parm.output.timeperframe.denominator = round(fps * 1000)
        self._ioctl(S_PARM, asked)

    def stream_on(self) -> None:
        """STREAMON for output: makes v4l2loopback 0.12 count this opener as the writer, so that it is an output again after `close`."""
        self._ioctl(STREAMON, ctypes.c_int(BUF_TYPE_VIDEO_OUTPUT))

    def has_timeout_picture(self) -> bool:
        """Whether the driver can show a picture of ours by itself when nothing is written any more."""
        for number, name in TIMEOUT_NAMES.items():
            asked = _QueryCtrl(id=number)
            try:
                self._ioctl(QUERYCTRL, asked)
            except OSError:
                return False
            if asked.name != name.encode():
                return False
        return True

    def set_timeout_picture(self, picture: memoryview, timeout_ms: int) -> None:
        """The driver keeps a copy of `picture` (coded as `set_format` was granted, which comes first) and gives it to readers when nothing has been
        written for `timeout_ms`, also when the writer is dead."""
        self._ioctl(S_CTRL, _Control(id=CID_TIMEOUT_IMAGE_IO, value=1))
        with Node(self.path) as bringer:  # the next opener brings the picture, and does nothing else
            bringer._bring(picture)
        self._ioctl(S_CTRL, _Control(id=CID_TIMEOUT, value=timeout_ms))

    def _bring(self, picture: memoryview) -> None:
        self._ioctl(REQBUFS, _RequestBuffers(count=1, type=BUF_TYPE_VIDEO_OUTPUT, memory=MEMORY_MMAP))
        buffer = _Buffer(index=0, type=BUF_TYPE_VIDEO_OUTPUT, memory=MEMORY_MMAP)
        self._ioctl(QUERYBUF, buffer)
        if buffer.length < picture.nbytes:
            raise OSError(errno.EINVAL, f"the timeout picture's buffer has {buffer.length} bytes, {picture.nbytes} are needed")
        with mmap.mmap(self._fd, buffer.length, offset=buffer.offset) as memory:
            memory[: picture.nbytes] = picture.tobytes()
        buffer.bytesused = picture.nbytes
        self._ioctl(QBUF, buffer)

    def write(self, picture: memoryview) -> int:
        """One picture. Returns the bytes taken."""
        return os.write(self._fd, picture)

    def read_some(self, buffer: bytearray) -> bool:
        """Whether a picture was there to read (nodes opened `nonblocking`)."""
        try:
            return os.readv(self._fd, [buffer]) > 0
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def loopback_paths() -> tuple[Path, ...]:
    """Nodes that v4l2loopback made, by their sysfs files, in the order of their numbers; opens none of them."""
    found: list[tuple[int, Path]] = []
    for entry in SYSFS.glob("video*") if SYSFS.is_dir() else ():
        number = entry.name.removeprefix("video")
        if number.isdigit() and (entry / "max_openers").exists():
            found.append((int(number), Path("/dev") / entry.name))
    return tuple(path for _, path in sorted(found))


def loopback_version() -> tuple[int, ...] | None:
    """Version of the loaded v4l2loopback, None when it is not loaded or does not say."""
    try:
        text = (LOOPBACK_MODULE / "version").read_text().strip()
        return tuple(int(part) for part in text.split("."))
    except (OSError, ValueError):
        return None


def card_name(path: Path) -> str:
    """The name that programs show for a node, "" when unknown."""
    try:
        return (SYSFS / path.name / "name").read_text().strip()
    except OSError:
        return ""


def is_streaming(path: Path) -> bool:
    """Whether a v4l2loopback node has a format now, that is, a writer or a reader of an earlier one."""
    try:
        return bool((SYSFS / path.name / "format").read_text().strip())
    except OSError:
        return False
