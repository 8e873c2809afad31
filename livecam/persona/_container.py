"""The bytes of a persona file: a safetensors file whose signature covers every one of them.

Form (version 2): the metadata has "signer", an Ed25519 public key (64 hex digits), and "signature" (128 hex digits, lower case). What is signed is

    b"livecam persona 2\\n" + SHA-256 of the whole file, in which the 128 digits of the signature are replaced by as many "0"

so nothing in the file, order and spaces included, can change without the signature failing, and it is verified before anything in it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from livecam.errors import PersonaError
from livecam.persona import _keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FORMAT = "livecam-persona"
EXPORT_FORMAT = "livecam-persona-export"
UNSIGNED, SIGNED = "1", "2"
"""Versions: 1 has no signature and is accepted from the package alone; 2 is signed."""
DOMAIN = b"livecam persona 2\n"
MAX_FILE_BYTES = 32_000_000
"""Shipped personas have about 0.3 MB."""
MAX_HEADER_BYTES = 1_000_000
LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, 8 bytes, little endian."""
BLANK = b"0" * _keys.SIGNATURE_DIGITS
PLACE = re.compile(rb'"signature":"([0-9a-f]{128})"')
"""Inside a text quotes are escaped, so this stands only where "signature" is a name."""
DTYPES = {"U8": np.uint8, "F32": np.float32}
Tensors = Mapping[str, NDArray[Any]]


def read_file(path: Path) -> bytes:
    """The file's bytes, bounded. Raises PersonaError."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise PersonaError(f"{path} is no persona file: it has {size} bytes, at most {MAX_FILE_BYTES} are expected")
            return file.read(size)
    except (OSError, ValueError) as error:
        raise PersonaError(f"{path} cannot be read as a persona file: {error}") from error


def metadata_of(data: bytes, where: object) -> dict[str, str]:
    """The texts in a file's header; nothing else of it is looked at. Raises PersonaError."""
    length = _header_length(data, where)
    try:
        header = json.loads(data[LENGTH_BYTES : LENGTH_BYTES + length])
        texts = header.get("__metadata__", {})
        plain = all(isinstance(key, str) and isinstance(value, str) for key, value in texts.items())
    except (ValueError, AttributeError, RecursionError) as error:
        raise PersonaError(f"{where} is no persona file (a safetensors file of format {FORMAT!r}), or it is truncated: {error}") from error
    if not plain:
        raise PersonaError(f"{where} is no persona file (a safetensors file of format {FORMAT!r}): its metadata should be texts, found others")
    return texts


def tensors_of(data: bytes, where: object) -> dict[str, NDArray[Any]]:
    """The tensors, read only; those of a type that personas do not have come as their name for messages. Raises PersonaError."""
    try:
        listed = deserialize(data)
        return {name: _array(part) for name, part in listed}
    except (SafetensorError, ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise PersonaError(f"{where} is no persona file (a safetensors file of format {FORMAT!r}), or it is truncated: {error}") from error


def _array(part: Mapping[str, Any]) -> NDArray[Any]:
    dtype = DTYPES.get(str(part["dtype"]))
    if dtype is None:  # refused where it is used, by its type
        return np.empty(tuple(0 for _ in part["shape"]), np.dtype("V1"))
    return np.frombuffer(part["data"], dtype).reshape(part["shape"])


def pack(tensors: Tensors, texts: Mapping[str, str]) -> bytes:
    """An unsigned safetensors file. Raises PersonaError."""
    try:
        return save({name: np.ascontiguousarray(value) for name, value in tensors.items()}, dict(texts))
    except (SafetensorError, ValueError, TypeError) as error:
        raise PersonaError(f"a persona expected arrays and texts to write, found ones that cannot be written: {error}") from error


def pack_signed(tensors: Tensors, texts: Mapping[str, str], key: Ed25519PrivateKey) -> bytes:
    """A file of version 2, signed with `key`. texts: without version, signer, signature (replaced). Raises PersonaError."""
    whole = {**texts, "version": SIGNED, "signer": _keys.public_of(key), "signature": BLANK.decode()}
    data = pack(tensors, whole)
    at = _place(data)
    if at is None:
        raise PersonaError("a persona's texts expected one signature among them, found several; take the word out of the texts")
    return data[:at] + key.sign(_message(data, at)).hex().encode() + data[at + len(BLANK) :]


def is_signed_by(data: bytes, key: str) -> bool:
    """Whether the file's signature is whole and by the public key `key`. Never raises."""
    at = _place(data)
    return at is not None and _keys.verified(key, data[at : at + len(BLANK)].decode(), _message(data, at))


def content_sha256(data: bytes, where: object) -> str:
    """SHA-256 of what a file says, whoever signed it, and in whatever order it is written: 64 hex digits. Raises PersonaError."""
    texts = {key: value for key, value in metadata_of(data, where).items() if key not in ("signer", "signature", "version")}
    tensors = {name: [str(x.dtype), list(x.shape), hashlib.sha256(x.tobytes()).hexdigest()] for name, x in tensors_of(data, where).items()}
    return hashlib.sha256(_keys.canonical({"metadata": texts, "tensors": tensors})).hexdigest()


def _header_length(data: bytes, where: object) -> int:
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    if len(data) < LENGTH_BYTES or not 2 <= length <= min(MAX_HEADER_BYTES, len(data) - LENGTH_BYTES):
        raise PersonaError(
            f"{where} is no persona file (a safetensors file of format {FORMAT!r}), or it is truncated: found {len(data)} bytes, and a header of "
            f"{length} where 2 to {MAX_HEADER_BYTES} are expected"
        )
    return length


def _place(data: bytes) -> int | None:
    """Where the signature's digits begin; None when there is not exactly one in the header."""
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    found = list(PLACE.finditer(data[LENGTH_BYTES : LENGTH_BYTES + min(length, MAX_HEADER_BYTES)]))
    return LENGTH_BYTES + found[0].start(1) if len(found) == 1 else None


def _message(data: bytes, at: int) -> bytes:
    view = memoryview(data)
    total = hashlib.sha256(view[:at])
    total.update(BLANK)
    total.update(view[at + len(BLANK) :])
    return DOMAIN + total.digest()
