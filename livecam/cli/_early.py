"""The worker of `livecam run` begins before the command line is read: it loads for a second, and needs no settings for that."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livecam.guard.start import Begun

VERB = "run"
NO_RUN = {"--help", "-h", "--version"}
_begun: list[Begun] = []
"""Between `main` and the verb lies the command line's library, through which nothing can be passed."""


def begin(words: list[str] | None) -> None:
    """Starts a worker without a job if these words (None: the process's own) are a run. It ends with this process if nobody takes it."""
    given = sys.argv[1:] if words is None else words
    if given[:1] != [VERB] or not NO_RUN.isdisjoint(given) or _begun:
        return
    from livecam.app import preload
    from livecam.guard import start

    _begun.append(start.begin(preload.TARGET))


def take() -> Begun | None:
    """The worker that was begun, once."""
    return _begun.pop() if _begun else None
