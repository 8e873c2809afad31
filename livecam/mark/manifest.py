"""Signed manifests (C2PA 2.x) in recordings and pictures: what was done to them, by what, and which hidden mark they carry.

The key is the user's own, made on first use and kept in the user's configuration folder; its certificate is issued by an authority made for it alone,
whose key is thrown away.  So a manifest proves that a file was not changed since this livecam wrote it; it proves nobody's name.

Needs the extra `signed` (c2pa-python, cryptography); without it files are written unsigned, and that is said.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib
import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs

import livecam
from livecam.errors import MissingExtraError, OutputError
from livecam.mark._code import Payload

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
BY_NETWORK, BY_DRAWING = "compositeWithTrainedAlgorithmicMedia", "compositeSynthetic"
"""IPTC digital source types: a camera's picture in which a trained network, or a rendered portrait alone, drew a part."""
SOFT_BINDING = "io.github.livecam.mark.1"
MADE_WITH = "io.github.livecam.made-with"
FILMS = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".avi": "video/avi"}
KINDS = FILMS | {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
"""Files that can hold a manifest, by their ending. Matroska cannot."""
YEARS = 10
CRYPTOGRAPHY = ("x509", "x509.oid", "hazmat.primitives.hashes", "hazmat.primitives.serialization", "hazmat.primitives.asymmetric.ec")
UNTRUSTED = (
    "its issuer is not on any list of trusted ones: the certificate was made by the program that wrote the file. So the file is as that program left"
    " it, but who ran the program, and whether what the manifest says is true, is not proven"
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a manifest says. payloads: hidden marks in the file, one a persona worn. generator: what drew, such as "mesh". network: whether a trained
    network drew. models: {model id: SHA-256}. personas: ids."""

    payloads: Sequence[Payload]
    generator: str
    network: bool
    personas: Sequence[str] = ()
    models: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Signed:
    """A file's manifest. state: "none", "valid" (signature and content agree), "broken" (they do not: changed after signing), "unread" (no reader).
    trusted: whether its issuer is on a trust list. issuer, software: as the manifest says. marks: soft bindings. why: reasons, when broken."""

    state: str
    trusted: bool = False
    issuer: str = ""
    software: str = ""
    source_type: str = ""
    marks: tuple[str, ...] = ()
    why: tuple[str, ...] = ()

    def lines(self) -> tuple[str, ...]:
        """For people."""
        if self.state == "none":
            return ("no signed manifest (C2PA); most programs take it off when they save or send a file",)
        if self.state == "unread":
            return ("signed manifest: not looked for; to verify it: pip install 'livecam[signed]'",)
        if self.state == "broken":
            return (f"signed manifest (C2PA): BROKEN, the file was changed after signing or the signature is wrong: {'; '.join(self.why)}",)
        said = f"made with {self.software or 'an unnamed program'}, signed by {self.issuer or 'nobody named'}"
        if self.source_type:
            said += f", source type {self.source_type}"
        trust = "its issuer is trusted" if self.trusted else UNTRUSTED
        return (f"signed manifest (C2PA): unchanged since signing; {said}", f"  {trust}")

    def record(self) -> dict[str, Any]:
        """For machines."""
        texts = {"state": self.state, "trusted": self.trusted, "issuer": self.issuer, "software": self.software, "source_type": self.source_type}
        return {**texts, "marks": list(self.marks), "why": list(self.why)}


def available() -> bool:
    """Whether the extra is installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("c2pa", "cryptography"))


def can_hold(path: Path) -> bool:
    """Whether a file of this ending can hold a manifest."""
    return path.suffix.lower() in KINDS


def _c2pa() -> Any:
    """c2pa-python, which has no complete type information. Raises MissingExtraError."""
    try:
        return importlib.import_module("c2pa")
    except ImportError as error:
        raise MissingExtraError("c2pa", "signed", "signing and verifying manifests") from error


def sign(path: Path, facts: Facts, folder: Path | None = None) -> None:
    """Puts a signed manifest into a finished file, in place (the file is replaced whole). folder: of the key; default: the user's own.

    Raises MissingExtraError, OutputError (a kind of file that holds none, a key that cannot be read, no room on the disk)."""
    c2pa = _c2pa()
    if not can_hold(path):
        raise OutputError(f"{path}: a signed manifest expected one of {', '.join(KINDS)}, found {path.suffix or 'no ending'}; record to .mp4 instead")
    key, chain = signing_key(folder)
    part = path.with_name(f".{path.stem}.signing{path.suffix}")
    try:
        signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, chain.encode(), key.encode(), None))
        with signer, c2pa.Builder(json.dumps(statement(path, facts))) as builder, path.open("rb") as source, part.open("w+b") as target:
            builder.sign(signer, KINDS[path.suffix.lower()], source, target)
        part.replace(path)
    except (c2pa.C2paError, OSError) as error:
        raise OutputError(f"{path} is complete but could not be signed: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def statement(path: Path, facts: Facts) -> dict[str, Any]:
    """The manifest's definition, as c2pa-python takes it."""
    agent = {"name": "livecam", "version": livecam.__version__}
    source_type = SOURCE_TYPES + (BY_NETWORK if facts.network else BY_DRAWING)
    actions = [{"action": "c2pa.created", "softwareAgent": agent, "digitalSourceType": source_type}]
    edits = [
        {"action": "c2pa.edited", "softwareAgent": agent, "description": f"the face is replaced by a persona's ({facts.generator})"},
        {"action": "c2pa.watermarked", "softwareAgent": agent, "description": "a hidden mark in every altered picture"},
    ]
    actions += edits if facts.payloads else []  # else there was nothing but the slate
    made_with = {
        "software": agent,
        "software_sha256": software_sha256(),
        "generator": facts.generator,
        "personas": list(facts.personas),
        "models_sha256": dict(facts.models),
    }
    blocks = [[{"scope": {}, "value": f"{one.number():08x}"}] for one in facts.payloads]
    bindings = [{"label": "c2pa.soft-binding", "data": {"alg": SOFT_BINDING, "blocks": one}} for one in blocks]
    first, last = {"label": "c2pa.actions.v2", "data": {"actions": actions}}, {"label": MADE_WITH, "data": made_with}
    kind = KINDS[path.suffix.lower()]
    return {"claim_generator_info": [agent], "title": path.name, "format": kind, "assertions": [first, *bindings, last]}


@cache
def software_sha256() -> str:
    """SHA-256 over the names and contents of livecam's own Python files, sorted by name."""
    root = Path(livecam.__file__).parent
    total = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        total.update(file.relative_to(root).as_posix().encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def read(path: Path) -> Signed:
    """A file's manifest, verified. Never raises for what is in the file."""
    if not available():
        return Signed("unread")
    if not can_hold(path):
        return Signed("none")
    c2pa = _c2pa()
    try:
        with path.open("rb") as source, c2pa.Reader(KINDS[path.suffix.lower()], source) as reader:
            said = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return Signed("none")
    except (c2pa.C2paError, OSError, ValueError) as error:
        return Signed("broken", why=(str(error),))
    return _judged(said)


def _judged(said: dict[str, Any]) -> Signed:
    active = said.get("manifests", {}).get(said.get("active_manifest", ""), {})
    results = (said.get("validation_results") or {}).get("activeManifest") or {}
    failures = [str(one.get("code", "")) for one in results.get("failure", []) or said.get("validation_status", [])]
    why = tuple(code for code in failures if code != "signingCredential.untrusted")
    trusted = any(one.get("code") == "signingCredential.trusted" for one in results.get("success", []))
    issuer = str((active.get("signature_info") or {}).get("common_name") or (active.get("signature_info") or {}).get("issuer") or "")
    software = next((f"{one.get('name', '')} {one.get('version', '')}".strip() for one in active.get("claim_generator_info", [])), "")
    source_type, marks = "", list[str]()
    for assertion in active.get("assertions", []):
        data = assertion.get("data") or {}
        for action in data.get("actions", []) if isinstance(data, dict) else []:
            source_type = source_type or str(action.get("digitalSourceType", "")).rsplit("/", 1)[-1]
        if str(assertion.get("label", "")).startswith("c2pa.soft-binding"):
            marks += [str(block.get("value", "")) for block in data.get("blocks", [])]
    broken = bool(why) or said.get("validation_state") == "Invalid"
    return Signed("broken" if broken else "valid", trusted, issuer, software, source_type, tuple(marks), why)


def signing_key(folder: Path | None = None) -> tuple[str, str]:
    """(key, certificate chain) as PEM texts, made when there are none. Raises MissingExtraError, OutputError."""
    folder = folder or Path(platformdirs.user_config_dir("livecam", appauthor=False)) / "signing"
    key, chain = folder / "key.pem", folder / "chain.pem"
    try:
        if not (key.is_file() and chain.is_file()):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            texts = _new_key()
            for path, text in zip((key, chain), texts, strict=True):
                path.unlink(missing_ok=True)
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                    file.write(text)
        return key.read_text(encoding="ascii"), chain.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"the signing key in {folder} cannot be read or made: {error}; move the folder away to have a new one") from error


def _new_key() -> tuple[str, str]:
    try:
        x509, oid, hashes, serialization, ec = (importlib.import_module(f"cryptography.{name}") for name in CRYPTOGRAPHY)
    except ImportError as error:
        raise MissingExtraError("cryptography", "signed", "making a signing key") from error
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)

    def name(text: str) -> Any:
        return x509.Name([x509.NameAttribute(oid.NameOID.ORGANIZATION_NAME, "a livecam user"), x509.NameAttribute(oid.NameOID.COMMON_NAME, text)])

    def certificate(subject: str, public: Any, *, authority: bool) -> Any:
        made = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("livecam's own, for this key alone")).public_key(public)
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=365 * YEARS))
        unused = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only")
        usage = dict.fromkeys(unused, False)
        made = made.add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        made = made.add_extension(x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **usage), critical=True)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        if not authority:
            made = made.add_extension(x509.ExtendedKeyUsage([oid.ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        return made.sign(authority_key, hashes.SHA256())

    chain = (certificate("livecam, this user's key", key.public_key(), authority=False),)
    chain += (certificate("livecam's own, for this key alone", authority_key.public_key(), authority=True),)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    return private, "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in chain)
