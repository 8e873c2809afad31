"""Finished frames from the worker to the main process: one shared segment, three slots, the commit word last.

Main creates a segment for each life of a worker (a generation) and removes it after that life; the worker attaches by name and neither tracks
nor removes it.  A frame counts only when its commit word, header checksum, generation and sampled rows agree, in main's own copy.

Layout of a slot (little endian, offsets in bytes):
    0     commit word, uint64: low half of `seq` << 32 | CRC-32 of the header; 0 while the slot is being written
    64    header (`HEADER`), 512 pixels: height rows of width * 3 bytes, BGR
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import secrets
import sys
import threading
import time
import zlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livecam.errors import GuardError
from livecam.types import U8, Verdict

SLOTS = 3
"""One newest, one being written, one that main may still be copying."""
MAX_STAGES = 24
"""Stages whose times fit into a header."""
SAMPLED_ROWS = 16
"""Rows whose checksum travels with a frame: finds a torn frame, costs under 0.1 ms at 1080p."""
MAGIC = 0x4D434C31
"""A segment of finished frames."""
MAGIC_REVEAL = 0x4D434C52
"""A segment of watermarked raw frames (see `livecam.guard.reveal`); no reader takes one for the other."""
HEADER = np.dtype(
    [
        ("magic", "<u4"),
        ("faces", "<u4"),
        ("generation", "<u8"),
        ("seq", "<u8"),
        ("capture_ns", "<i8"),
        ("commit_ns", "<i8"),
        ("verdict", "<u4"),
        ("width", "<u4"),
        ("height", "<u4"),
        ("rows_crc", "<u4"),
        ("stages", "<f4", (MAX_STAGES, 2)),
    ]
)
_HEADER_AT, _PIXELS_AT, _ALIGN = 64, 512, 4096
_SEQ_MASK = 0xFFFFFFFF
_PREFIX = "livecam-"
_STALE = re.compile(r"livecam-[0-9a-f]{16}")
_SHM_DIR = Path("/dev/shm")
_YOUNG_S = 5.0
"""A segment younger than this may be one whose maker has not locked it yet."""
_NOT_MADE = (errno.EEXIST, errno.EMFILE, errno.ENFILE, errno.EACCES)
"""Errors of opening a segment; after any other one Python removes it itself."""
_ATTACH = threading.Lock()
_generations = itertools.count(secrets.randbits(40) << 16)


@dataclass(frozen=True, slots=True)
class SegmentSpec:
    """What a worker needs to attach: the segment's name, bytes for pixels in a slot, generation, names of the stages, magic number."""

    name: str
    pixel_bytes: int
    generation: int
    stages: tuple[str, ...]
    magic: int = MAGIC


@dataclass(frozen=True, slots=True)
class Published:
    """A frame that main accepted.

    image: (H, W, 3) uint8 BGR, a view of the reader's own buffer: valid until the next frame is accepted; not to be written to.
    seq: counts the worker's publications from 1. capture_ns, commit_ns: monotonic. faces: how many were masked.
    stages: name -> (wall_ms, cpu_ms) of the stages that ran.
    """

    image: U8
    seq: int
    generation: int
    capture_ns: int
    commit_ns: int
    verdict: Verdict
    faces: int
    stages: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])


