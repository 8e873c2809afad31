"""The record of a person's consent: what was shown, what was answered, how it was checked, and until when it holds.

A record is one canonical JSON text (keys sorted, no spaces, ASCII) with the fields of `Record`, signed with the key of the livecam that took it:
Ed25519 over b"livecam consent 1\\n" + the text. It stays as it is when a persona moves to another machine; its SHA-256 is what a revocation names.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from livecam.errors import PersonaError
from livecam.persona import _keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FORM = "livecam consent 1"
DOMAIN = b"livecam consent 1\n"
MAX_RECORD = 32_000
MOST_MONTHS = 12
MOST_DAYS = 366
"""Twelve months, a leap year's."""
MAX_NAME, MAX_SCOPE = 80, 400
STATEMENT = """You are about to make a persona of yourself: a file with which livecam draws your likeness over another face.

  Who is asked       {subject}, the person in front of this camera now. Nobody else can agree in your place.
  What it is for     {scope}
  Until when         {expires} (UTC). After that day livecam refuses the file; to go on, you come before the camera again.
  What is kept       128 numbers that describe your face (an embedding, biometric data), and pictures of people who do not exist,
                     mixed so that they come near to it. No photograph and no picture of this camera is kept.
  Where it is kept   in one file, encrypted; its key stays with the account on this computer that made it.
  What pictures say  that they were altered: they carry a mark that programs can read.
  If you regret it   livecam persona revoke FILE ends it at once and for good on this computer; copies exported to another one
                     end there by the same command, or on the day above.

You agree freely, you are of age, and you are {subject}."""
ANSWER = "I am {subject} and I agree"


@dataclass(frozen=True, slots=True)
class Record:
    """A consent. id: the persona's; subject: the name the person chose; scope: what for; statement, statement_sha256: as shown; answer: as typed;
    given: how; issued, expires: seconds since 1970, UTC; livecam: version; embedder, embedder_sha256: card and file of what made the embedding;
    embedding_sha256: of its 512 bytes; camera: its name; prompts: [{"asked", "asked_s", "done_s"}] since the session began; flatness: least departure
    of the turned face from a flat one, as share of the distance of the eyes; match: cosines of the live face with each photograph; threshold: the
    least of them that was accepted."""

    id: str
    subject: str
    scope: str
    statement: str
    statement_sha256: str
    answer: str
    given: str
    issued: int
    expires: int
    livecam: str
    embedder: str
    embedder_sha256: str
    embedding_sha256: str
    camera: str
    prompts: tuple[Mapping[str, Any], ...]
    flatness: float
    match: tuple[float, ...]
    threshold: float

    def text(self) -> str:
        """The canonical JSON."""
        return _keys.canonical({"form": FORM, **asdict(self)}).decode()


def shown(subject: str, scope: str, expires: int) -> str:
    """The statement as it is shown and recorded."""
    return STATEMENT.format(subject=subject, scope=scope, expires=day(expires))


def sha256(text: str) -> str:
    """64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def day(seconds: int) -> str:
    """A date for people."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):
        return f"a day that is none ({seconds})"


def term(months: int, now_s: float | None = None) -> tuple[int, int]:
    """(issued, expires) in seconds since 1970: `months` months of the calendar from now, at most 12. Raises PersonaError."""
    if not 1 <= months <= MOST_MONTHS:
        raise PersonaError(f"a consent holds for 1 to {MOST_MONTHS} months, found {months}; enrol again when it has ended")
    now = datetime.fromtimestamp(time.time() if now_s is None else now_s, UTC)
    month = now.month - 1 + months
    year, month = now.year + month // 12, month % 12 + 1
    last = (datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC) - timedelta(days=1)).day
    return int(now.timestamp()), int(now.replace(year=year, month=month, day=min(now.day, last)).timestamp())


def sign(record: Record, key: Ed25519PrivateKey) -> dict[str, str]:
    """The texts of a persona file that carry the record."""
    text = record.text()
    return {"consent": text, "consent_signer": _keys.public_of(key), "consent_signature": key.sign(DOMAIN + text.encode()).hex()}


def read(texts: Mapping[str, str], where: object) -> Record:
    """The record in a file's texts: there, of this form, and as it was signed. Says nothing of dates. Raises PersonaError."""
    text = texts.get("consent", "")
    if not text:
        raise PersonaError(
            f"{where} is a persona of a person: expected a record of that person's consent in it, found none; the person makes one in front of the "
            "camera with `livecam persona enrol`"
        )
    if not _keys.verified(texts.get("consent_signer", ""), texts.get("consent_signature", ""), DOMAIN + text.encode("utf-8", "replace")):
        raise PersonaError(f"{where}: expected a consent record as it was signed, found it edited or its signature missing; enrol again")
    return _parsed(text, where)


def check_dates(record: Record, where: object, now_s: float | None = None) -> None:
    """Raises PersonaError: the consent has ended, is longer than may be, or the clock stands before the day on which it was given."""
    now = time.time() if now_s is None else now_s
    if not 0 < record.expires - record.issued <= MOST_DAYS * 86_400:
        raise PersonaError(
            f"{where}: expected a consent for at most {MOST_MONTHS} months, found one from {day(record.issued)} to {day(record.expires)}; enrol again"
        )
    if now < record.issued:
        raise PersonaError(
            f"{where}: the consent was given on {day(record.issued)}, and this computer's clock says {day(int(now))}; expected a clock that is right"
            "; set it"
        )
    if now >= record.expires:
        raise PersonaError(f"{where}: the consent of {record.subject} ended on {day(record.expires)}; to go on, that person enrols again")


def _parsed(text: str, where: object) -> Record:
    try:
        body: dict[str, Any] = json.loads(text)
        if len(text) > MAX_RECORD or body.pop("form") != FORM:
            raise ValueError(f"a form other than {FORM!r}")
        body["prompts"], body["match"] = tuple(body["prompts"]), tuple(float(x) for x in body["match"])
        record = Record(**body)
        whole = all(isinstance(getattr(record, key), int) for key in ("issued", "expires")) and record.text() == text
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PersonaError(f"{where}: expected a consent record of form {FORM!r}, found {error}; enrol again with this version") from error
    if not whole or sha256(record.statement) != record.statement_sha256:
        raise PersonaError(f"{where}: expected a consent record whose parts agree, found that they do not; enrol again")
    return record
