"""python -m engines export sign: renews the signed list of the data files that ship with livecam (livecam/_shipped.py).

The private key is a PEM file (PKCS #8) outside the repository, named by the environment variable LIVECAM_RELEASE_KEY. `--new-key` makes one there and
puts its public half into the package: for a first release, for a fork, and to change the key (docs/security.md).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key

from livecam import _shipped
from livecam.errors import LivecamError, UsageError

VARIABLE = "LIVECAM_RELEASE_KEY"


def load_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a file that only its owner may read. Raises UsageError."""
    try:
        if os.name != "nt" and path.stat().st_mode & 0o077:
            raise UsageError(f"the release key {path} may be read by others; close it: chmod 600")
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"the release key cannot be read from {path}: {error}; name its file by {VARIABLE}, or make one with --new-key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"the release key in {path} should be an Ed25519 key, found {type(key).__name__}; make one with --new-key")
    return key


def make_key(path: Path) -> Ed25519PrivateKey:
    """A new private key at `path`, which must not exist. Raises UsageError."""
    key = Ed25519PrivateKey.generate()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    except OSError as error:
        raise UsageError(f"a new release key cannot be kept at {path}: {error}; an old one is never overwritten, name another file") from error
    return key


def sign(key: Ed25519PrivateKey, root: Path = _shipped.ROOT, new_key: bool = False) -> int:
    """Writes the list, its signature and, for a new key, the public one below `root`; how many files there are. Raises UsageError when `key` is not
    the one whose public half is there."""
    public, pem = root / _shipped.PUBLIC_KEY, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if new_key or not public.exists():
        public.write_bytes(pem)
    elif public.read_bytes() != pem:
        raise UsageError(f"the release key is not the one of {public}; sign with that one, or change the key with --new-key")
    listed = _shipped.described(root)
    (root / _shipped.LIST).write_bytes(listed)
    (root / _shipped.SIGNATURE).write_bytes(key.sign(listed))
    return len(_shipped.read(root).files)


def main(argv: Sequence[str]) -> int:
    """Sign; 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m engines export sign", description="Sign the data files that ship with livecam.")
    parser.add_argument("--new-key", action="store_true", help=f"make a key at the path in {VARIABLE}, and put its public half into the package")
    args = parser.parse_args(argv)
    try:
        named = os.environ.get(VARIABLE, "")
        if not named:
            raise UsageError(f"expected the file of the release key in the environment variable {VARIABLE}, found none")
        path = Path(named).expanduser()
        count = sign(make_key(path) if args.new_key else load_key(path), new_key=args.new_key)
    except LivecamError as error:
        print(f"engines export sign: {error}", file=sys.stderr)
        return 2
    print(f"signed: {count} files, key {_shipped.read().fingerprint}")
    return 0
