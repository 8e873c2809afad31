"""Frozen settings, passed in; each room gets its own part and nothing else.

Defaults here are the defaults of the command line and of `livecam.toml`, which know no others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import platformdirs


@dataclass(frozen=True, slots=True)
class CaptureConfig:
    """camera: "auto" (first camera, else the demo), "demo", an index, a device path, a camera's name, a file, or an rtsp://, http(s):// address.

    width_px, height_px, fps: what is asked of the camera; what it delivers is measured and reported.
    rotate_deg: clockwise. mirror: left-right. loop: a file starts again at its end. realtime: a file or the demo plays at its own speed
    (False: as fast as it is read). always_on: keep the camera open when nobody looks. pixel_format: "auto" prefers MJPG where raw is slower.
    """

    camera: str = "auto"
    width_px: int = 1280
    height_px: int = 720
    fps: float = 30.0
    rotate_deg: Literal[0, 90, 180, 270] = 0
    mirror: bool = False
    loop: bool = True
    realtime: bool = True
    always_on: bool = False
    pixel_format: Literal["auto", "MJPG", "YUYV"] = "auto"


@dataclass(frozen=True, slots=True)
class DetectConfig:
    """detector: member of the room detect. score: least score of a face (the guard itself counts from `guard_score` up).
    search_px: longer side of the picture that is searched. max_age_ms: a whole-frame search is never older than this for a frame that goes out."""

    detector: str = "yunet"
    score: float = 0.7
    guard_score: float = 0.5
    search_px: int = 320
    max_age_ms: float = 100.0


@dataclass(frozen=True, slots=True)
class TrackConfig:
    """tracker: member of the room track. max_faces: faces followed at once. min_score: below it a face counts as lost."""

    tracker: str = "mediapipe"
    max_faces: int = 4
    min_score: float = 0.5


@dataclass(frozen=True, slots=True)
class SwapConfig:
    """swap: member of the room swap ("mesh", "onnx"). persona: id or file. model: card or file for "onnx".
    faces: "all", "largest", or track numbers as "1,3". leave_open: track numbers deliberately left unmasked, as "2" (asked for by name only).
    tone: whose mean skin tone is kept. crop_px: 0 takes the generator's own."""

    swap: str = "mesh"
    persona: str = "auto"
    model: str = ""
    faces: str = "all"
    leave_open: str = ""
    tone: Literal["wearer", "persona"] = "wearer"
    crop_px: int = 0


@dataclass(frozen=True, slots=True)
class OutputConfig:
    """outputs: members of the room output with an optional target: "auto", "web", "v4l2:/dev/video10", "file:out.mp4", several by commas.
    fps: the outputs' own rate; 0 follows the camera. width_px, height_px: 0 follows the camera. port: of the page, 0 picks a free one.
    open_browser: open the page when it is the only thing to look at."""

    outputs: str = "auto"
    fps: float = 0.0
    width_px: int = 0
    height_px: int = 0
    port: int = 0
    open_browser: bool = True


@dataclass(frozen=True, slots=True)
class GuardConfig:
    """hold_ms: longest bridge over missing frames (at least three camera periods). idle_close_s: camera closes when nobody looks for so long.
    stall_s: a worker that publishes nothing for so long is killed and started again. cover_blocks: blocks across a covered frame."""

    hold_ms: float = 250.0
    idle_close_s: float = 5.0
    stall_s: float = 3.0
    cover_blocks: int = 16


@dataclass(frozen=True, slots=True)
class Config:
    """Everything of one run."""

    capture: CaptureConfig = field(default_factory=CaptureConfig)
    detect: DetectConfig = field(default_factory=DetectConfig)
    track: TrackConfig = field(default_factory=TrackConfig)
    swap: SwapConfig = field(default_factory=SwapConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    device: Literal["cpu"] = "cpu"
    threads: int = 1
    cache_dir: Path = field(default_factory=lambda: Path(platformdirs.user_cache_dir("livecam", appauthor=False)))