def _slot_bytes(pixel_bytes: int) -> int:
    return -(-(_PIXELS_AT + pixel_bytes) // _ALIGN) * _ALIGN


@contextlib.contextmanager
def _untracked() -> Generator[None, None, None]:
    """Python before 3.13 registers a segment with the resource tracker on attaching too, which would remove it at this process's end."""
    with _ATTACH:
        register = resource_tracker.register
        resource_tracker.register = lambda name, rtype: None  # type: ignore[assignment]
        try:
            yield
        finally:
            resource_tracker.register = register  # type: ignore[assignment]


def _attach(name: str) -> SharedMemory:
    if sys.version_info >= (3, 13):
        return SharedMemory(name, track=False)
    with _untracked():
        return SharedMemory(name)


def _fence(lock: threading.Lock) -> None:
    """Full memory barrier (release, then acquire): what was written before is seen before what is written after, on ARM too."""
    with lock:
        pass
    with lock:
        pass


class _Slots:
    """NumPy views of a mapped segment. They must be gone before the mapping can be closed."""

    def __init__(self, memory: SharedMemory, pixel_bytes: int) -> None:
        size = _slot_bytes(pixel_bytes)
        if memory.size < size * SLOTS:
            raise GuardError(f"shared segment {memory.name!r}: expected at least {size * SLOTS} bytes, found {memory.size}; restart livecam")
        self.words: list[NDArray[np.uint64]] = []
        self.headers: list[NDArray[Any]] = []
        self.pixels: list[U8] = []
        for slot in range(SLOTS):
            base = slot * size
            self.words.append(np.ndarray((1,), np.uint64, memory.buf, base))
            self.headers.append(np.ndarray((1,), HEADER, memory.buf, base + _HEADER_AT))
            self.pixels.append(np.ndarray((pixel_bytes,), np.uint8, memory.buf, base + _PIXELS_AT))

    def drop(self) -> None:
        self.words.clear()
        self.headers.clear()
        self.pixels.clear()


class Segments:
    """The shared segment of one generation, on main's side, which alone creates and removes it. A context manager."""

    def __init__(self, memory: SharedMemory, spec: SegmentSpec, lock_fd: int | None) -> None:
        self._memory: SharedMemory | None = memory
        self._lock_fd = lock_fd
        self.spec = spec
        self.slots = _Slots(memory, spec.pixel_bytes)

    @classmethod
    def create(cls, width_px: int, height_px: int, stages: tuple[str, ...] = (), magic: int = MAGIC) -> Segments:
        """A new segment, with a new generation, for frames of up to `width_px` x `height_px`. Raises GuardError when memory is short."""
        if not (1 <= width_px <= 16384 and 1 <= height_px <= 16384):
            raise GuardError(f"frame size: expected 1 to 16384 pixels a side, found {width_px}x{height_px}; choose another camera format")
        if len(stages) > MAX_STAGES:
            raise GuardError(f"stages: expected at most {MAX_STAGES}, found {len(stages)}")
        pixel_bytes = width_px * height_px * 3
        memory = _create(_slot_bytes(pixel_bytes) * SLOTS)
        lock_fd = None
        try:
            lock_fd = _reserve_and_lock(memory)
            spec = SegmentSpec(memory.name, pixel_bytes, next(_generations), tuple(stages), magic)
            return cls(memory, spec, lock_fd)
        except OSError as error:
            _remove(memory, lock_fd)
            raise GuardError(f"shared memory: {memory.size >> 20} MB needed, {error.strerror}; enlarge /dev/shm or choose a smaller frame") from error

    def close(self) -> None:
        """Unmaps and removes the segment; may be called again."""
        memory, self._memory = self._memory, None
        if memory is None:
            return
        self.slots.drop()
        _remove(memory, self._lock_fd)

    def __enter__(self) -> Segments:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _create(size: int) -> SharedMemory:
    while True:
        name = _PREFIX + secrets.token_hex(8)
        if os.name == "posix":  # before it is made: where there is no room Python takes it off the tracker's list without having put it there
            resource_tracker.register("/" + name, "shared_memory")
        try:
            return SharedMemory(name, create=True, size=size)
        except OSError as error:
            if os.name == "posix" and error.errno in _NOT_MADE:
                resource_tracker.unregister("/" + name, "shared_memory")
            if isinstance(error, FileExistsError):
                continue
            raise GuardError(f"shared memory: expected room for {size >> 20} MB, the system says {error.strerror}; free some memory") from error


def _reserve_and_lock(memory: SharedMemory) -> int | None:
    """On Linux: take the pages now (later it would be SIGBUS) and hold a lock that dies with this process, so that `clean_stale` can tell."""
    path = _SHM_DIR / memory.name
    if not sys.platform.startswith("linux") or not path.exists():
        return None
    import fcntl

    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.posix_fallocate(fd, 0, memory.size)
    except OSError:
        os.close(fd)
        raise
    return fd


def _remove(memory: SharedMemory, lock_fd: int | None) -> None:
    memory.close()
    try:
        memory.unlink()
    except FileNotFoundError:
        # Somebody cleaned /dev/shm: tell the tracker, which would complain at the end.
        resource_tracker.unregister("/" + memory.name, "shared_memory")
    if lock_fd is not None:
        os.close(lock_fd)


def clean_stale() -> int:
    """Removes segments whose main process is gone (Linux; elsewhere the system or the resource tracker does). Returns how many."""
    if not sys.platform.startswith("linux") or not _SHM_DIR.is_dir():
        return 0
    import fcntl

    removed = 0
    for path in _SHM_DIR.iterdir():
        if not _STALE.fullmatch(path.name):
            continue
        try:
            if time.time() - path.stat().st_mtime < _YOUNG_S:
                continue
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # another user's, or gone meanwhile
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            removed += 1
        except OSError:
            pass  # in use
        finally:
            os.close(fd)
    return removed


@lru_cache(maxsize=8)
def _sampled(height_px: int) -> tuple[int, ...]:
    return tuple(np.linspace(0, height_px - 1, min(SAMPLED_ROWS, height_px)).astype(int).tolist())


def _rows_crc(image: U8) -> int:
    crc = 0
    for row in _sampled(image.shape[0]):
        crc = zlib.crc32(image[row].data, crc)
    return crc


class Writer:
    """The worker's side. One thread publishes."""

    def __init__(self, spec: SegmentSpec) -> None:
        """Attaches. Raises GuardError when the segment is gone (its generation is over)."""
        try:
            self._memory: SharedMemory | None = _attach(spec.name)
        except FileNotFoundError as error:
            raise GuardError(f"shared segment {spec.name!r} is gone: this worker's generation is over") from error
        self.spec = spec
        self._slots = _Slots(self._memory, spec.pixel_bytes)
        self._seq = 0
        self._fence = threading.Lock()
        self._stage_at = {name: i for i, name in enumerate(spec.stages)}

    def publish(
        self, image: U8, verdict: Verdict, capture_ns: int, faces: int = 0, stages: Mapping[str, tuple[float, float]] | None = None
    ) -> int:
        """Copies a finished frame out; returns its seq. image: (H, W, 3) uint8. Raises GuardError when it does not fit (ask for larger segments)."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not 0 < image.size <= self.spec.pixel_bytes:
            raise GuardError(
                f"published frame: expected (H, W, 3) uint8 of at most {self.spec.pixel_bytes} bytes, found {image.shape} {image.dtype}"
            )
        self._seq += 1
        slot = self._seq % SLOTS
        word, header, pixels = self._slots.words[slot], self._slots.headers[slot], self._slots.pixels[slot]
        word[0] = 0
        _fence(self._fence)
        target = pixels[: image.size].reshape(image.shape)
        np.copyto(target, image)
        header[0] = self._fill(image, verdict, capture_ns, faces, stages or {})
        _fence(self._fence)
        word[0] = (self._seq & _SEQ_MASK) << 32 | zlib.crc32(header.tobytes())
        return self._seq

    def _fill(self, image: U8, verdict: Verdict, capture_ns: int, faces: int, stages: Mapping[str, tuple[float, float]]) -> Any:
        filled = np.zeros((), HEADER)
        filled["magic"], filled["generation"], filled["seq"] = self.spec.magic, self.spec.generation, self._seq
        filled["capture_ns"], filled["commit_ns"] = capture_ns, time.monotonic_ns()
        filled["verdict"], filled["faces"] = int(verdict), faces
        filled["height"], filled["width"] = image.shape[:2]
        filled["rows_crc"] = _rows_crc(image)
        times = filled["stages"]
        times[:] = -1.0
        for name, pair in stages.items():
            if name in self._stage_at:
                times[self._stage_at[name]] = pair
        return filled

    def close(self) -> None:
        """Unmaps; removes nothing. May be called again."""
        memory, self._memory = self._memory, None
        if memory is not None:
            self._slots.drop()
            memory.close()


class Reader:
    """Main's side of a segment. One thread reads."""

    def __init__(self, segments: Segments) -> None:
        self._slots = segments.slots
        self.spec = segments.spec
        self._last_seq = 0
        self._buffers = [np.empty(segments.spec.pixel_bytes, np.uint8) for _ in range(2)]
        self._fence = threading.Lock()
        self.refused = 0
        """Frames seen and not accepted (torn, foreign, damaged)."""

    def newest(self) -> Published | None:
        """The newest frame that was not returned before, or None. Never the same twice, never an older one, never a torn or foreign one."""
        for slot in self._fresh():
            found = self._take(slot)
            if found is not None:
                self._last_seq = found.seq
                self._buffers.reverse()  # the one just returned stays untouched while the next is tried
                return found
        return None

    def _fresh(self) -> list[int]:
        """Slots that hold something newer, newest first."""
        seqs = {slot: int(word[0]) >> 32 for slot, word in enumerate(self._slots.words) if int(word[0])}
        ahead = {slot: (seq - self._last_seq) & _SEQ_MASK for slot, seq in seqs.items()}
        return sorted((slot for slot in ahead if 0 < ahead[slot] < 1 << 31), key=lambda slot: -ahead[slot])

    def _take(self, slot: int) -> Published | None:
        word = int(self._slots.words[slot][0])
        _fence(self._fence)
        header = self._slots.headers[slot][0].copy()
        height, width = int(header["height"]), int(header["width"])
        size = height * width * 3
        if not self._header_ok(header, word) or not 0 < size <= self.spec.pixel_bytes:
            self.refused += 1
            return None
        image = self._buffers[0][:size].reshape(height, width, 3)
        np.copyto(image.reshape(-1), self._slots.pixels[slot][:size])
        _fence(self._fence)
        if int(self._slots.words[slot][0]) != word or _rows_crc(image) != int(header["rows_crc"]):
            self.refused += 1
            return None
        times = {
            name: (float(wall), float(cpu)) for name, (wall, cpu) in zip(self.spec.stages, header["stages"], strict=False) if wall >= 0.0
        }
        verdict = Verdict(int(header["verdict"]))
        view = image.view()
        view.flags.writeable = False
        return Published(
            view, int(header["seq"]), self.spec.generation, int(header["capture_ns"]), int(header["commit_ns"]), verdict, int(header["faces"]), times
        )

    def _header_ok(self, header: Any, word: int) -> bool:
        return (
            word & _SEQ_MASK == zlib.crc32(header.tobytes())
            and int(header["magic"]) == self.spec.magic
            and int(header["generation"]) == self.spec.generation
            and int(header["seq"]) & _SEQ_MASK == word >> 32
            and int(header["seq"]) > self._last_seq
            and int(header["verdict"]) in (Verdict.COVER, Verdict.LIVE)
        )
