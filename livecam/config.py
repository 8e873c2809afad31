"""Frozen settings, passed in; each room gets its own part and nothing else.

The text under a field is its help on the command line; the defaults here are those of the command line and of `livecam.toml`, which know no others.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import platformdirs

RUN_NUMBER_BITS = 14
"""What the hidden mark has room for."""


@dataclass(frozen=True, slots=True)
class CaptureConfig:
    """Where pictures come from."""

    camera: str = "auto"
    """auto (the first camera, else the demo), demo, a number, a device path, a camera's name, a video or picture file, or an address
    (rtsp://, http://)."""
    width_px: int = 1280
    """Width asked of the camera; what it delivers is measured and shown."""
    height_px: int = 720
    """Height asked of the camera."""
    fps: float = 30.0
    """Frames per second asked of the camera."""
    rotate_deg: Literal[0, 90, 180, 270] = 0
    """Turn the picture clockwise."""
    mirror: bool = False
    """Swap left and right."""
    loop: bool = True
    """A file starts again at its end."""
    realtime: bool = True
    """A file or the demo plays at its own speed; --no-realtime reads as fast as it goes and loses no frame."""
    always_on: bool = False
    """Keep the camera open when nobody looks at any output (else it closes after --idle-close-s and its light goes out)."""
    pixel_format: Literal["auto", "MJPG", "YUYV"] = "auto"
    """What to ask the camera for; auto prefers MJPG where raw pictures are slower."""


@dataclass(frozen=True, slots=True)
class DetectConfig:
    """How a whole frame is searched for faces."""

    detector: str = "yunet"
    """yunet, or scrfd from your own insightface models."""
    score: float = 0.7
    """Least score of a face that is to be masked."""
    guard_score: float = 0.5
    """Least score of a face that may not go out unmasked."""
    search_px: int = 320
    """Longer side of the picture that is searched; larger finds smaller faces and costs more."""
    max_age_ms: float = 100.0
    """A frame goes out only when a search of the whole frame is not older than this."""


@dataclass(frozen=True, slots=True)
class TrackConfig:
    """How faces are followed."""

    tracker: str = "mediapipe"
    """mediapipe (468 landmarks and irises), or insightface from your own models."""
    max_faces: int = 4
    """Most faces followed at once; further ones are covered."""
    min_score: float = 0.5
    """Below this score of the landmark model a face counts as lost."""


@dataclass(frozen=True, slots=True)
class SwapConfig:
    """Whose face is drawn, on whom, and by what."""

    swap: str = "auto"
    """mesh (a persona's portrait on your landmarks, no network), lite (livecam's own generator over it), auto (lite if its weights load, else mesh),
    or onnx (a generator file of your own, see --model)."""
    persona: str = "auto"
    """A persona's id (see `livecam persona list`) or file."""
    model: str = ""
    """For --swap onnx: the model file or its card; for --swap lite: a folder of weights other than those that come with livecam."""
    embedder: str = ""
    """For --swap onnx: an ArcFace file that turns the persona's portrait into an embedding."""
    faces: str = "all"
    """Whom to mask: all, largest, or track numbers such as 1,3. Others are covered."""
    leave_open: str = ""
    """Track numbers to leave unmasked on purpose, such as 2."""
    tone: Literal["wearer", "persona"] = "wearer"
    """Whose mean skin tone the drawn face has."""
    tier: Literal["auto", "128", "256"] = "auto"
    """For --swap lite: the side of its network in pixels. 256 draws finer and costs a CPU four times as much; auto takes it on a card alone."""
    things: Literal["hide", "show"] = "hide"
    """Hands, cups, microphones and phones before the face: hide them under the persona, or show them as they are (a beard may be taken for one)."""


@dataclass(frozen=True, slots=True)
class OutputConfig:
    """Where finished frames go."""

    outputs: str = "auto"
    """auto (a virtual camera if there is one, and the page), or several by commas: v4l2, virtualcam, pipewire, window, web, file, null;
    with a target: v4l2:/dev/video10, file:talk.mp4."""
    output_fps: float = 0.0
    """The outputs' own frames per second; 0 follows the camera."""
    output_size: str = ""
    """The outputs' own size, such as 1920x1080; empty follows the camera."""
    port: int = 0
    """Port of the page on this machine; 0 picks a free one."""
    control: bool = True
    """Listen to `livecam ctl` on a socket that only your own programs can open."""
    open_browser: bool = True
    """Open the page in a browser when there is no virtual camera to look at."""


@dataclass(frozen=True, slots=True)
class MarkConfig:
    """How people are told that the picture is altered. The hidden mark, for machines, is always there."""

    badge: Literal["bottom-right", "bottom-left", "top-right", "top-left", "off"] = "bottom-right"
    """Corner of the badge "AI modified"; off leaves it out (the hidden mark stays; where the law asks that people are told, tell them yourself)."""
    badge_size: Literal["small", "medium", "large"] = "medium"
    """Height of the badge: 3.5, 4.5 or 6.5 hundredths of the picture's."""


@dataclass(frozen=True, slots=True)
class GuardConfig:
    """When the picture is held, covered or replaced."""

    hold_ms: float = 250.0
    """Longest bridge over missing frames (never less than three camera periods)."""
    idle_close_s: float = 5.0
    """The camera closes when nobody has looked at any output for so long."""
    stall_s: float = 3.0
    """A worker that publishes nothing for so long is killed and started again."""
    cover_blocks: int = 16
    """Blocks across a covered frame."""
    second_check: Literal["auto", "on", "off"] = "auto"
    """Once a second a face recognition network compares the picture that goes out with you, and covers when it still finds you: auto (when its
    model file can be had), on (or not at all), off."""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Processor and folders."""

    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where frames are drawn and networks run: cpu, cuda (an NVIDIA card; needs the extra torch), or auto (a card if there is one)."""
    threads: int = 1
    """Threads per network."""
    budget: str = ""
    """Longest time of a frame, such as 16ms: when 95 % pass it, quality steps down until they do not, and up again when there is room."""
    runtime: Literal["auto", "tensorrt", "torch", "onnx", "openvino"] = "auto"
    """What runs the generator's network. What must be built first is built while another one draws."""
    provider: Literal["auto", "cpu", "cuda", "directml", "coreml"] = "auto"
    """For --runtime onnx: ONNX Runtime's provider; auto is the first that is not the CPU's."""
    cache_dir: Path = field(default_factory=lambda: Path(os.environ.get("LIVECAM_CACHE") or platformdirs.user_cache_dir("livecam", appauthor=False)))
    """Folder of model files and compiled code."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything of one run."""

    capture: CaptureConfig = field(default_factory=CaptureConfig)
    detect: DetectConfig = field(default_factory=DetectConfig)
    track: TrackConfig = field(default_factory=TrackConfig)
    swap: SwapConfig = field(default_factory=SwapConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    mark: MarkConfig = field(default_factory=MarkConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    run: RunConfig = field(default_factory=RunConfig)
    run_number: int = field(default_factory=lambda: secrets.randbits(RUN_NUMBER_BITS))
    """Random, made anew with every run: the hidden mark carries it. No option."""
