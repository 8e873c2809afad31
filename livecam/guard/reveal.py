"""--reveal: unmasked, watermarked pictures, for a look at what the camera sees. Only a grant that was typed at the terminal opens it.

A grant is not data: no configuration, file or web request can hold one, and `Supervisor` takes nothing else.  The segment exists only while
it lasts; any key (`Supervisor.end_reveal`) and any restart of the worker end it for the whole run.
"""

from __future__ import annotations

from livecam.errors import UsageError

WORDS = "show my real face"
"""What has to be typed."""
_KEY = object()


class RevealGrant:
    """Leave to show unmasked pictures, made by `grant` alone."""

    __slots__ = ()

    def __init__(self, key: object) -> None:
        if key is not _KEY:
            raise UsageError(f"unmasked pictures: expected the words {WORDS!r} typed at the terminal; run `livecam run --reveal`")

    def __reduce__(self) -> str:
        raise UsageError("a grant for unmasked pictures cannot be stored or sent")


def grant(typed: str) -> RevealGrant:
    """The grant, if `typed` (read from the terminal, nowhere else) is WORDS. Raises UsageError otherwise."""
    if " ".join(typed.split()).lower() != WORDS:
        raise UsageError(f"unmasked pictures: expected the words {WORDS!r}, found {typed.strip()!r}; nothing is shown")
    return RevealGrant(_KEY)
