"""`livecam persona verify | sign | trust | revoke | export | import`: who made a persona file, and whether it may still be worn."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from livecam import persona as personas
from livecam.errors import PersonaError, UsageError
from livecam.persona import _consent, _container, _files, _keys

PersonaFile = Annotated[str, Parameter(help="A persona's file.")]
Force = Annotated[bool, Parameter(help="Replace a file that exists.", negative="")]
Yes = Annotated[bool, Parameter(help="Do not ask.", negative="")]
TRUSTING = "Whoever holds this key decides which synthetic faces livecam wears here. A person's persona is never accepted this way."
VOUCH = """You vouch that {path} shows nobody who exists: a drawn, rendered or generated face, not a photograph of a person and not made from one.
Your key ({key}) will say so, and livecam on this account will then wear it.
For a person's face there is no such way: that person runs `livecam persona enrol`."""


def verify(persona: Annotated[str, Parameter(help="A persona's id or file.")], /) -> None:
    """Check a persona and say each check and its result; ends with 1 when it is refused.

    Example: `livecam persona verify her.safetensors`
    """
    console = Console(highlight=False)
    checks = personas.verify(persona)
    for check in checks:
        console.print(f"{'ok' if check.good else 'NO':3} {check.what}: {check.found}", markup=False, soft_wrap=True)
    good = all(check.good for check in checks)
    console.print("may be worn" if good else "is not worn")
    if not good:
        sys.exit(PersonaError.exit_code)


def sign(file: Annotated[Path, Parameter(help="A synthetic persona's file.")], /, *, yes: Yes = False) -> None:
    """Sign a synthetic persona that you made or vouch for, with your own key.

    Example: `livecam persona sign her.safetensors`
    """
    console = Console(highlight=False)
    personas.read_unsigned(file)
    console.print(VOUCH.format(path=file, key=_keys.fingerprint(_keys.public_of(_keys.own_key()))), markup=False, soft_wrap=True)
    agree(console, "sign", yes)
    personas.sign(file)
    console.print(f"signed: {file}", markup=False, soft_wrap=True)


def trust(
    key_or_file: Annotated[str, Parameter(help="A public key (64 hex digits) or a persona file signed with it; without it your own key and those you "
                           "trust are shown.")] = "",
    /,
    *,
    name: Annotated[str, Parameter(help="Whose key it is, for messages.")] = "",
    remove: Annotated[bool, Parameter(help="Stop trusting it.", negative="")] = False,
    yes: Yes = False,
) -> None:  # fmt: skip
    """Accept synthetic personas that somebody else signed. Compare the fingerprint with theirs first (they see it with `livecam persona trust`).

    Examples: `livecam persona trust`, `livecam persona trust her.safetensors --name Ada`
    """
    console = Console(highlight=False)
    if not key_or_file:
        _show_keys(console)
        return
    key = _key_of(key_or_file)
    if remove:
        _keys.change_list(_keys.TRUSTED, lambda entries: [one for one in entries if one.get("key") != key])
        console.print(f"not trusted any more: {_keys.fingerprint(key)}", markup=False, soft_wrap=True)
        return
    console.print(f"fingerprint: {_keys.fingerprint(key)}", markup=False, soft_wrap=True)
    console.print(TRUSTING, soft_wrap=True)
    agree(console, "trust", yes)
    _keys.change_list(_keys.TRUSTED, lambda entries: [*(one for one in entries if one.get("key") != key), {"key": key, "name": name or key[:8]}])
    console.print("trusted", markup=False)


def revoke(file: Annotated[Path, Parameter(help="The persona's file, or a copy of it.")], /, *, yes: Yes = False) -> None:
    """End a persona here at once and for good: no copy of its file is worn any more, also by a livecam that runs now.

    Example: `livecam persona revoke me.safetensors`
    """
    console = Console(highlight=False)
    texts = _container.metadata_of(_container.read_file(file), file)
    who = f"{texts.get('name', file)} ({texts.get('id', '')})"
    console.print(f"{who} will never be worn here again; this cannot be undone.", markup=False, soft_wrap=True)
    agree(console, "revoke", yes)
    persona_id, digest = personas.revoke(file)
    console.print(f"revoked: {persona_id}, {digest}", markup=False, soft_wrap=True)
    console.print("Copies that were exported to another computer are revoked there, by the same command.", soft_wrap=True)


def export(
    persona: PersonaFile,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o", help="The file to write.")],
    force: Force = False,
) -> None:
    """Write a person's persona for another computer of the same person, under a passphrase; the consent record goes along.

    Example: `livecam persona export me.safetensors -o me.export`
    """
    console = Console(highlight=False)
    personas.check(persona)
    phrase = _passphrase("passphrase for the export (10 characters or more): ")
    if phrase != _passphrase("the same again: "):
        raise UsageError("expected the same passphrase twice, found two; nothing was written")
    record = personas.export(persona, output, phrase, force)
    console.print(f"exported: {output}; there: livecam persona import {output.name}", markup=False, soft_wrap=True)
    console.print(f"the consent of {record.subject} goes along and ends on {_consent.day(record.expires)} there too", markup=False, soft_wrap=True)


def bring_in(
    file: Annotated[Path, Parameter(help="What `livecam persona export` wrote.")],
    /,
    *,
    output: Annotated[Path | None, Parameter(alias="-o", help="The file to write; default: the same name, ending in .safetensors.")] = None,
    force: Force = False,
) -> None:
    """Make an exported persona at home on this account: asks for its passphrase.

    Example: `livecam persona import me.export`
    """
    console = Console(highlight=False)
    target = output or file.with_suffix(_files.SUFFIX)
    record = personas.bring_in(file, target, _passphrase("passphrase of the export: "), force)
    console.print(f"persona: {target}, by consent of {record.subject} until {_consent.day(record.expires)}", markup=False, soft_wrap=True)
    console.print(f"wear it: livecam run --persona {target}", markup=False, soft_wrap=True)


def agree(console: Console, word: str, yes: bool = False) -> None:
    """Goes on when the user types `word`. Raises UsageError."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"expected a terminal to ask at, found none; give --yes to {word} without being asked")
    console.print(f"Type [bold]{word}[/bold] to go on:")
    if input().strip().lower() != word:
        raise UsageError(f"expected the word {word!r}, found another; nothing was changed")


def _passphrase(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError("expected a terminal to ask for the passphrase at, found none; start it from one")
    return getpass.getpass(prompt)


def _key_of(key_or_file: str) -> str:
    text = "".join(key_or_file.split()).lower()
    if _keys.KEY.fullmatch(text):
        return text
    path = Path(key_or_file)
    if not path.is_file():
        raise UsageError(f"expected a public key of {_keys.KEY_DIGITS} hex digits or a persona file, found {key_or_file[:80]!r}")
    data = _container.read_file(path)
    key = _container.metadata_of(data, path).get("signer", "")
    if not _container.is_signed_by(data, key):
        raise PersonaError(f"{path}: expected a persona file as it was signed, found one that is unsigned or was changed; fetch it again")
    return key


def _show_keys(console: Console) -> None:
    own = _keys.public_of(_keys.own_key())
    console.print(f"your key: {_keys.fingerprint(own)}", markup=False, soft_wrap=True)
    entries = _keys.read_list(_keys.TRUSTED)
    for entry in entries:
        console.print(f"trusted ({entry.get('name', '')}): {_keys.fingerprint(entry.get('key', ''))}", markup=False, soft_wrap=True)
    if not entries:
        console.print("you trust no other key")
