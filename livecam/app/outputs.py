"""The outputs of a run: chosen by name or automatically, fitted to their size, dropped or opened again when they go away."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np

from livecam import output
from livecam.config import OutputConfig
from livecam.errors import LivecamError, MissingExtraError, OutputError, OutputLostError, UsageError
from livecam.guard.cover import slate
from livecam.output import Output, Surface
from livecam.types import U8, State, VideoFormat

CAMERA_KINDS = ("v4l2", "pipewire", "virtualcam")
"""Virtual cameras in the order in which "auto" tries them; the first that opens is used."""
RETRY_S = 2.0
"""A virtual camera or window that went away is tried again this often."""
LAST_WORDS = "livecam is not running"
"""On the picture that a driver shows by itself when livecam is dead."""
PERMANENT = ("file",)
"""Kinds that are not opened again: it would overwrite what was recorded."""


class Outputs:
    """All open outputs of a run. Used by the main loop's thread."""

    def __init__(
        self,
        config: OutputConfig,
        fmt: VideoFormat,
        surface: Surface,
        note: Callable[[str], None],
        conversion: str = "",
        finished: Callable[[Path], None] | None = None,
    ) -> None:
        """conversion: the file that is read as fast as it goes, if one is: a recording then holds every picture, and its sound if it can.
        finished: told of each recording that was closed."""
        self.format = fmt
        self._config, self._surface, self._note = config, surface, note
        self._conversion, self._finished = conversion, finished
        self._open: dict[str, Output] = {}
        self._lost: dict[str, float] = {}
        self.has_camera = False
        self._canvas = np.zeros((fmt.height_px, fmt.width_px, 3), np.uint8)
        self.lost_for_good: str | None = None

    def open(self) -> None:
        """Opens what the settings ask for. Raises UsageError, OutputError, MissingExtraError when one that was named cannot be had."""
        wanted = [word.strip() for word in self._config.outputs.split(",") if word.strip()]
        if not wanted:
            raise UsageError("--outputs expected at least one output, found none; use auto, or null to send the picture nowhere")
        for word in wanted:
            if word == "auto":
                self._open_auto()
            else:
                self.add(word)
        self.has_camera = any(spec.split(":", 1)[0] in CAMERA_KINDS for spec in self._open)

    def _open_auto(self) -> None:
        """A virtual camera if there is one (every refusal is told), and the page."""
        there = {device.kind for device in output.devices()}
        for kind in CAMERA_KINDS:
            if kind not in there:
                continue
            try:
                self.add(kind)
                break
            except (OutputError, MissingExtraError) as error:
                self._note(f"{kind}: {error}")
        else:
            self._note("no virtual camera here; the page in the browser shows the picture (livecam doctor says how to get one)")
        self.add("web")

    def add(self, spec: str) -> None:
        """Opens one more, such as "file:talk.mp4". Raises UsageError, OutputError, MissingExtraError."""
        kind, _, target = spec.partition(":")
        if kind == "file" and self._conversion:
            target = converted(target, self._conversion)
        sink = self._open[spec] = output.open_output(kind, target, self.format, self._config, self._surface)
        set_last_line = getattr(sink, "set_last_line", None)
        if set_last_line is not None:
            set_last_line(slate(self.format.width_px, self.format.height_px, LAST_WORDS))

    def send(self, image: U8, capture_ns: int, state: State) -> None:
        """Publishes a finished frame on every output, fitted to the outputs' size."""
        fitted = self._fit(image)
        for spec, sink in list(self._open.items()):
            try:
                sink.send(fitted, capture_ns, state)
            except OutputLostError as error:
                self._drop(spec, sink, error)
        if self._lost:
            self._try_again()

    def remove(self, spec: str) -> bool:
        """Closes one; whether it was still open."""
        sink = self._open.pop(spec, None)
        if sink is not None:
            self._close(sink)
        return sink is not None

    def _drop(self, spec: str, sink: Output, error: LivecamError) -> None:
        del self._open[spec]
        self._close(sink)
        if spec.split(":", 1)[0] in PERMANENT:
            self._note(str(error))
            if not self._open and not self._lost:
                self.lost_for_good = str(error)
        else:
            self._note(f"{error}; trying again")
            self._lost[spec] = time.monotonic() + RETRY_S

    def _try_again(self) -> None:
        now = time.monotonic()
        for spec in [s for s, due in self._lost.items() if due <= now]:
            try:
                self.add(spec)
            except LivecamError:
                self._lost[spec] = now + RETRY_S
            else:
                del self._lost[spec]
                self._note(f"{spec} is back")

    def _fit(self, image: U8) -> U8:
        """Scales with the aspect kept, black bars around: readers of a virtual camera cannot follow a change of size."""
        height, width = image.shape[:2]
        wide, high = self.format.width_px, self.format.height_px
        if (width, height) == (wide, high):
            return image
        scale = min(wide / width, high / height)
        w, h = max(1, round(width * scale)), max(1, round(height * scale))
        x, y = (wide - w) // 2, (high - h) // 2
        self._canvas[:] = 0
        shrinking = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        self._canvas[y : y + h, x : x + w] = cv2.resize(image, (w, h), interpolation=shrinking)
        return self._canvas

    def watched(self) -> bool:
        """Whether anybody looks at any output."""
        return any(sink.watched() for sink in self._open.values())

    def describe(self) -> tuple[str, ...]:
        """One line for each open output."""
        return tuple(sink.describe() for sink in self._open.values())

    def sinks(self) -> Iterable[Output]:
        """The open outputs."""
        return self._open.values()

    def close(self) -> None:
        """Finishes files and gives devices back."""
        for sink in self._open.values():
            self._close(sink)
        self._open.clear()

    def _close(self, sink: Output) -> None:
        sink.close()
        path = getattr(sink, "path", None)
        if isinstance(path, Path) and self._finished is not None:
            self._finished(path)


def converted(target: str, source: str) -> str:
    """A recording's target for a conversion: every picture of `source` is kept, and its sound where the extra `audio` is installed."""
    wanted = ["every_frame=1"] + ([f"audio={quote(source)}"] if importlib.util.find_spec("av") and Path(source).is_file() else [])
    missing = [option for option in wanted if option.split("=")[0] + "=" not in target]
    return target + ("&" if "?" in target else "?") + "&".join(missing) if missing else target
