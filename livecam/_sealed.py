"""Entries on disk that are taken back only as this user wrote them: each is authenticated by HMAC-SHA256 with a key of the user's own.

What lies in such a cache is executed (a TensorRT engine is a program for the card), and its own checks can be fooled. So an entry that was altered,
cut short, written by somebody else, moved under another name, or made for other circumstances (`wanted`) counts as missing and is removed.

The key lies outside the cache, in the user's configuration folder (file mode 0600, made on first use); whoever may write to the cache alone cannot
make an entry. Source: RFC 2104. Form of a file:

    MAGIC, length of the header (4 bytes, little endian), header (JSON: {"for": {...}, "made": seconds since 1970}), payload, HMAC of all before
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from livecam._locks import locked
from livecam.errors import ModelFileError

MAGIC = b"livecam sealed 1\n"
HMAC_BYTES = 32
KEY_BYTES = 32
NAME_DIGITS = 32
MAX_HEADER_BYTES = 65_536
MAX_ENTRY_BYTES = 2_000_000_000
ENTRY, PART, LOCK = ".sealed", ".part", ".lock"
ONE_LOCK = "building" + LOCK
"""One entry is made at a time: a build takes all processors anyway, and nothing but this empty file ever stays."""

Wanted = Mapping[str, str]
"""What an entry is for: field -> value. Two entries are the same only when all fields are."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the cache. wanted: what it says it is for, {} when that cannot be read; made_s: seconds since 1970; why: "" for a good one, else what
    is wrong with it; size_bytes: of the payload, or of the file when it is not good."""

    path: Path
    wanted: Wanted
    made_s: float
    size_bytes: int
    why: str = ""


def user_key(path: Path, what: str = "the key of the engine cache", renew: bool = True) -> bytes:
    """The user's key, 32 random bytes, made when there is none.

    One that is damaged, not the user's own, or open to others is replaced with `renew` (what it sealed before is then not accepted any more), else
    refused. what: its name in messages. Raises ModelFileError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(path.with_name(path.name + LOCK)):
            found = read_key(path)
            if found is None and not renew and os.path.lexists(path):
                raise ModelFileError(
                    f"{what}: expected {path} to be a file of {KEY_BYTES} bytes that belongs to you and that nobody else may read, found otherwise; "
                    "restore it (mode 0600), or move it away to have a new one made"
                )
            if found is None:
                found = secrets.token_bytes(KEY_BYTES)
                write_whole(path, found)
            return found
    except OSError as error:
        raise ModelFileError(f"{what} cannot be kept at {path}: {error}; make its folder writable") from error


