"""A person's persona under encryption: at rest with a key of its own in the user's folder, on the way to another machine with a passphrase.

Form: a safetensors file with one tensor, "sealed" (1-D uint8): ChaCha20-Poly1305 (RFC 8439) of a whole safetensors file, the persona's. Its texts are
readable (who, consent, what was used) and authenticated: the associated data are all of them but "signature" and "version", as canonical JSON. Text
"nonce": 24 hex digits. At rest the key is a file of 32 random bytes, "sealing/<first 32 digits of the consent record's SHA-256>.key": whoever revokes
the persona removes it, and no copy of the file can be opened again. In an export the key is scrypt (RFC 7914, n = 2^17, r = 8, p = 1) of the
passphrase with the text "salt".
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from livecam._sealed import read_key
from livecam.errors import PersonaError
from livecam.persona import _container, _keys
from livecam.persona._container import Tensors

CIPHER = "ChaCha20-Poly1305"
NONCE_BYTES, SALT_BYTES, KEY_BYTES = 12, 16, 32
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**17, 8, 1
"""128 MB and about half a second for each guess (RFC 7914's own advice of 2^14, taken further as machines did)."""
LEAST_PASSPHRASE = 10
FOLDER = "sealing"
NOT_BOUND = ("signature", "version", "signer")
"""Texts that are added after sealing; the file's own signature covers them."""


def key_path(record_sha256: str) -> Path:
    """Where the key of a person's persona lies."""
    return _keys.folder() / FOLDER / f"{record_sha256[:32]}.key"


def new_key(record_sha256: str) -> bytes:
    """The key of a persona, made when there is none. Raises PersonaError."""
    return _keys.keep(key_path(record_sha256), "the key that encrypts this persona")


def find_key(record_sha256: str, where: object) -> bytes:
    """Raises PersonaError when it is not here."""
    key = read_key(key_path(record_sha256))
    if key is None:
        raise PersonaError(
            f"{where} is encrypted: expected its key in {key_path(record_sha256).parent}, found none that only you can read; it was made by another "
            "account or on another computer (there: `livecam persona export`, here: `livecam persona import`), or it was revoked"
        )
    return key


def forget_key(record_sha256: str) -> bool:
    """Removes the key: no copy of the persona on this machine can be opened any more. Whether there was one. Raises OSError."""
    path = key_path(record_sha256)
    there = path.exists()
    path.unlink(missing_ok=True)
    with suppress(OSError):
        path.with_name(path.name + ".lock").unlink(missing_ok=True)
    return there


def sealed(inner: bytes, texts: Mapping[str, str], key: bytes) -> tuple[Tensors, dict[str, str]]:
    """(tensors, texts) of the file around `inner`."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    nonce = secrets.token_bytes(NONCE_BYTES)
    whole = {**texts, "cipher": CIPHER, "nonce": nonce.hex()}
    data = ChaCha20Poly1305(key).encrypt(nonce, inner, _bound(whole))
    return {"sealed": np.frombuffer(data, np.uint8)}, whole


def opened(data: bytes, texts: Mapping[str, str], key: bytes, where: object) -> bytes:
    """The file inside. Raises PersonaError: another key, or something was changed."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    tensors = _container.tensors_of(data, where)
    body = tensors.get("sealed")
    try:
        nonce = bytes.fromhex(texts.get("nonce", ""))
    except ValueError:
        nonce = b""
    if set(tensors) != {"sealed"} or body is None or body.dtype != np.uint8 or len(nonce) != NONCE_BYTES or texts.get("cipher") != CIPHER:
        raise PersonaError(f"{where}: expected one part, encrypted with {CIPHER}, found {', '.join(sorted(tensors)) or 'nothing'}; enrol again")
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, body.tobytes(), _bound(texts))
    except InvalidTag as error:
        raise PersonaError(f"{where} cannot be opened: expected its own key and an unchanged file, found one that is not; enrol again") from error


def passphrase_key(passphrase: str, salt: bytes) -> bytes:
    """32 bytes from a passphrase; slow on purpose."""
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt, KEY_BYTES, SCRYPT_N, SCRYPT_R, SCRYPT_P).derive(passphrase.encode())


def for_transport(inner: bytes, texts: Mapping[str, str], passphrase: str) -> bytes:
    """An export: `inner` under a passphrase, the consent record beside it. Raises PersonaError."""
    if len(passphrase) < LEAST_PASSPHRASE:
        raise PersonaError(f"the passphrase expected at least {LEAST_PASSPHRASE} characters, found {len(passphrase)}")
    salt = secrets.token_bytes(SALT_BYTES)
    about = {**texts, "format": _container.EXPORT_FORMAT, "salt": salt.hex()}
    tensors, whole = sealed(inner, about, passphrase_key(passphrase, salt))
    return _container.pack(tensors, whole)


def from_transport(data: bytes, passphrase: str, where: object) -> tuple[bytes, dict[str, str]]:
    """(the file inside, the texts) of an export. Raises PersonaError."""
    texts = _container.metadata_of(data, where)
    if texts.get("format") != _container.EXPORT_FORMAT:
        raise PersonaError(f"{where}: expected a file that `livecam persona export` made, found format {texts.get('format')!r}")
    try:
        salt = bytes.fromhex(texts.get("salt", ""))
    except ValueError:
        salt = b""
    if len(salt) != SALT_BYTES:
        raise PersonaError(f"{where}: expected a salt of {SALT_BYTES} bytes, found {len(salt)}; export it again")
    try:
        inner = opened(data, texts, passphrase_key(passphrase, salt), where)
    except PersonaError as error:
        raise PersonaError(f"{where} cannot be opened: expected its passphrase and an unchanged file, found that one of them is not") from error
    return inner, {key: value for key, value in texts.items() if key not in ("salt", "nonce", "cipher", "format")}


def _bound(texts: Mapping[str, str]) -> bytes:
    return _keys.canonical({key: value for key, value in texts.items() if key not in NOT_BOUND})
