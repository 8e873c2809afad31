"""Unconsented, expired, revoked and edited personas: how many of them are loaded.

    nice -n 15 python benchmarks/consent.py [--tries 100000] [--out benchmarks/results/consent.json]

Each try makes a file, a list, a key or a clock that must be refused, another one each time, and hands it to one of the ways by which livecam reads a
persona (load, check, portrait_jpeg, metadata). Files are changed by whoever can write to the disk; several kinds also have the user's own signing
key, and change what that key does not sign (a record's own signature, dates beyond twelve months). Between the tries good files must load.
The run is in chunks, each from its own seed; what is there is kept, and the same command goes on where it was ended.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from livecam import persona
from livecam.bench import machine
from livecam.errors import PersonaError
from livecam.persona import _consent, _container, _files, _keys, _seal
from livecam.persona._consent import Record

CHUNK = 1000
SIDE_PX = 48
ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of Ed25519's base point: adding it to a signature's second half gives another form of the same one."""
DAY_S = 86_400


class Bench:
    """Good files, and ways to spoil them. folder: empty, its "config" becomes the user's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        os.environ["XDG_CONFIG_HOME"] = str(folder / "config")
        self.key, self.stranger, self.friend = _keys.own_key(), Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        _keys.add_to_list(_keys.TRUSTED, {"key": _keys.public_of(self.friend), "name": "a friend"})
        self.tensors, self.texts = drawn(), {**TEXTS}
        self.synthetic = folder / "synthetic.safetensors"
        _files.write(self.synthetic, self.tensors, self.texts)
        self.person = self._person("ada-1")
        self.record = _consent.read(_container.metadata_of(self.person.read_bytes(), self.person), self.person)
        self.other = self._person("eve-2")
        gone = self._person("gone-3")
        self.revoked_bytes, self.revoked_key = gone.read_bytes(), _seal.key_path(self._digest(gone)).read_bytes()
        self.revoked_digest = self._digest(gone)
        persona.revoke(gone)
        self.data, self.person_data = self.synthetic.read_bytes(), self.person.read_bytes()
        self.spoiled = folder / "spoiled.safetensors"

    def _record(self, persona_id: str) -> Record:
        now = int(time.time()) - DAY_S
        statement = _consent.shown("Ada", "a benchmark", now + 180 * DAY_S)
        return Record(
            id=persona_id, subject="Ada", scope="a benchmark", statement=statement, statement_sha256=_consent.sha256(statement), answer="yes",
            given="a benchmark", issued=now, expires=now + 180 * DAY_S, livecam="0", embedder="sface", embedder_sha256="0" * 64, embedding_sha256="",
            camera="none", prompts=(), flatness=0.05, match=(0.9,), threshold=0.363,
        )  # fmt: skip

    def _person(self, persona_id: str, record: Record | None = None) -> Path:
        path = self.folder / f"{persona_id}.safetensors"
        vector = np.random.default_rng(len(persona_id)).normal(size=128).astype(np.float32)
        texts = {**self.texts, "kind": "person", "embedding_model": "sface"}
        tensors = {**self.tensors, "embedding": (vector / np.linalg.norm(vector)).astype(np.float32)}
        _files.write_person(path, tensors, texts, record or self._record(persona_id), force=True)
        return path

    def _digest(self, path: Path) -> str:
        return _consent.sha256(_container.metadata_of(path.read_bytes(), path)["consent"])

    def put(self, data: bytes) -> Path:
        self.spoiled.write_bytes(data)
        return self.spoiled

    def parts(self, data: bytes) -> tuple[dict[str, Any], dict[str, str]]:
        return _container.tensors_of(data, "it"), dict(_container.metadata_of(data, "it"))


TEXTS = {
    "format": "livecam-persona", "id": "drawn", "name": "Drawn", "kind": "synthetic", "description": "A drawn face", "licence": "Apache-2.0",
    "eye_iris_radius_px": "5", "eye_ball_radius_px": "9", "teeth_upper_xywh_px": "[8, 20, 20, 6]", "teeth_lower_xywh_px": "[8, 26, 20, 6]",
    "tongue_xywh_px": "[8, 24, 20, 6]",
}  # fmt: skip


def drawn() -> dict[str, Any]:
    """A persona's tensors, small, so that a try costs the checks alone."""
    rng = np.random.default_rng(0)
    mesh = rng.uniform(4, SIDE_PX - 4, (478, 3)).astype(np.float32)
    face, part = np.full((SIDE_PX, SIDE_PX, 3), 150, np.uint8), np.full((16, 16, 4), 200, np.uint8)
    out: dict[str, Any] = {}
    for name in _files.PORTRAITS:
        out[name], out[f"{name}_mesh"] = cv2.imencode(".jpg", face)[1].ravel(), mesh
    return out | {name: cv2.imencode(".png", part)[1].ravel() for name in (*_files.EYES, *_files.MOUTH_PARTS)}


