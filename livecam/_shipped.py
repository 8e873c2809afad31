"""The data files that come with livecam are those that were released: each one's SHA-256 stands on a list that is signed with Ed25519 (RFC 8032).

    livecam/shipped.json        {"format", "files": {path below livecam/: [size in bytes, SHA-256]}}: weights, cards, personas, the demo, pictures
    livecam/shipped.json.sig    64 bytes: the signature of exactly these bytes
    livecam/release.pub         the public key, PEM; the private one is in no repository (docs/security.md: how to change it)

The signature is checked once a process, and each file's hash when it is opened. This finds damage, half an update and exchanged weights; it is no
protection against somebody who may write livecam's own code. `python -m engines export sign` renews the list.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from livecam.errors import ModelFileError

ROOT = Path(__file__).resolve().parent
LIST, SIGNATURE, PUBLIC_KEY = "shipped.json", "shipped.json.sig", "release.pub"
FORMAT = "livecam shipped 1"
NOT_DATA = frozenset({".py", ".pyc", ".nbi", ".nbc"})
"""Source, and what Python and numba make of it beside it."""
SOURCES = ("output/web_page/", "bench/")
"""Source too, in other languages, and what benchmarks are held to."""
FINGERPRINT_DIGITS = 16
ED25519_INFO = bytes.fromhex("302a300506032b6570032100")
"""What stands before the key in a SubjectPublicKeyInfo."""
WAY_OUT = "install livecam again; whoever changed it on purpose signs anew: python -m engines export sign"


@dataclass(frozen=True, slots=True)
class Released:
    """The signed list. files: path below the package -> (size in bytes, SHA-256); fingerprint: of the public key."""

    files: Mapping[str, tuple[int, str]]
    fingerprint: str


def data_files(root: Path = ROOT) -> tuple[str, ...]:
    """All data files below a package folder, as paths with slashes, sorted; the list and its signature are none of them."""
    names = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and path.suffix not in NOT_DATA)
    own = {LIST, SIGNATURE, PUBLIC_KEY}
    return tuple(sorted(name for name in names if name not in own and not name.startswith(SOURCES) and "__pycache__" not in name))


def described(root: Path = ROOT) -> bytes:
    """The list of what lies below `root` now: what is to be signed."""
    lines: list[str] = []
    for name in data_files(root):
        data = (root / name).read_bytes()
        lines.append(f"  {json.dumps(name)}: [{len(data)}, {json.dumps(hashlib.sha256(data).hexdigest())}]")
    return (f'{{"format": {json.dumps(FORMAT)}, "files": {{\n' + ",\n".join(lines) + "\n}}\n").encode()


def read(root: Path = ROOT) -> Released:
    """The list below `root`, its signature checked. Raises ModelFileError: missing, altered, not signed with the public key beside it."""
    from cryptography.exceptions import InvalidSignature  # 12 ms, which only who opens such files is to pay
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        listed = (root / LIST).read_bytes()
        key = Ed25519PublicKey.from_public_bytes(public_bytes(root / PUBLIC_KEY))
        key.verify((root / SIGNATURE).read_bytes(), listed)
        files = {str(name): (int(size), str(digest)) for name, (size, digest) in json.loads(listed)["files"].items()}
    except InvalidSignature:
        raise ModelFileError(f"the list of files that ship with livecam, {root / LIST}, does not bear the signature of its key; {WAY_OUT}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"the list of files that ship with livecam, {root / LIST}, cannot be read: {error}; {WAY_OUT}") from error
    return Released(files, hashlib.sha256(key.public_bytes_raw()).hexdigest()[:FINGERPRINT_DIGITS])


def public_bytes(path: Path) -> bytes:
    """The 32 bytes of the Ed25519 key in a PEM file (RFC 8410), read here: the library's reader takes 10 ms to load. Raises OSError, ValueError."""
    lines = path.read_text("ascii").split()
    der = base64.b64decode("".join(line for line in lines if len(line) > 20), validate=True)
    if len(lines) < 5 or not der.startswith(ED25519_INFO) or len(der) != len(ED25519_INFO) + 32:
        raise ValueError(f"{path} should be an Ed25519 public key in PEM form")
    return der[len(ED25519_INFO) :]


@lru_cache(maxsize=1)
def released() -> Released:
    """The list of this installation, read and checked once. Raises ModelFileError."""
    return read()


def check_digest(path: Path, sha256: str) -> None:
    """That a file of livecam's own with this hash is the one that was released; files elsewhere are none of its business. Raises ModelFileError."""
    if not path.is_relative_to(ROOT):
        return
    name = path.relative_to(ROOT).as_posix()
    wanted = released().files.get(name, (0, "none: it is not on the list of what ships"))[1]
    if sha256 != wanted:
        raise ModelFileError(f"{path} is not the file that was released: expected SHA-256 {wanted}, found {sha256}; {WAY_OUT}")


def check(path: Path, data: bytes | memoryview) -> None:
    """That `data`, read from `path`, is what was released, if it is a file of livecam's own. Raises ModelFileError."""
    if path.is_relative_to(ROOT):
        check_digest(path, hashlib.sha256(data).hexdigest())


def check_file(path: Path) -> None:
    """The same for a file that a library reads by its path, just before. Raises ModelFileError."""
    if path.is_relative_to(ROOT):
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelFileError(f"{path} cannot be read: {error}; {WAY_OUT}") from error
        check_digest(path, found)


def differences(root: Path = ROOT) -> tuple[str, ...]:
    """What lies below `root` and is not as on its list, one line each; () when all is as released. Raises ModelFileError (no valid list)."""
    listed, there = read(root).files, data_files(root)
    lines = [f"{name}: missing" for name in listed if name not in there]
    lines += [f"{name}: not on the list" for name in there if name not in listed]
    for name in there:
        if name in listed:
            found = hashlib.sha256((root / name).read_bytes()).hexdigest()
            lines += [] if found == listed[name][1] else [f"{name}: altered, expected SHA-256 {listed[name][1]}, found {found}"]
    return tuple(lines)
