"""Output `web`: a page on this machine with the live picture, the figures, the persona picker and the cover button.

Loopback only, behind a random token in the link; see `_web_server` for who may talk to it. Frames of the state REVEAL (unmasked) are not shown.
"""

from __future__ import annotations

import secrets
import time

from livecam.config import OutputConfig
from livecam.errors import OutputError, OutputLostError, UsageError
from livecam.output import Surface
from livecam.output._web_frames import FrameSlot, Pace
from livecam.output._web_server import HOST, PageServer
from livecam.types import U8, DeviceInfo, State, VideoFormat

TOKEN_BYTES = 18
"""144 random bits, 24 characters of the link."""


def open(target: str, fmt: VideoFormat, config: OutputConfig, surface: Surface | None) -> WebOutput:
    """The page. target: a port ("" takes the configured one). Raises OutputError when the port cannot be had, UsageError when it is none."""
    del fmt
    return WebOutput(_port(target) if target else config.port, surface)


def devices() -> tuple[DeviceInfo, ...]:
    """Always there."""
    return (DeviceInfo("output", "web", "web", "page in a browser on this machine", "preview and controls; calls need a virtual camera beside it"),)


def _port(target: str) -> int:
    if not target.isascii() or not target.isdigit() or int(target) > 65535:
        raise UsageError(f"the output web takes a port from 0 to 65535 (web:8080; 0 is a free one), found {target!r}")
    return int(target)


class WebOutput:
    """See `Output`. `send` copies the frame when somebody looks and one is due, else does nothing; encoding and sending happen in other threads.

    url: the link with the token.
    """

    def __init__(self, port: int, surface: Surface | None) -> None:
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._slot, self._pace, self._closed = FrameSlot(), Pace(), False
        self._server = PageServer(token, self._slot, surface)
        try:
            self._server.start(port)
        except (OSError, OverflowError) as error:
            raise OutputError(f"the page needs port {port} of {HOST}, which cannot be had ({error}); choose another, or 0 for a free one") from error
        self.url = f"http://{HOST}:{self._server.port}/{token}/"

    def __enter__(self) -> WebOutput:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def dropped(self) -> int:
        """Frames that a newer one replaced before any viewer could take them."""
        return self._slot.replaced

    def send(self, image: U8, capture_ns: int, state: State) -> None:
        """See `Output`. Raises OutputLostError when the server has died."""
        del capture_ns
        if self._closed or not self._server.alive():
            raise OutputLostError(f"the page at {HOST}:{self._server.port} is no longer served; it can be opened again")
        if state is State.REVEAL or not self._server.watching or not self._pace.admits(time.monotonic(), state):
            return
        self._slot.put(image, state)
        self._server.new_frame()

    def watched(self) -> bool:
        """Whether a page is open and to be seen (not in a hidden tab)."""
        return self._server.watching > 0

    def describe(self) -> str:
        """The link."""
        return f"page at {self.url}"

    def close(self) -> None:
        """Says goodbye to the pages; safe when called again."""
        if not self._closed:
            self._closed = True
            self._server.stop()
