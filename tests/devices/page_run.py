"""A run without a camera for the page's tests: a surface that remembers commands, and a thread that sends stamped frames as the guard's loop does."""

from __future__ import annotations

import threading
import time
from typing import Any

import cv2
import numpy as np
import stamps

from livecam.config import OutputConfig
from livecam.output.web import WebOutput
from livecam.output.web import open as open_page
from livecam.types import U8, State, VideoFormat

NAMES = {"ada": "Ada", "bo": "Bo", "chidi": "Chidi", "dora": "Dora", "emil": "Emil", "farah": "Farah"}
STAGES = {"decode": 3.6, "detect": 1.1, "track": 2.1, "align": 0.3, "swap": 4.2, "mask": 0.9, "blend": 2.4, "guard": 0.8, "output": 0.6}


class FakeSurface:
    """See `Surface`. confirms: whether commands take effect."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, str]] = []
        self.covered, self.persona, self.confirms, self.state = False, "ada", True, State.LIVE

    def command(self, name: str, value: str = "") -> None:
        self.commands.append((name, value))
        if not self.confirms:
            return
        ids = list(NAMES)
        if name == "cover":
            self.covered = {"on": True, "off": False}.get(value, not self.covered)
        elif name == "persona":
            step = {"next": 1, "previous": -1}.get(value)
            self.persona = value if step is None else ids[(ids.index(self.persona) + step) % len(ids)]

    def snapshot(self) -> dict[str, Any]:
        state = State.COVER if self.covered else self.state
        return {
            "state": state.name,
            "reason": "",
            "covered": self.covered,
            "fps": 29.97,
            "frame_age_ms": {"p50": 18.42, "p95": 24.1, "p99": 31.76},
            "stages_ms": {name: {"p50": ms, "p95": ms * 1.4, "p99": ms * 2.1} for name, ms in STAGES.items()},
            "drops": {"camera": 3, "output": 0},
            "restarts": 0,
            "faces": 1,
            "persona": self.persona,
            "personas": [{"id": i, "name": n, "description": f"{n}, a synthetic adult <rendered> by the project"} for i, n in NAMES.items()],
            "camera": "demo: a presenter who talks, 1280x720 at 30 fps",
            "outputs": ["PipeWire camera 'livecam' (1280x720): pick 'livecam' in the browser", "page at http://127.0.0.1"],
            "notes": ["No camera was found: the demo camera plays."],
        }

    def portrait_jpeg(self, persona_id: str) -> bytes | None:
        if persona_id not in NAMES:
            return None
        shade = 70 + 25 * list(NAMES).index(persona_id)
        image = np.full((320, 320, 3), (60, 52, 46), np.uint8)
        cv2.ellipse(image, (160, 340), (120, 110), 0, 0, 360, (90, 70, 60), -1, cv2.LINE_AA)
        cv2.ellipse(image, (160, 150), (72, 94), 0, 0, 360, (shade * 0.75, shade * 0.9, shade * 1.1), -1, cv2.LINE_AA)
        return cv2.imencode(".jpg", image)[1].tobytes()


def cover_of(image: U8) -> U8:
    """What the guard's cover looks like: 16 blocks across."""
    small = cv2.resize(image, (16, 9), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_NEAREST), np.uint8)


class PageRun:
    """Context manager: the page, and frames for it at 30 fps. `slowest_send_s` is the longest that `send` kept the loop."""

    def __init__(self, width_px: int = 1280, height_px: int = 720) -> None:
        self.surface = FakeSurface()
        self.sent = 0
        self.slowest_send_s = 0.0
        self.output: WebOutput = open_page("", VideoFormat(width_px, height_px, 30.0), OutputConfig(), self.surface)
        self._size = (width_px, height_px)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> PageRun:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()
        self.output.close()

    def frame(self) -> U8:
        """The next picture: stamp, patches, and something that moves."""
        image = stamps.draw(*self._size, self.sent)
        x = int((0.5 + 0.3 * np.sin(self.sent / 15)) * self._size[0])
        cv2.circle(image, (x, self._size[1] // 3), 60, (200, 190, 180), -1, cv2.LINE_AA)
        return image

    def _send(self) -> None:
        while not self._end.wait(1 / 30):
            frame, state = self.frame(), self.surface.state
            if self.surface.covered:
                frame, state = cover_of(frame), State.COVER
            before = time.perf_counter()
            self.output.send(frame, time.monotonic_ns(), state)
            self.slowest_send_s = max(self.slowest_send_s, time.perf_counter() - before)
            self.sent += 1
