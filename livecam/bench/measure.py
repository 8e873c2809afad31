"""The real processes under measurement: supervisor, worker, shared memory, outputs; only the virtual camera itself is left out (null).

CPU time and throughput are measured on the plain demo camera.  Frame age is measured in the run at the camera's own speed, whose pictures carry
their capture time as a stamp: writing it in the worker and reading it in the main process costs CPU time that no user pays, so that run's
`cpu_ms_per_frame` holds the bench's own work too.  Each run says which it is (`stamped`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import psutil

from livecam.app import Live
from livecam.bench.usage import Usage
from livecam.capture import stamped
from livecam.config import Config
from livecam.telemetry import Ring
from livecam.types import U8, State

WARM_FRAMES = 45
"""Left out at the start: compiling, first touch of memory, the slate before the first frame."""
START_LIMIT_S = 180.0
STAMPED = stamped.PREFIX + "demo"
SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}


@dataclass(slots=True)
class Probe:
    """What is seen at the outputs: ages from the stamps in the pixels."""

    age_ms: Ring
    sent: int = 0
    unstamped: int = 0

    def __call__(self, image: U8, capture_ns: int, state: State) -> None:
        """Called with each picture right after the outputs got it."""
        self.sent += 1
        stamp = stamped.read(image)
        if stamp is None:
            self.unstamped += 1
        elif state is State.LIVE:
            self.age_ms.add((time.monotonic_ns() - stamp) / 1e6)


def settings(base: Config, size: str, realtime: bool) -> Config:
    """The demo camera at `size`, to no device at all; stamped in real time, plain when it is read as fast as it goes."""
    width, height = SIZES[size]
    capture = replace(base.capture, camera=STAMPED if realtime else "demo", width_px=width, height_px=height, realtime=realtime, always_on=True)
    return replace(base, capture=capture, output=replace(base.output, outputs="null"))


def run(config: Config, progress: Callable[[str], object], frames: int = 0, seconds: float = 0.0) -> dict[str, Any]:
    """Runs until so many frames or seconds after the warm-up; returns JSON-ready figures."""
    probe = Probe(Ring())
    is_stamped = config.capture.camera.startswith(stamped.PREFIX)
    begin = time.monotonic()
    with Live(config, progress, tap=probe if is_stamped else None) as live:
        while live.stats.taken < WARM_FRAMES:
            live.tick()
            if time.monotonic() - begin > START_LIMIT_S:
                break
        live.stats.restart()
        probe.age_ms, probe.sent, probe.unstamped = Ring(), 0, 0
        usage = Usage(psutil.Process())
        start = time.monotonic()
        while (live.stats.taken < frames) if frames else (time.monotonic() - start < seconds):
            live.tick()
        wall_s = time.monotonic() - start
        used = usage.read()
        figures = live.stats.figures()
        first = live.first_masked_s
    return {"stamped": is_stamped, **_result(figures, used, wall_s, probe, first)}


def _result(figures: Mapping[str, Any], used: Mapping[str, Any], wall_s: float, probe: Probe, first: float | None) -> dict[str, Any]:
    frames = max(1, int(figures["frames"]))
    stages = {name: {"wall_ms": figures["stages_ms"][name], "cpu_ms": figures["stages_cpu_ms"][name]} for name in figures["stages_ms"]}
    return {
        "frames": frames,
        "seconds": round(wall_s, 3),
        "fps": round(frames / wall_s, 2),
        "cpu_ms_per_frame": round(1e3 * used["cpu_s"] / frames, 3),
        "cpu_ms_per_frame_by_process": {name: round(1e3 * value / frames, 3) for name, value in used["cpu_s_by_process"].items()},
        "stages": stages,
        "frame_age_ms": probe.age_ms.percentiles(),
        "states": figures["states"],
        "drops": figures["drops"],
        "rss_mb": used["rss_mb"],
        "pss_mb": used["pss_mb"],
        "start_to_first_masked_s": None if first is None else round(first, 2),
    }


def ratio(throughput: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, float]:
    """CPU ms a frame of both pipelines, from decoding to the output, without generator.

    Ours: all processes' time over the frames, less the swap stage's median; the reference (see reference.py): its process's time over the frames.
    """
    swap = throughput["stages"].get("swap", {}).get("cpu_ms", {}).get("p50", 0.0)
    ours = round(throughput["cpu_ms_per_frame"] - swap, 3)
    usual, light = float(reference["cpu_ms_per_frame"]), float(reference["cpu_ms_per_frame_light_detector"])
    return {
        "livecam_cpu_ms": ours,
        "reference_cpu_ms": usual,
        "times": round(usual / ours, 2) if ours > 0 else 0.0,
        "reference_light_detector_cpu_ms": light,
        "times_light_detector": round(light / ours, 2) if ours > 0 else 0.0,
    }
