"""A line of `livecam doctor`."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "note", "fail"
STYLE = {OK: "green", WARN: "yellow", FAIL: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. level: "ok", "note" or "fail"; way_out: what to do, or ""."""

    level: str
    what: str
    found: str
    way_out: str = ""
