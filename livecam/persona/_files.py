"""Find, read and write persona files (format in livecam/persona/__init__.py). Every way of reading one goes through the gate (_admit), each time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livecam.errors import PersonaError
from livecam.persona import _consent, _container, _keys, _seal
from livecam.persona._admit import FOLDER, Admitted, Check, Gate, check_form, person_content, ships
from livecam.persona._consent import Record
from livecam.persona._container import FORMAT, UNSIGNED
from livecam.persona._content import BOXES, EYES, MOUTH_PARTS, PERSON, PORTRAITS, RADII, SYNTHETIC, Content, picture_size
from livecam.types import Persona

__all__ = ["BOXES", "EYES", "FOLDER", "FORMAT", "MOUTH_PARTS", "PORTRAITS", "RADII", "UNSIGNED", "picture_size"]

SUFFIX = ".safetensors"
PUBLIC = ("id", "name", "kind", "description", "licence", "maker", "format")
"""Texts of a person's persona that can be read without its key."""


def names() -> tuple[str, ...]:
    """Ids of the personas that ship with livecam, in their order (that of their file names)."""
    return tuple(path.stem for path in sorted(FOLDER.glob("*" + SUFFIX)))


def load(id_or_path: str | Path) -> Persona:
    """The persona with this id, or in this file. Raises PersonaError."""
    return admit(id_or_path).content.persona()


def admit(id_or_path: str | Path) -> Admitted:
    """What the gate says of a persona: who signed it, its record, its content, not decoded yet. Raises PersonaError: it is refused."""
    return Gate(find(id_or_path)).admit()


def check(id_or_path: str | Path) -> None:
    """Whether a persona that was loaded before may still be worn (not expired, revoked or exchanged meanwhile). Raises PersonaError."""
    if str(id_or_path) not in names():
        admit(id_or_path)


def verify(id_or_path: str | Path) -> tuple[Check, ...]:
    """Each check of a persona and its result; the last one is not good when it is refused."""
    try:
        gate = Gate(find(id_or_path))
    except PersonaError as error:
        return (Check("file", str(error), good=False),)
    try:
        gate.admit().content.persona()
    except PersonaError as error:
        return (*gate.passed, Check("refused", str(error), good=False))
    return (*gate.passed, Check("content", "pictures, landmarks and numbers are whole"))


def portrait_jpeg(id_or_path: str | Path) -> bytes:
    """The neutral portrait as it stands in the file, JPEG bytes, for pages and lists. Raises PersonaError."""
    return admit(id_or_path).content.encoded("neutral")


def encoded(id_or_path: str | Path, parts: Sequence[str]) -> dict[str, bytes]:
    """Pictures of a persona as they stand in its file, by name. Raises PersonaError."""
    content = admit(id_or_path).content
    return {name: content.encoded(name) for name in parts}


def metadata(id_or_path: str | Path) -> Mapping[str, str]:
    """The texts of a persona file without its pictures. Raises PersonaError."""
    return admit(id_or_path).content.metadata


def read_unsigned(path: Path) -> Persona:
    """A synthetic persona's content, checked, whoever made it and signed or not: for tools that make personas and study them; nothing that runs
    before a camera may use it. Raises PersonaError."""
    return _unsigned_content(_container.read_file(path), path).persona()


def write(path: Path, tensors: Mapping[str, NDArray[Any]], texts: Mapping[str, str], force: bool = False) -> None:
    """Writes a synthetic persona, signed with the user's key, read back and checked before it takes its place. An existing file is replaced only with
    `force`.

    Raises PersonaError: it exists, it cannot be written there, or what was to be written is no persona.
    """
    if texts.get("kind") == PERSON:
        raise PersonaError("expected a synthetic persona to write, found a person's; that one is made by `livecam persona enrol`")
    put(path, _container.pack_signed(tensors, texts, _keys.own_key()), force)


def write_person(path: Path, tensors: Mapping[str, NDArray[Any]], texts: Mapping[str, str], record: Record, force: bool = False) -> None:
    """Writes a person's persona, encrypted with a new key of its own, its record and itself signed with the user's key. tensors, texts: the
    persona's, with "embedding". Raises PersonaError."""
    vector = np.ascontiguousarray(tensors["embedding"], np.float32)
    record = replace(record, embedding_sha256=hashlib.sha256(vector.tobytes()).hexdigest())
    inner = _container.pack(tensors, {**texts, "format": FORMAT, "version": UNSIGNED, "id": record.id, "kind": PERSON})
    _put_person(path, inner, {**texts, "id": record.id, **_consent.sign(record, _keys.own_key())}, force)


def sign(path: Path) -> None:
    """Signs a synthetic persona that is unsigned or another's with the user's key, in place. Raises PersonaError."""
    if ships(path):
        raise PersonaError(f"{path} ships with livecam and needs no signature of yours; copy it first")
    data = _container.read_file(path)
    content = _unsigned_content(data, path)
    content.persona()
    put(path, _container.pack_signed(_container.tensors_of(data, path), content.metadata, _keys.own_key()), force=True)


