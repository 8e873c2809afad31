"""Output `window`: a window of its own, by pygame-ce (an extra). Takes no target.

Keys: space or c covers (again: uncovers), n and p are the next and the previous persona, q or Escape quits; so does closing the window.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

import numpy as np

from livecam.config import OutputConfig
from livecam.errors import MissingExtraError, OutputError, OutputLostError, UsageError
from livecam.output import Surface
from livecam.types import U8, DeviceInfo, State, VideoFormat

TITLE = "livecam (space: cover, n/p: persona, q: quit)"
KEYS = {
    "space": ("cover", ""),
    "c": ("cover", ""),
    "n": ("persona", "next"),
    "p": ("persona", "previous"),
    "q": ("quit", ""),
    "escape": ("quit", ""),
}
"""pygame's names of keys, and what each commands."""

INVISIBLE = frozenset({"dummy", "offscreen"})
"""SDL's drivers without a screen, which it takes by itself when there is none."""
HEADLESS = "on a machine without a screen use the output web"


class WindowOutput:
    """An open window. Every method must be called from the thread that opened it (macOS: the main one). frames: pictures shown."""

    def __init__(self, pygame: Any, fmt: VideoFormat, surface: Surface | None) -> None:
        self.frames = 0
        self._pygame = pygame
        self._surface = surface
        self._closed = False
        self._quit = False
        pygame.display.set_mode((fmt.width_px, fmt.height_px), pygame.RESIZABLE)
        pygame.display.set_caption(TITLE)

    def send(self, image: U8, capture_ns: int, state: State) -> None:
        """Shows `image`, scaled to the window with its shape kept, and hands pressed keys on. Raises OutputLostError when the window was
        closed and there is nobody to tell to quit."""
        for event in self._pygame.event.get():
            self._handle(event)
        if self._quit and self._surface is None:
            raise OutputLostError("the window was closed")
        if not self._closed:
            self._show(image)

    def _handle(self, event: Any) -> None:
        command = ("", "")
        if event.type == self._pygame.QUIT:
            command = ("quit", "")
        elif event.type == self._pygame.KEYDOWN:
            command = KEYS.get(self._pygame.key.name(event.key), command)
        self._quit = self._quit or command[0] == "quit"
        if command[0] and self._surface is not None:
            self._surface.command(*command)

    def _show(self, image: U8) -> None:
        height, width = image.shape[:2]
        picture = self._pygame.image.frombuffer(np.ascontiguousarray(image), (width, height), "BGR")
        screen = self._pygame.display.get_surface()
        shown_w, shown_h = screen.get_size()
        if (shown_w, shown_h) == (width, height):
            screen.blit(picture, (0, 0))
        else:
            scale = min(shown_w / width, shown_h / height)
            size = (max(1, int(width * scale)), max(1, int(height * scale)))
            screen.fill((0, 0, 0))
            screen.blit(self._pygame.transform.scale(picture, size), ((shown_w - size[0]) // 2, (shown_h - size[1]) // 2))
        self._pygame.display.flip()
        self.frames += 1

    def watched(self) -> bool:
        """False while the window is minimised."""
        return not self._closed and bool(self._pygame.display.get_active())

    def describe(self) -> str:
        return "a window (space: cover, n/p: persona, q: quit)"

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._pygame.display.quit()

    def __enter__(self) -> WindowOutput:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open(target: str, fmt: VideoFormat, config: OutputConfig, surface: Surface | None) -> WindowOutput:
    """A window of the pictures' size. Raises MissingExtraError, OutputError (no screen), UsageError (a target was given)."""
    if target:
        raise UsageError(f"output window takes no target, but got {target!r}; write just: window")
    pygame = _import_pygame()
    try:
        pygame.display.init()
        if pygame.display.get_driver() in INVISIBLE and not os.environ.get("SDL_VIDEODRIVER"):
            pygame.display.quit()
            raise OutputError(f"no window can be opened: no screen is here; {HEADLESS}")
        return WindowOutput(pygame, fmt, surface)
    except pygame.error as error:
        raise OutputError(f"no window can be opened: {error}; {HEADLESS}") from error


def _import_pygame() -> Any:
    """pygame-ce, without its greeting on stdout."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        return importlib.import_module("pygame")
    except ImportError as error:
        raise MissingExtraError("pygame", "window", "output window") from error


def devices() -> tuple[DeviceInfo, ...]:
    """One where pygame-ce is installed; whether there is a screen shows when it is opened."""
    if importlib.util.find_spec("pygame") is None:
        return ()
    return (DeviceInfo("output", "window", "window", "window"),)
