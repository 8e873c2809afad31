"""Opening OpenCV's FFmpeg back end: options, silence, one decoder thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager

import cv2

DECODER_THREADS = 1
"""Measured on 720p H.264: 1 thread 4.3 ms CPU a frame, 2 threads 4.4, 4 threads 4.6; each further thread holds a picture back, too."""

_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_LOG_LEVEL = "OPENCV_FFMPEG_LOGLEVEL"
_AV_LOG_QUIET = "-8"
_environment = threading.Lock()


class _Quiet:
    """OpenCV has one log level a process: who is inside `silent`, and the level to come back to."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.level = 0


_quiet = _Quiet()


def open_video(target: str, options: str = "", open_timeout_ms: int = 0, read_timeout_ms: int = 0) -> cv2.VideoCapture:
    """`target` (path or address) by FFmpeg; ask `isOpened()` of the result. options: "name;value|name;value" for FFmpeg's demuxer."""
    parameters = [cv2.CAP_PROP_N_THREADS, DECODER_THREADS]
    if open_timeout_ms:
        parameters += [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, open_timeout_ms]
    if read_timeout_ms:
        parameters += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, read_timeout_ms]
    with _settings(options), silent():
        return cv2.VideoCapture(target, cv2.CAP_FFMPEG, parameters)


@contextmanager
def silent() -> Generator[None]:
    """OpenCV's own messages off: every failure becomes an error of ours, and the terminal belongs to the live table. Threads may overlap in it."""
    with _quiet.lock:
        if not _quiet.inside:
            _quiet.level = cv2.utils.logging.getLogLevel()
            cv2.utils.logging.setLogLevel(0)
        _quiet.inside += 1
    try:
        yield
    finally:
        with _quiet.lock:
            _quiet.inside -= 1
            if not _quiet.inside:
                cv2.utils.logging.setLogLevel(_quiet.level)


@contextmanager
def _settings(options: str) -> Generator[None]:
    """OpenCV takes demuxer options and FFmpeg's log level from the environment only; they stand there just while it opens."""
    wanted = {_LOG_LEVEL: _AV_LOG_QUIET} | ({_OPTIONS: options} if options else {})
    with _environment:
        before = {name: os.environ.get(name) for name in wanted}
        try:
            for name, value in wanted.items():
                if before[name] is None:
                    os.environ[name] = value
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
