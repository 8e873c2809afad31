"""Whether a persona file may be worn: the one gate that every way of loading goes through, each time.

Files in the package are accepted when they are what was released (livecam._shipped), synthetic ones alone. Everything else is read once, and of
these bytes are checked, in this order: size and form, signature, who signed, revocation; of a person's persona also the consent record, its dates,
the encryption and that the embedding inside is the one consented to. Pictures are decoded after that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livecam import _shipped
from livecam.errors import ModelFileError, PersonaError
from livecam.persona import _consent, _container, _keys, _seal
from livecam.persona._consent import Record
from livecam.persona._content import PERSON, SYNTHETIC, Content, check_texts

FOLDER = Path(__file__).parent / "files"
RESIGN = "if you made it yourself and vouch for it: `livecam persona sign FILE`"
TRUST = "if you know who signed and trust them: `livecam persona trust FILE`"


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a file. what: in words; found: what was found; good: whether it may go on."""

    what: str
    found: str
    good: bool = True


@dataclass(frozen=True, slots=True)
class Admitted:
    """A file that may be worn. content: not decoded yet; signer: "the package", "you" or a trusted one's name; record: a person's consent; inner:
    the bytes of the persona itself (decrypted, for a person's)."""

    content: Content
    signer: str
    inner: bytes
    record: Record | None = None


class Gate:
    """Checks one file; `passed` tells how far it went."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.passed: list[Check] = []

    def admit(self) -> Admitted:
        """Raises PersonaError with what was expected, found, and the way out."""
        data = _container.read_file(self.path)
        texts = _container.metadata_of(data, self.path)
        check_form(texts, self.path)
        self._pass("form", f"a persona file of version {texts['version']}, {len(data)} bytes")
        if ships(self.path):
            if texts["kind"] != SYNTHETIC:
                raise PersonaError(f"{self.path}: expected a synthetic persona in the package, found kind {texts['kind']!r}; install livecam again")
            _released(self.path, data)
            self._pass("signature", "ships with livecam: the bytes that its signed list names")
            return Admitted(self._content(data, texts), "the package", data)
        signer = self._signature(data, texts)
        if texts["kind"] == PERSON:
            return self._person(data, texts, signer)
        self._not_revoked(texts["id"], lambda: _container.content_sha256(data, self.path))
        return Admitted(self._content(data, texts), signer, data)

    def _content(self, data: bytes, texts: Mapping[str, str]) -> Content:
        return Content(texts, lambda: _container.tensors_of(data, self.path), self.path)

    def _pass(self, what: str, found: str) -> None:
        self.passed.append(Check(what, found))

    def _signature(self, data: bytes, texts: Mapping[str, str]) -> str:
        key = texts.get("signer", "")
        if texts["version"] == _container.UNSIGNED or not key or not texts.get("signature"):
            raise PersonaError(f"{self.path}: expected a signed persona file, found one without a signature; {RESIGN}")
        if not _container.is_signed_by(data, key):
            raise PersonaError(f"{self.path}: expected a file as it was signed, found that it was changed after that; fetch or make it again")
        self._pass("signature", "unchanged since it was signed (Ed25519 over every byte)")
        who = signer_of(key)
        if not who or (texts["kind"] == PERSON and who != "you"):
            known = "your own key" if texts["kind"] == PERSON else "your own key, or one that you trust"
            way = "make it on this account with `livecam persona enrol` or `import`" if texts["kind"] == PERSON else TRUST
            raise PersonaError(f"{self.path}: expected a signature by {known}, found one by {_keys.fingerprint(key)}; {way}")
        self._pass("signer", who if who != "you" else "your own key")
        return who

    def _person(self, data: bytes, texts: Mapping[str, str], signer: str) -> Admitted:
        record = _consent.read(texts, self.path)
        if record.id != texts["id"]:
            raise PersonaError(f"{self.path}: expected the consent record of {texts['id']!r}, found one of {record.id!r}; enrol again")
        self._pass("consent", f"given by {record.subject} for: {record.scope}")
        _consent.check_dates(record, self.path)
        self._pass("dates", f"from {_consent.day(record.issued)} until {_consent.day(record.expires)}")
        digest = _consent.sha256(texts["consent"])
        self._not_revoked(record.id, lambda: digest)
        inner = _seal.opened(data, texts, _seal.find_key(digest, self.path), self.path)
        self._pass("encryption", f"opened with its key ({_seal.CIPHER})")
        content = person_content(inner, record, self.path)
        self._pass("embedding", "the one that was consented to")
        return Admitted(content, signer, inner, record)

    def _not_revoked(self, persona_id: str, digest: Callable[[], str]) -> None:
        """digest: SHA-256 of what a revocation would name; worked out only when one is of this id."""
        for entry in _keys.read_list(_keys.REVOKED):
            if entry.get("id") == persona_id and entry.get("sha256") == digest():
                raise PersonaError(f"{self.path}: the persona {persona_id!r} was revoked on {entry.get('day')}, which cannot be undone; wear another")
        self._pass("revocation", "not on your list of revoked personas")


def ships(path: Path) -> bool:
    """Whether a file comes with livecam; whether it is the one that was released, `Gate.admit` finds out."""
    return path.resolve().parent == FOLDER.resolve()


def _released(path: Path, data: bytes) -> None:
    try:
        _shipped.check(path.resolve(), data)
    except ModelFileError as error:
        raise PersonaError(str(error)) from error


def signer_of(key: str) -> str:
    """Who holds a public key: "you", the name under which the user trusts it, or "". Raises PersonaError: the list of trusted keys was edited."""
    if key and key == _keys.own_public():
        return "you"
    return next((entry.get("name", "") or "a trusted key" for entry in _keys.read_list(_keys.TRUSTED) if entry.get("key") == key), "")


def check_form(texts: Mapping[str, str], where: object) -> None:
    """Format, version and the texts that every persona has. Raises PersonaError."""
    found = texts.get("format")
    if found == _container.EXPORT_FORMAT:
        raise PersonaError(f"{where} is an exported persona: expected one that is at home here; bring it in with `livecam persona import {where}`")
    if found != _container.FORMAT:
        raise PersonaError(f"{where} is no persona file: format {_container.FORMAT!r} is expected, found {found!r}")
    version = texts.get("version")
    if version not in (_container.UNSIGNED, _container.SIGNED):
        expected = f"{_container.UNSIGNED!r} or {_container.SIGNED!r}"
        raise PersonaError(f"{where} is a persona file of version {version!r}; expected is {expected}; make or fetch it anew")
    check_texts(texts, where)


def person_content(inner: bytes, record: Record, where: object) -> Content:
    """What is inside a person's persona, held to its record. Raises PersonaError."""
    texts = _container.metadata_of(inner, where)
    check_form(texts, where)
    tensors: dict[str, NDArray[Any]] = _container.tensors_of(inner, where)
    vector = tensors.get("embedding", np.zeros(0, np.float32))
    same = texts["kind"] == PERSON and texts["id"] == record.id and hashlib.sha256(vector.tobytes()).hexdigest() == record.embedding_sha256
    if not same:
        raise PersonaError(f"{where}: expected the embedding that {record.subject} consented to, found another; enrol again")
    return Content(texts, lambda: tensors, where)
