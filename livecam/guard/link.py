"""What goes between main and worker beside pixels: short JSON lists over one duplex pipe, never pickles. Its end-of-file is the other one's death.

Worker to main: ["frame"], ["alive"], ["busy", seconds, why], ["size", width_px, height_px], and whatever the application says.
Main to worker: ["segments", {...}], ["reveal", {...} or null], and whatever the application commands.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

from livecam.errors import GuardError
from livecam.guard.cover import watermark
from livecam.guard.shm import SegmentSpec, Writer
from livecam.types import U8, Verdict

HEARTBEAT_S = 0.2
"""Least time between two signs of life without a frame."""
MESSAGE_BYTES = 1 << 20
"""A longer message is no message of ours."""

Message = list[Any]


class MainGoneError(GuardError):
    """The main process has ended or has given this worker up: end too."""


def encode(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def decode(data: bytes) -> Message:
    """Raises GuardError for anything but a JSON list that begins with a name."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise GuardError(f"message between processes: expected JSON, found {data[:40]!r}") from error
    if not isinstance(message, list) or not message or not isinstance(message[0], str):
        raise GuardError(f"message between processes: expected a list that begins with a name, found {data[:40]!r}")
    return message


def spec_from_json(value: Mapping[str, Any]) -> SegmentSpec:
    return SegmentSpec(value["name"], value["pixel_bytes"], value["generation"], tuple(value["stages"]), value["magic"])


def spec_to_json(spec: SegmentSpec) -> dict[str, Any]:
    return asdict(spec)


class WorkerLink:
    """The worker's side of both ways: frames out, words both ways. `publish` and `commands` from the compute thread; `say` from any thread."""

    def __init__(self, connection: Connection, spec: SegmentSpec, reveal: SegmentSpec | None = None) -> None:
        self._connection = connection
        self._send = threading.Lock()
        self._writer = Writer(spec)
        self._reveal = Writer(reveal) if reveal else None
        self._asked_px = (0, 0)
        self._beat = 0.0

    def publish(self, image: U8, verdict: Verdict, capture_ns: int, faces: int = 0, stages: Mapping[str, tuple[float, float]] | None = None) -> bool:
        """Hands a *finished* frame to main. image: (H, W, 3) uint8 BGR, finished (LIVE) or pixelated as a whole (COVER).

        Returns False when it does not fit: then larger segments have been asked for and come with a later `commands`. Raises MainGoneError."""
        if image.size > self._writer.spec.pixel_bytes:
            if self._asked_px != image.shape[:2]:
                self._asked_px = image.shape[:2]
                self.say("size", image.shape[1], image.shape[0])
            return False
        self._writer.publish(image, verdict, capture_ns, faces, stages)
        self._beat = time.monotonic()
        self.say("frame")
        return True

    @property
    def revealing(self) -> bool:
        """Whether unmasked pictures are asked for now (`--reveal`)."""
        return self._reveal is not None

    def publish_unmasked(self, image: U8, capture_ns: int) -> None:
        """Only while `revealing`: hands a copy of a raw frame to main, watermarked UNMASKED here. Raises GuardError when not asked for."""
        if self._reveal is None:
            raise GuardError("unmasked frame: expected a run with --reveal, found none")
        if image.size <= self._reveal.spec.pixel_bytes:
            marked = image.copy()
            watermark(marked)
            self._reveal.publish(marked, Verdict.LIVE, capture_ns)

    def alive(self) -> None:
        """A sign of life; call it at least every second while there is nothing to publish. Cheap: sends at most 5 a second."""
        now = time.monotonic()
        if now - self._beat >= HEARTBEAT_S:
            self._beat = now
            self.say("alive")

    def busy(self, seconds: float, why: str) -> None:
        """Announces that no sign of life will come for up to `seconds` (loading a model), so that this is not taken for a stall."""
        self.say("busy", seconds, why)

    def say(self, *message: Any) -> None:
        """Sends a message (JSON-ready values, the first one its name). Raises MainGoneError."""
        try:
            with self._send:
                self._connection.send_bytes(encode(list(message)))
        except OSError as error:
            raise MainGoneError("the main process is gone") from error

    def commands(self, wait_s: float = 0.0) -> list[Message]:
        """What main has sent since the last call, waiting up to `wait_s` for the first. New segments are taken here. Raises MainGoneError."""
        found: list[Message] = []
        try:
            while self._connection.poll(0.0 if found else wait_s):
                message = decode(self._connection.recv_bytes(MESSAGE_BYTES))
                if message[0] == "segments":
                    self._writer.close()
                    self._writer = Writer(spec_from_json(message[1]))
                elif message[0] == "reveal":
                    self._end_reveal()
                else:
                    found.append(message)
        except (EOFError, OSError) as error:
            raise MainGoneError("the main process is gone") from error
        return found

    def _end_reveal(self) -> None:
        writer, self._reveal = self._reveal, None
        if writer is not None:
            writer.close()

    def close(self) -> None:
        """Unmaps everything and closes the pipe."""
        self._end_reveal()
        self._writer.close()
        self._connection.close()
