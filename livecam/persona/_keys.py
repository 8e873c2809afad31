"""The user's own keys for personas, whom the user trusts, and lists that only the user's key can have signed.

All lie in one folder of the user's configuration (`folder`), mode 0700: "signing.key" (the seed of an Ed25519 key, RFC 8032), "trusted.json",
"revoked.json", and in "sealing" one key a person's persona (see _seal). Keys are made on first use, files of mode 0600; a damaged one is never
replaced unasked, because what it sealed would be lost.

Form of a list: {"form": ..., "entries": [{...}, ...], "signature": 128 hex digits}, signed over its form, a newline, and its entries as canonical
JSON (keys sorted, no spaces, ASCII).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from livecam._locks import locked
from livecam._sealed import LOCK, read_key, user_key, write_whole
from livecam.errors import ModelFileError, PersonaError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNING = "signing.key"
TRUSTED, REVOKED = "trusted", "revoked"
"""The lists, by their form; files of that name with ".json"."""
KEY_DIGITS, SIGNATURE_DIGITS = 64, 128
KEY = re.compile(r"[0-9a-f]{64}")
SIGNATURE = re.compile(r"[0-9a-f]{128}")
MAX_LIST_BYTES = 1_000_000
Entry = Mapping[str, str]


class ListError(PersonaError):
    """A list of the user's is not as the user's key signed it."""


def folder() -> Path:
    """Where the user's keys and lists lie; not made here."""
    return Path(platformdirs.user_config_dir("livecam", appauthor=False)) / "personas"


def canonical(value: object) -> bytes:
    """JSON in one form only: keys sorted, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def fingerprint(key: str) -> str:
    """A public key (64 hex digits) for people to compare: all of it, in groups of eight."""
    return " ".join(key[at : at + 8] for at in range(0, KEY_DIGITS, 8))


def own_key(path: Path | None = None) -> Ed25519PrivateKey:
    """The user's signing key, made when there is none. Raises PersonaError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(keep(path or folder() / SIGNING, "the key that signs your personas"))


def keep(path: Path, what: str) -> bytes:
    """The 32 bytes of a key file, made when there is none. Raises PersonaError."""
    try:
        return user_key(path, what, renew=False)
    except ModelFileError as error:
        raise PersonaError(str(error)) from error


def own_public() -> str:
    """The user's public key, 64 hex digits; "" while there is none (none is made)."""
    seed = read_key(folder() / SIGNING)
    if seed is None:
        return ""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return public_of(Ed25519PrivateKey.from_private_bytes(seed))


def public_of(key: Ed25519PrivateKey) -> str:
    """The public half, 64 hex digits."""
    return key.public_key().public_bytes_raw().hex()


def verified(key: str, signature: str, message: bytes) -> bool:
    """Whether `signature` (128 hex digits, lower case) over `message` is by the public key `key` (64 hex digits). Never raises."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not KEY.fullmatch(key) or not SIGNATURE.fullmatch(signature):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def read_list(form: str) -> tuple[Entry, ...]:
    """The entries of a list; none when there is no such file. Raises ListError: it is not as the user's key signed it."""
    path = list_path(form)
    try:
        if not path.exists():
            return ()
        with path.open("rb") as file:
            data = file.read(MAX_LIST_BYTES + 1)
    except OSError as error:
        raise ListError(f"the list {path} cannot be read: {error}; make it readable") from error
    entries, signature = _parsed(data, form)
    if entries is None or not verified(own_public(), signature, _message(form, entries)):
        raise ListError(
            f"the list {path}: expected one that your key signed, found it edited, damaged, or of another key; bring back the file (or your key), "
            f"or move it away to begin a new one (what it said does not count then)"
        )
    return tuple(entries)


def add_to_list(form: str, entry: Entry) -> None:
    """Puts an entry on a list and signs it anew. Raises PersonaError (ListError: the list there is not to be trusted)."""
    change_list(form, lambda entries: [*(one for one in entries if dict(one) != dict(entry)), entry])


def change_list(form: str, change: Callable[[tuple[Entry, ...]], Sequence[Entry]]) -> None:
    """Signs and writes what `change` makes of the entries. Raises PersonaError."""
    key = own_key()
    path = list_path(form)
    try:
        with locked(path.with_name(path.name + LOCK)):
            entries: list[dict[str, str]] = [dict(one) for one in change(read_list(form))]
            write_whole(path, _written(form, entries, key.sign(_message(form, entries)).hex()))
    except OSError as error:
        raise PersonaError(f"the list {path} cannot be written: {error}; make its folder writable") from error


def list_path(form: str) -> Path:
    """Where a list lies."""
    return folder() / f"{form}.json"


def _written(form: str, entries: Sequence[Entry], signature: str) -> bytes:
    """A list's file, which has one form only: any other bytes are an edit."""
    body = {"form": form, "entries": [dict(one) for one in entries], "signature": signature}
    return json.dumps(body, indent=1, sort_keys=True).encode() + b"\n"


def _message(form: str, entries: Sequence[Entry]) -> bytes:
    return b"livecam list " + form.encode() + b"\n" + canonical([dict(one) for one in entries])


def _parsed(data: bytes, form: str) -> tuple[list[Entry] | None, str]:
    try:
        body = json.loads(data)
        entries, signature = body["entries"], str(body["signature"])
        plain = all(isinstance(k, str) and isinstance(v, str) for one in entries for k, v in one.items())
        whole = len(data) <= MAX_LIST_BYTES and body["form"] == form and data == _written(form, entries, signature)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None, ""
    return (list(entries), signature) if whole and plain else (None, "")
