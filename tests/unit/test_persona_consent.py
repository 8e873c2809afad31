"""Who may have made a persona file: signatures, trust, consent records, dates, revocation, encryption, export."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import persona_maker
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livecam import persona
from livecam.errors import PersonaError
from livecam.persona import _admit, _consent, _container, _files, _keys, _seal

PHRASE = "correct horse"


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    """A user of one's own for each test, and scrypt that takes no half second."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(_seal, "SCRYPT_N", 2**4)


@pytest.fixture
def person(tmp_path: Path) -> Path:
    return persona_maker.write_person(tmp_path / "ada.safetensors")


def at(monkeypatch: pytest.MonkeyPatch, now_s: float) -> None:
    monkeypatch.setattr(_consent, "time", SimpleNamespace(time=lambda: now_s))


def stranger() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(b"s" * 32)


def texts_of(path: Path) -> dict[str, str]:
    return _container.metadata_of(path.read_bytes(), path)


def refused(path: Path, match: str) -> None:
    """By every way of reading a persona."""
    for way in (persona.load, persona.check, persona.portrait_jpeg, persona.metadata, lambda p: _files.encoded(p, ("neutral",))):
        with pytest.raises(PersonaError, match=match):
            way(path)
    assert not persona.verify(path)[-1].good


def test_a_persona_of_ones_own_loads_and_its_key_is_the_users_alone(tmp_path: Path) -> None:
    path = persona_maker.write(tmp_path / "p.safetensors")
    assert persona.load(path).id == "drawn"
    assert [check.good for check in persona.verify(path)] == [True] * 5
    if os.name != "nt":
        assert (_keys.folder() / _keys.SIGNING).stat().st_mode & 0o777 == 0o600


def test_unsigned_files_are_accepted_from_the_package_alone(tmp_path: Path) -> None:
    refused(persona_maker.write(tmp_path / "p.safetensors", signed=False), "without a signature.*persona sign")
    copy = tmp_path / "noor.safetensors"
    copy.write_bytes(_files.find("noor").read_bytes())
    refused(copy, "without a signature")
    assert persona.load("noor").id == "noor" and _files.admit("noor").signer == "the package"


def test_a_person_in_the_package_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_admit, "FOLDER", tmp_path)
    path = persona_maker.write(tmp_path / "p.safetensors", texts={"kind": "person"}, signed=False)
    with pytest.raises(PersonaError, match="synthetic persona in the package"):
        persona.load(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), of_person=st.booleans())
def test_any_changed_byte_is_seen(tmp_path: Path, where: float, flip: int, of_person: bool) -> None:
    good = tmp_path / f"good{of_person}.safetensors"
    if not good.exists():
        persona_maker.write_person(good) if of_person else persona_maker.write(good)
    data = bytearray(good.read_bytes())
    data[int(where * len(data))] ^= flip
    path = tmp_path / "changed.safetensors"
    path.write_bytes(data)
    with pytest.raises(PersonaError):
        persona.load(path)


def test_the_signature_covers_spaces_and_has_one_form(tmp_path: Path) -> None:
    path = persona_maker.write(tmp_path / "p.safetensors")
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert data[8 + length - 1 : 8 + length] == b" " or data[8 + length - 1 : 8 + length] == b"}"
    padded = (length + 8).to_bytes(8, "little") + data[8 : 8 + length] + b" " * 8 + data[8 + length :]
    path.write_bytes(padded)
    refused(path, "changed after that")
    signature = texts_of(path)["signature"]
    path.write_bytes(data.replace(signature.encode(), signature.upper().encode()))
    refused(path, "changed after that")