def revoke(id_or_path: str | Path) -> tuple[str, str]:
    """Ends a persona on this machine for good: puts it on the user's signed list, and removes the key of a person's. Returns (id, SHA-256) as listed.
    Raises PersonaError."""
    path = find(id_or_path)
    if ships(path):
        raise PersonaError(f"the persona {path.stem!r} ships with livecam and shows nobody: expected one of your own to revoke")
    data = _container.read_file(path)
    texts = _container.metadata_of(data, path)
    if texts.get("consent"):
        persona_id, digest = texts.get("id", ""), _consent.sha256(texts["consent"])
        persona_id = _consent.read(texts, path).id
    else:
        check_form(texts, path)
        persona_id, digest = texts["id"], _container.content_sha256(data, path)
    if not any(entry.get("sha256") == digest and entry.get("id") == persona_id for entry in _keys.read_list(_keys.REVOKED)):
        _keys.add_to_list(_keys.REVOKED, {"id": persona_id, "sha256": digest, "day": _today()})
    try:
        _seal.forget_key(digest)
    except OSError as error:
        raise PersonaError(f"{path} is revoked, but its key could not be removed: {error}; remove {_seal.key_path(digest)} yourself") from error
    return persona_id, digest


def export(id_or_path: str | Path, target: Path, passphrase: str, force: bool = False) -> Record:
    """A person's persona for another machine of the same user, under a passphrase; its record goes along. Raises PersonaError."""
    admitted = admit(id_or_path)
    if admitted.record is None:
        raise PersonaError(f"{id_or_path}: expected a person's persona to export, found a synthetic one, which is not encrypted; copy its file")
    data = _container.read_file(find(id_or_path))
    texts = {key: value for key, value in _container.metadata_of(data, id_or_path).items() if key in PUBLIC or key.startswith("consent")}
    _place(target, _seal.for_transport(admitted.inner, texts, passphrase), force, private=True)
    return admitted.record


def bring_in(source: Path, target: Path, passphrase: str, force: bool = False) -> Record:
    """Makes an exported persona at home here: encrypted with a key of this machine, signed with the user's; its consent is as it was, and is checked.
    Raises PersonaError."""
    inner, texts = _seal.from_transport(_container.read_file(source), passphrase, source)
    record = _consent.read(texts, source)
    _consent.check_dates(record, source)
    digest = _consent.sha256(texts["consent"])
    if any(entry.get("sha256") == digest for entry in _keys.read_list(_keys.REVOKED)):
        raise PersonaError(f"{source}: the persona {record.id!r} was revoked here, which cannot be undone; the person enrols again")
    person_content(inner, record, source).persona()
    _put_person(target, inner, {**texts, "id": record.id}, force)
    return record


def find(id_or_path: str | Path) -> Path:
    """The file of a persona: a shipped id, or a path. Raises PersonaError, naming those there are."""
    text = str(id_or_path)
    if text in names():
        return FOLDER / (text + SUFFIX)
    path = Path(id_or_path)
    try:
        if path.is_file():
            return path
    except (OSError, ValueError) as error:
        raise PersonaError(f"persona {text[:80]!r} is no usable path: {error}") from error
    there = ", ".join(names()) or "none"
    raise PersonaError(f"persona {text[:80]!r} is neither a persona that ships with livecam ({there}) nor a file; see `livecam persona list`")


def put(path: Path, data: bytes, force: bool, private: bool = False) -> None:
    """A file that passes the gate, checked before it takes its place. private: nobody else may read it. Raises PersonaError."""
    _place(path, data, force, private, checked=True)


def _put_person(path: Path, inner: bytes, texts: Mapping[str, str], force: bool) -> None:
    """Encrypts with a new key, signs, writes. A key that was made for a file that then could not be written is not left behind."""
    _refuse_existing(path, force)
    digest = _consent.sha256(texts["consent"])
    outer = {key: value for key, value in texts.items() if key in PUBLIC or key.startswith("consent")} | {"format": FORMAT, "kind": PERSON}
    fresh = not _seal.key_path(digest).exists()
    try:
        tensors, whole = _seal.sealed(inner, outer, _seal.new_key(digest))
        put(path, _container.pack_signed(tensors, whole, _keys.own_key()), force, private=True)
    except BaseException:
        if fresh:
            with suppress(OSError):
                _seal.forget_key(digest)
        raise


def _place(path: Path, data: bytes, force: bool, private: bool, checked: bool = False) -> None:
    _refuse_existing(path, force)
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        part.touch(mode=0o600 if private else 0o666)
        part.write_bytes(data)
        if checked:
            load(part)
        part.replace(path)
    except OSError as error:
        raise PersonaError(f"the persona cannot be written to {path}: {error}; choose a folder that can be written to") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _refuse_existing(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise PersonaError(f"{path} exists and was left as it is; choose another file, or replace it with --force")


def _unsigned_content(data: bytes, path: Path) -> Content:
    texts = _container.metadata_of(data, path)
    check_form(texts, path)
    if texts["kind"] != SYNTHETIC:
        raise PersonaError(f"{path}: expected a synthetic persona, found one of a person; only that person makes it, with `livecam persona enrol`")
    texts = {key: value for key, value in texts.items() if key not in ("signer", "signature")}
    return Content(texts, lambda: _container.tensors_of(data, path), path)


def _today() -> str:
    return _consent.day(int(_consent.time.time()))