def read_key(path: Path) -> bytes | None:
    """The key at `path`; None when there is none that is whole, the user's own, and closed to others."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        data = file.read(KEY_BYTES + 1)
    if not stat.S_ISREG(about.st_mode) or len(data) != KEY_BYTES:
        return None
    if os.name != "nt" and (about.st_mode & 0o077 or about.st_uid != os.geteuid()):
        return None
    return data


def write_whole(path: Path, data: bytes) -> None:
    """`data` at `path` (mode 0600), whole or not at all. The caller holds a lock, so one name for the unfinished file is enough; a dead writer's is
    replaced. Raises OSError."""
    part = path.with_name(path.name + PART)
    part.unlink(missing_ok=True)
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class SealedCache:
    """A folder of entries. Safe between threads and processes: `building` lets one at a time make entries, and files appear whole."""

    def __init__(self, folder: Path, key: bytes) -> None:
        """key: the user's, see `user_key`."""
        self.folder, self._key = folder, key

    def path(self, wanted: Wanted) -> Path:
        """Where the entry for `wanted` belongs, there or not."""
        digest = hashlib.sha256(json.dumps(dict(wanted), sort_keys=True).encode())
        return self.folder / (digest.hexdigest()[:NAME_DIGITS] + ENTRY)

    def get(self, wanted: Wanted) -> bytes | None:
        """The payload for `wanted`; None when there is none, or none that is authentic, which is removed."""
        path = self.path(wanted)
        entry, payload = self._read(path)
        if entry is None:
            return None
        if entry.why or dict(entry.wanted) != dict(wanted):
            self.drop(wanted)
            return None
        return payload

    def drop(self, wanted: Wanted) -> None:
        """Removes the entry for `wanted`, which turned out to be of no use."""
        # On Windows another process may have it open; then that one has found it to be of use.
        with suppress(OSError):
            self.path(wanted).unlink(missing_ok=True)

    def put(self, wanted: Wanted, payload: bytes) -> Path:
        """Keeps `payload` for `wanted`. Called within `building()`. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        header = json.dumps({"for": dict(wanted), "made": round(time.time(), 1)}, sort_keys=True).encode()
        body = MAGIC + len(header).to_bytes(4, "little") + header + payload
        path = self.path(wanted)
        write_whole(path, body + self._seal(body))
        return path

    @contextmanager
    def building(self) -> Generator[None]:
        """Around making entries: a second process waits here, and then finds the first one's by `get`. What a dead one left is removed.
        Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self.folder / ONE_LOCK):
            for part in self.folder.glob("*" + PART):
                part.unlink(missing_ok=True)
            yield

    def entries(self) -> tuple[Entry, ...]:
        """All files of the cache, each authenticated."""
        found = (self._read(path)[0] for path in sorted(self.folder.glob("*" + ENTRY)))
        return tuple(entry for entry in found if entry is not None)

    def clean(self, only_bad: bool = False) -> tuple[int, int]:
        """Removes entries (only those that are not authentic, if asked), and what dead processes left. Returns (entries, bytes) removed.
        Raises OSError."""
        files, size = 0, 0
        with self.building():
            for entry in self.entries():
                if entry.why or not only_bad:
                    files, size = files + 1, size + entry.path.stat().st_size
                    entry.path.unlink(missing_ok=True)
        return files, size

    def _seal(self, body: bytes | memoryview) -> bytes:
        return hmac.digest(self._key, cast(bytes, body), "sha256")

    def _read(self, path: Path) -> tuple[Entry | None, bytes]:
        """What is at `path` and its payload, b"" when it is not good. The bytes that were authenticated are the ones handed out."""
        try:
            size = path.stat().st_size
            if size > MAX_ENTRY_BYTES:
                return Entry(path, {}, 0.0, size, f"larger than {MAX_ENTRY_BYTES} bytes"), b""
            data = memoryview(path.read_bytes())
        except FileNotFoundError:
            return None, b""
        except OSError as error:
            return Entry(path, {}, 0.0, 0, f"cannot be read: {error}"), b""
        start = len(MAGIC) + 4
        if len(data) < start + HMAC_BYTES or bytes(data[: len(MAGIC)]) != MAGIC:
            return Entry(path, {}, 0.0, len(data), "cut short, or of another form"), b""
        body, seal = data[:-HMAC_BYTES], data[-HMAC_BYTES:]
        if not hmac.compare_digest(self._seal(body), seal):
            return Entry(path, {}, 0.0, len(data), "altered, cut short, or sealed with another key"), b""
        length = int.from_bytes(data[len(MAGIC) : start], "little")
        header = _header(body[start : start + length]) if length <= MAX_HEADER_BYTES else None
        if header is None:
            return Entry(path, {}, 0.0, len(data), "of another form"), b""
        wanted, made_s = header
        if self.path(wanted) != path:
            return Entry(path, wanted, made_s, len(data), "moved here from another name"), b""
        return Entry(path, wanted, made_s, len(body) - start - length), bytes(body[start + length :])


def _header(data: memoryview) -> tuple[dict[str, str], float] | None:
    try:
        read: dict[str, Any] = json.loads(bytes(data))
        return {str(k): str(v) for k, v in read["for"].items()}, float(read["made"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
