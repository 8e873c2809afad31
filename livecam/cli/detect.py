"""`livecam detect`: is a picture or film marked as altered, by what, and is that to be trusted?"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from livecam import persona
from livecam.errors import LivecamError, UsageError
from livecam.mark import files, manifest, short_id
from livecam.mark._code import PRODUCT
from livecam.mark.read import FALSE_ALARM

app = App(name="detect")


@app.default
def detect(
    *paths: Path,
    quick: Annotated[bool, Parameter(help="Only whole pictures and black bars: do not search for cut, tilted or filmed ones.", negative="")] = False,
    deep: Annotated[bool, Parameter(help="Search harder, for tilted pictures without a badge: takes minutes.", negative="")] = False,
    json_lines: Annotated[bool, Parameter(name="--json", help="One JSON line a file.", negative="")] = False,
) -> None:
    """Find livecam's hidden mark and signed manifest in pictures, films and screen recordings.

    Says whether the mark is there, how likely such a finding would be without one, what it says, and when. Exit code 1: no file is marked.
    Example: `livecam detect meeting.mp4 frame.png`
    """
    if not paths:
        raise UsageError("detect expected at least one file, found none; for example: livecam detect meeting.mp4")
    marked = False
    for path in paths:
        try:
            answer = files.detect(path, quick=quick, deep=deep)
        except LivecamError as error:
            _say({"file": str(path), "error": str(error)}, (f"{path}: {error}",), json_lines)
            continue
        signed = manifest.read(path)
        marked |= answer.present
        _say(_record(path, answer, signed), (*_lines(path, answer), *(f"  {line}" for line in signed.lines())), json_lines)
    if not marked:
        sys.exit(1)


def _say(record: dict[str, Any], lines: tuple[str, ...], as_json: bool) -> None:
    sys.stdout.write(json.dumps(record) + "\n" if as_json else "\n".join(lines) + "\n")


def _record(path: Path, answer: files.Answer, signed: manifest.Signed) -> dict[str, Any]:
    return {
        "file": str(path),
        "marked": answer.present,
        "false_alarm": answer.best.false_alarm,
        "z": round(answer.best.z, 2),
        "seconds": round(answer.seconds, 2),
        "marked_s": round(answer.marked_s, 2),
        "stretches": [
            {
                "start_s": round(one.start_s, 2),
                "end_s": round(one.end_s, 2),
                "false_alarm": one.reading.false_alarm,
                "format": one.reading.payload.version,
                "product": one.reading.payload.product,
                "run": one.reading.payload.run,
                "persona_number": one.reading.payload.persona,
                "personas": _personas(one.reading.payload.persona),
            }
            for one in answer.stretches
        ],
        "manifest": signed.record(),
    }


def _lines(path: Path, answer: files.Answer) -> tuple[str, ...]:
    if not answer.present:
        return (
            f"{path}: no hidden mark found",
            f"  nearest reading: chance of the like without a mark up to {_chance(answer.best.false_alarm)} (a mark counts from {FALSE_ALARM:g})",
            "  That proves nothing: a mark can be removed, and other programs set none.",
        )
    lines = [f"{path}: ALTERED, hidden mark found"]
    for one in answer.stretches:
        said = one.reading.payload
        when = f"{_clock(one.start_s)} to {_clock(one.end_s)}: " if answer.seconds else ""
        who = "livecam" if said.product == PRODUCT else f"product {said.product}"
        names = _personas(said.persona)
        wearing = f" ({' or '.join(names)})" if names else ""
        lines.append(
            f"  {when}{who}, format {said.version}, run {said.run}, persona number {said.persona}{wearing};"
            f" chance without a mark at most {_chance(one.reading.false_alarm)}"
        )
    lines.append("  The mark's key is public: anybody can set such a mark. It says that the picture claims to be altered, not who made it.")
    return tuple(lines)


def _personas(number: int) -> list[str]:
    """Installed personas with this short number."""
    return [name for name in persona.names() if short_id(name) == number]


def _chance(value: float) -> str:
    if value >= 1.0:
        return "1"
    return f"1e{math.floor(math.log10(value))}" if value > 1e-300 else "1e-300"


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"