def test_strangers_are_refused_until_they_are_trusted(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    path.write_bytes(_container.pack_signed(persona_maker.tensors(), persona_maker.TEXTS, stranger()))
    refused(path, "persona trust")
    _keys.add_to_list(_keys.TRUSTED, {"key": _keys.public_of(stranger()), "name": "Eve"})
    assert _files.admit(path).signer == "Eve"
    listed = _keys.list_path(_keys.TRUSTED)
    listed.write_text(listed.read_text().replace("Eve", "Ada"))
    refused(path, "expected one that your key signed")


def test_a_person_is_never_accepted_from_a_trusted_stranger(tmp_path: Path, person: Path) -> None:
    _keys.add_to_list(_keys.TRUSTED, {"key": _keys.public_of(stranger()), "name": "Eve"})
    data = person.read_bytes()
    path = tmp_path / "theirs.safetensors"
    path.write_bytes(_container.pack_signed(_container.tensors_of(data, path), texts_of(person), stranger()))
    refused(path, "your own key, found")


def test_old_unsigned_personas_are_signed_when_they_are_synthetic(tmp_path: Path) -> None:
    path = persona_maker.write(tmp_path / "p.safetensors", signed=False)
    persona.sign(path)
    assert persona.load(path).id == "drawn" and texts_of(path)["version"] == "2"
    of_person = persona_maker.write(tmp_path / "q.safetensors", texts={"kind": "person"}, signed=False)
    with pytest.raises(PersonaError, match="one of a person"):
        persona.sign(of_person)
    with pytest.raises(PersonaError, match="ships with livecam"):
        persona.sign(_files.find("noor"))


def test_a_damaged_signing_key_is_not_replaced(tmp_path: Path) -> None:
    path = persona_maker.write(tmp_path / "p.safetensors")
    key = _keys.folder() / _keys.SIGNING
    key.write_bytes(b"short")
    with pytest.raises(PersonaError, match="32 bytes"):
        persona.write(tmp_path / "q.safetensors", persona_maker.tensors(), persona_maker.TEXTS)
    assert key.read_bytes() == b"short"
    refused(path, "your own key, or one that you trust")


def test_a_person_has_no_picture_and_no_number_of_theirs_in_the_open(person: Path) -> None:
    whole = persona.load(person)
    assert whole.kind == "person" and whole.embedding is not None and whole.name == "Ada L."
    data = person.read_bytes()
    assert set(_container.tensors_of(data, person)) == {"sealed"}
    assert whole.embedding.tobytes()[:16] not in data and persona_maker.tensors()["neutral"].tobytes()[:64] not in data
    assert json.loads(texts_of(person)["consent"])["subject"] == "Ada L."
    if os.name != "nt":
        assert person.stat().st_mode & 0o077 == 0


def test_dates_are_checked_each_time(person: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = _files.admit(person).record
    assert record is not None
    for now_s in (record.issued, record.expires - 1):
        at(monkeypatch, now_s)
        persona.check(person)
    at(monkeypatch, record.expires)
    refused(person, "ended on")
    at(monkeypatch, record.issued - 1)
    refused(person, "clock")


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [((2026, 1, 31), 1, (2026, 2, 28)), ((2027, 12, 15), 2, (2028, 2, 15)), ((2028, 2, 29), 12, (2029, 2, 28)), ((2026, 11, 22), 12, (2027, 11, 22))],
)
def test_a_term_is_of_the_calendar(start: tuple[int, int, int], months: int, end: tuple[int, int, int]) -> None:
    issued, expires = _consent.term(months, datetime(*start, tzinfo=UTC).timestamp())
    assert (issued, expires) == tuple(int(datetime(*day, tzinfo=UTC).timestamp()) for day in (start, end))
    for wrong in (0, 13, -1):
        with pytest.raises(PersonaError, match="1 to 12 months"):
            _consent.term(wrong)


def test_a_longer_consent_is_refused_even_when_all_is_signed(tmp_path: Path) -> None:
    about = persona_maker.record()
    with pytest.raises(PersonaError, match="at most 12 months"):
        persona_maker.write_person(tmp_path / "p.safetensors", replace(about, expires=about.issued + 400 * 86_400))
    assert not (tmp_path / "p.safetensors").exists() and not list((_keys.folder() / _seal.FOLDER).glob("*.key"))


@pytest.mark.parametrize("change", [{"scope": "everything"}, {"expires": 2_000_000_000}, {"subject": "Eve"}, {"statement": "other words"}])
def test_an_edited_record_is_refused_whoever_signed_the_file(person: Path, change: dict[str, str]) -> None:
    texts = texts_of(person)
    texts["consent"] = _keys.canonical({**json.loads(texts["consent"]), **change}).decode()
    person.write_bytes(_container.pack_signed(_container.tensors_of(person.read_bytes(), person), texts, _keys.own_key()))
    refused(person, "consent record as it was signed")


def test_another_embedding_under_the_record_is_refused(person: Path) -> None:
    texts = texts_of(person)
    key = _seal.find_key(_consent.sha256(texts["consent"]), person)
    inner = _seal.opened(person.read_bytes(), texts, key, person)
    tensors = {**_container.tensors_of(inner, person), "embedding": np.eye(128, dtype=np.float32)[0]}
    sealed, whole = _seal.sealed(_container.pack(tensors, _container.metadata_of(inner, person)), texts, key)
    person.write_bytes(_container.pack_signed(sealed, whole, _keys.own_key()))
    refused(person, "embedding that Ada L. consented to")


def test_revoking_ends_every_copy_for_good(tmp_path: Path, person: Path) -> None:
    copy, other = tmp_path / "copy.safetensors", persona_maker.write_person(tmp_path / "other.safetensors", persona_maker.record("eve-2"))
    copy.write_bytes(person.read_bytes())
    digest = _consent.sha256(texts_of(person)["consent"])
    key = _seal.key_path(digest).read_bytes()
    assert persona.revoke(copy) == ("ada-1", digest)
    assert persona.revoke(copy) == ("ada-1", digest), "twice is once"
    assert len(_keys.read_list(_keys.REVOKED)) == 1
    refused(person, "revoked")
    person.unlink()
    refused(copy, "revoked")
    _seal.key_path(digest).write_bytes(key)
    _seal.key_path(digest).chmod(0o600)
    refused(copy, "revoked")
    persona.check(other)
    listed = _keys.list_path(_keys.REVOKED)
    _seal.key_path(digest).unlink()
    before = listed.read_bytes()
    listed.write_bytes(before.replace(b"ada-1", b"ada-2"))
    refused(other, "expected one that your key signed")
    listed.unlink()
    refused(copy, "its key")
    persona.check(other)


def test_a_synthetic_persona_is_revoked_by_what_it_says(tmp_path: Path) -> None:
    path = persona_maker.write(tmp_path / "p.safetensors")
    other = persona_maker.write(tmp_path / "q.safetensors", texts={"description": "another"})
    persona.revoke(path)
    refused(path, "revoked")
    with pytest.raises(PersonaError, match="revoked"):
        persona.sign(path)
    with pytest.raises(PersonaError, match="revoked"):
        persona.write(tmp_path / "again.safetensors", persona_maker.tensors(), persona_maker.TEXTS)
    assert persona.load(other).id == "drawn"
    with pytest.raises(PersonaError, match="ships with livecam"):
        persona.revoke("noor")


def test_export_and_import_on_another_machine(tmp_path: Path, person: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed, home = tmp_path / "ada.export", tmp_path / "home.safetensors"
    record = persona.export(person, packed, PHRASE)
    embedding = persona.load(person).embedding
    refused(packed, "persona import")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(PersonaError):
        persona.load(person)
    with pytest.raises(PersonaError, match="passphrase"):
        persona.bring_in(packed, home, "wrong passphrase")
    damaged = tmp_path / "damaged.export"
    damaged.write_bytes(packed.read_bytes()[:-1] + b"\0")
    with pytest.raises(PersonaError, match="passphrase"):
        persona.bring_in(damaged, home, PHRASE)
    assert not home.exists()
    assert persona.bring_in(packed, home, PHRASE) == record
    assert np.array_equal(persona.load(home).embedding, embedding) and _files.admit(home).record == record
    persona.revoke(home)
    with pytest.raises(PersonaError, match="revoked"):
        persona.bring_in(packed, tmp_path / "again.safetensors", PHRASE)
    at(monkeypatch, record.expires)
    with pytest.raises(PersonaError, match="ended"):
        persona.bring_in(packed, tmp_path / "again.safetensors", PHRASE)


def test_exports_are_of_people_and_have_real_passphrases(tmp_path: Path, person: Path) -> None:
    with pytest.raises(PersonaError, match="10 characters"):
        persona.export(person, tmp_path / "x.export", "short")
    with pytest.raises(PersonaError, match="synthetic one"):
        persona.export(persona_maker.write(tmp_path / "p.safetensors"), tmp_path / "x.export", PHRASE)
    assert not (tmp_path / "x.export").exists()


def test_every_step_of_the_gate_is_told(person: Path) -> None:
    whats = [check.what for check in persona.verify(person)]
    assert whats == ["form", "signature", "signer", "consent", "dates", "revocation", "encryption", "embedding", "content"]