Spoil = Callable[[Bench, np.random.Generator], Any]
"""Makes what must be refused and yields its path while it stands."""


def flipped(data: bytes, rng: np.random.Generator, low: int = 0, high: int | None = None) -> bytes:
    out = bytearray(data)
    for at in rng.integers(low, high or len(out), int(rng.integers(1, 5))):
        out[at] ^= int(rng.integers(1, 256))
    return bytes(out) if bytes(out) != data else flipped(data, rng, low, high)


def edited_bytes(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    yield bench.put(flipped(bench.data, rng))


def edited_header(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    yield bench.put(flipped(bench.data, rng, 0, 8 + int.from_bytes(bench.data[:8], "little")))


def cut_or_longer(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    data = bench.data if rng.random() < 0.5 else bench.person_data
    yield bench.put(data[: int(rng.integers(0, len(data)))] if rng.random() < 0.5 else data + rng.bytes(int(rng.integers(1, 99))))


def edited_text(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    tensors, texts = bench.parts(bench.data)
    texts[str(rng.choice([*TEXTS][1:]))] = f"{rng.integers(1 << 40)}"
    yield bench.put(_container.pack(tensors, texts))


def edited_tensor(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    tensors, texts = bench.parts(bench.data)
    tensors["neutral_mesh"] = tensors["neutral_mesh"] + rng.normal(size=(478, 3)).astype(np.float32)
    yield bench.put(_container.pack(tensors, texts))


def unsigned(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    version = str(rng.choice(["1", "2", "3", ""]))
    yield bench.put(_container.pack(bench.tensors, {**bench.texts, "version": version, "id": f"x{rng.integers(1 << 40)}"}))


def by_a_stranger(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    key = Ed25519PrivateKey.from_private_bytes(rng.bytes(32))
    yield bench.put(_container.pack_signed(bench.tensors, {**bench.texts, "id": f"x{rng.integers(1 << 40)}"}, key))


def claims_to_be_the_users(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    data = _container.pack_signed(bench.tensors, {**bench.texts, "id": f"x{rng.integers(1 << 40)}"}, bench.stranger)
    yield bench.put(data.replace(_keys.public_of(bench.stranger).encode(), _keys.own_public().encode()))


def signature_in_another_form(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    at = bench.data.index(b'"signature":"') + 13
    text = bench.data[at : at + 128].decode()
    if rng.random() < 0.5:
        second = int.from_bytes(bytes.fromhex(text[64:]), "little") + ORDER * int(rng.integers(1, 8))
        text = text[:64] + (second % 2**256).to_bytes(32, "little").hex()
    else:
        letters = [k for k, letter in enumerate(text) if letter.isalpha()]
        chosen = set(rng.choice(letters, int(rng.integers(1, 20)), replace=False).tolist())
        text = "".join(letter.upper() if k in chosen else letter for k, letter in enumerate(text))
    yield bench.put(bench.data[:at] + text.encode() + bench.data[at + 128 :])


def two_signatures(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    length = int.from_bytes(bench.data[:8], "little")
    header = bench.data[8 : 8 + length].replace(b'"signature":"', b'"signature":"' + rng.bytes(64).hex().encode() + b'","signature":"')
    yield bench.put(len(header).to_bytes(8, "little") + header + bench.data[8 + length :])


def trusted_list_edited(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    path = bench.put(_container.pack_signed(bench.tensors, bench.texts, bench.stranger))
    listed = json.loads(_keys.list_path(_keys.TRUSTED).read_text())
    listed["entries"].append({"key": _keys.public_of(bench.stranger), "name": f"{rng.integers(1 << 40)}"})
    with instead(_keys.list_path(_keys.TRUSTED), json.dumps(listed, indent=1, sort_keys=True).encode() + b"\n"):
        yield path


def person_edited(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    yield bench.put(flipped(bench.person_data, rng))


def person_edited_and_resigned(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    """With the user's key: what is encrypted was changed, and the file signed anew."""
    tensors, texts = bench.parts(bench.person_data)
    tensors["sealed"] = np.frombuffer(flipped(tensors["sealed"].tobytes(), rng), np.uint8)
    yield bench.put(_container.pack_signed(tensors, texts, bench.key))


def expired(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    with clock(bench.record.expires + int(rng.integers(0, 400 * DAY_S)) * int(rng.random() < 0.8)):
        yield bench.person


def clock_set_back(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    with clock(bench.record.issued - 1 - int(rng.integers(0, 900 * DAY_S)) * int(rng.random() < 0.8)):
        yield bench.person


def record_edited(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    """With the user's key for the file: a later expiry, another name or scope, without the record's own signature fitting."""
    tensors, texts = bench.parts(bench.person_data)
    body = json.loads(texts["consent"])
    other = f"x{rng.integers(1 << 40)}"
    change = {"expires": bench.record.expires + int(rng.integers(1, 10**7)), "subject": other, "scope": other}
    what = str(rng.choice(list(change)))
    texts["consent"] = _keys.canonical({**body, what: change[what]}).decode()
    yield bench.put(_container.pack_signed(tensors, texts, bench.key))


def record_for_too_long(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    """With the user's key for everything, the record too."""
    tensors, texts = bench.parts(bench.person_data)
    record = _consent.read(texts, "it")
    longer = replace(record, expires=record.issued + 367 * DAY_S + int(rng.integers(0, 10**8)))
    yield bench.put(_container.pack_signed(tensors, {**texts, **_consent.sign(longer, bench.key)}, bench.key))


def without_record(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    tensors, texts = bench.parts(bench.person_data)
    for key in ("consent", "consent_signature", "consent_signer")[: int(rng.integers(1, 4))]:
        del texts[key]
    texts["description"] = f"{rng.integers(1 << 40)}"
    yield bench.put(_container.pack_signed(tensors, texts, bench.key))


def not_encrypted(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    """A person's pictures in the open, signed by the user, with or without a record."""
    _, texts = bench.parts(bench.person_data)
    kept = {key: value for key, value in texts.items() if key.startswith("consent")} if rng.random() < 0.5 else {}
    about = {**bench.texts, "kind": "person", "id": texts["id"], "description": f"{rng.integers(1 << 40)}"}
    yield bench.put(_container.pack_signed(bench.tensors, {**about, **kept}, bench.key))


def anothers_record(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    """One person's record on another's persona; signed by the user."""
    tensors, texts = bench.parts(bench.person_data)
    _, theirs = bench.parts(bench.other.read_bytes())
    texts |= {key: value for key, value in theirs.items() if key.startswith("consent")} | ({"id": theirs["id"]} if rng.random() < 0.5 else {})
    texts["description"] = f"{rng.integers(1 << 40)}"
    yield bench.put(_container.pack_signed(tensors, texts, bench.key))


def person_by_a_trusted_stranger(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    tensors, texts = bench.parts(bench.person_data)
    texts["licence"] = f"{rng.integers(1 << 40)}"
    yield bench.put(_container.pack_signed(tensors, texts, bench.friend))


def revoked(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    """A copy of a revoked persona; in half of the tries its key was brought back from a backup."""
    path = bench.put(bench.revoked_bytes if rng.random() < 0.7 else resigned(bench, rng))
    if rng.random() < 0.5:
        yield path
        return
    with instead(_seal.key_path(bench.revoked_digest), bench.revoked_key):
        yield path


def resigned(bench: Bench, rng: np.random.Generator) -> bytes:
    tensors, texts = bench.parts(bench.revoked_bytes)
    return _container.pack_signed(tensors, {**texts, "note": f"{rng.integers(1 << 40)}"}, bench.key)


def revocations_edited(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    """Any change of the list refuses every person's persona, this one too, which is not on it."""
    path = _keys.list_path(_keys.REVOKED)
    with instead(path, flipped(path.read_bytes(), rng) if rng.random() < 0.8 else path.read_bytes()[: int(rng.integers(0, path.stat().st_size))]):
        yield bench.person


def another_key(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    path = _seal.key_path(bench._digest(bench.person))
    how = int(rng.integers(3))
    with instead(path, (rng.bytes(32), rng.bytes(int(rng.integers(0, 31))), path.read_bytes())[how]):
        if how == 2:
            path.chmod(int(rng.choice([0o644, 0o640, 0o604, 0o660])))
        yield bench.person


def another_user(bench: Bench, rng: np.random.Generator) -> Iterator[Path]:
    with instead(_keys.folder() / _keys.SIGNING, rng.bytes(32)):
        yield bench.synthetic if rng.random() < 0.5 else bench.person


KINDS: tuple[Spoil, ...] = (
    edited_bytes,
    edited_header,
    cut_or_longer,
    edited_text,
    edited_tensor,
    unsigned,
    by_a_stranger,
    claims_to_be_the_users,
    signature_in_another_form,
    two_signatures,
    trusted_list_edited,
    person_edited,
    person_edited_and_resigned,
    expired,
    clock_set_back,
    record_edited,
    record_for_too_long,
    without_record,
    not_encrypted,
    anothers_record,
    person_by_a_trusted_stranger,
    revoked,
    revocations_edited,
    another_key,
    another_user,
)
WAYS: tuple[Callable[[Path], Any], ...] = (persona.load, persona.check, persona.portrait_jpeg, persona.metadata)


@contextmanager
def instead(path: Path, data: bytes) -> Iterator[None]:
    """Other bytes in a file of the user's, for a while."""
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(data)
    path.chmod(0o600)
    try:
        yield
    finally:
        path.unlink()
        if before is not None:
            path.write_bytes(before)
            path.chmod(0o600)


@contextmanager
def clock(now_s: float) -> Iterator[None]:
    """Another time of day."""
    with mock.patch("time.time", lambda: float(now_s)):
        yield


def trial(bench: Bench, kind: Spoil, rng: np.random.Generator) -> str:
    """Why it was refused, "" when it was loaded."""
    way = WAYS[int(rng.integers(len(WAYS)))]
    made = contextmanager(kind)
    with made(bench, rng) as path:
        try:
            way(path)
        except PersonaError as error:
            return str(error)
    return ""


def run_chunk(bench: Bench, chunk: int, found: dict[str, Any]) -> None:
    rng = np.random.default_rng((4, chunk))
    for good in (bench.synthetic, bench.person, bench.other):
        for way in WAYS:
            way(good)
            found["good_files_loaded"] = found.get("good_files_loaded", 0) + 1
    for number in range(CHUNK):
        kind = KINDS[number % len(KINDS)]
        name = kind.__name__.replace("_", " ")
        row = found["kinds"].setdefault(name, {"tried": 0, "loaded": 0})
        why = trial(bench, kind, rng)
        row["tried"] += 1
        row["loaded"] += not why
        found["tries"] += 1
        if not why:
            found["loaded"] += 1
            print(f"LOADED: {name}, chunk {chunk}, number {number}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/consent.json"))
    args = parser.parse_args()
    found: dict[str, Any] = {"tries": 0, "loaded": 0, "chunks": 0, "cpu_s": 0.0, "kinds": {}}
    if args.out.exists():
        found = json.loads(args.out.read_text())["result"]
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        while found["tries"] < args.tries:
            begin = time.process_time()
            run_chunk(bench, found["chunks"], found)
            found["chunks"] += 1
            found["cpu_s"] = round(found["cpu_s"] + time.process_time() - begin, 1)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            about = {"command": "python benchmarks/consent.py", "machine": machine.describe()}
            args.out.write_text(json.dumps({**about, "bound_95": f"{3 / found['tries']:.1e}", "result": found}, indent=1) + "\n")
            print(f"{found['tries']} tries, {found['loaded']} loaded, {found['cpu_s']} CPU s", flush=True)


if __name__ == "__main__":
    main()
