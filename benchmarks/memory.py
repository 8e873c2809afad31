"""Memory, threads and file descriptors of a live run over time: `python benchmarks/memory.py --minutes 30`.

Runs the demo camera at its own speed through the real processes with the page open as output (and a viewer reading it), samples every
ten seconds after a warm-up, and fits a line: resident memory must be flat.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil

from livecam.app import Live
from livecam.bench import machine
from livecam.bench.usage import Usage
from livecam.config import Config

SAMPLE_S = 10.0
WARM_S = 60.0
RESULT = Path(__file__).parent / "results" / "memory.json"


async def look(url: str, stop: threading.Event) -> None:
    """A viewer of the page: takes each picture and asks for the next, as the page does."""
    origin = url[: url.index("/", len("http://"))]
    async with aiohttp.ClientSession() as session, session.ws_connect(url + "socket", origin=origin, max_msg_size=0) as socket:
        await socket.send_json({"do": "show", "value": True})
        while not stop.is_set():
            message = await socket.receive(timeout=30.0)
            if message.type is aiohttp.WSMsgType.BINARY:
                await socket.send_json({"do": "next"})


def watch(url: str, stop: threading.Event) -> None:
    """`look` in a thread of its own, so that encoding is part of the run."""
    asyncio.run(look(url, stop))


def slope_per_hour(samples: list[dict[str, Any]], key: str) -> float:
    """Least-squares slope of `key` in its unit an hour."""
    t = np.array([s["seconds"] for s in samples]) / 3600.0
    return round(float(np.polyfit(t, [s[key] for s in samples], 1)[0]), 3)


def run(minutes: float) -> dict[str, Any]:
    config = Config()
    config = replace(
        config, capture=replace(config.capture, camera="demo", always_on=True), output=replace(config.output, outputs="web", open_browser=False)
    )
    samples: list[dict[str, Any]] = []
    stop = threading.Event()
    with Live(config, print) as live:
        viewer = threading.Thread(target=watch, args=(page_url(live), stop), daemon=True)
        viewer.start()
        usage = Usage(psutil.Process())
        begin, due = time.monotonic(), WARM_S
        while (now := time.monotonic() - begin) < WARM_S + minutes * 60.0:
            live.tick()
            if now >= due:
                due += SAMPLE_S
                samples.append({"seconds": round(now, 1), **{k: v for k, v in usage.read().items() if k in ("rss_mb", "pss_mb", "threads", "fds")}})
        figures = live.stats.figures()
        stop.set()
    keys = [key for key in ("rss_mb", "pss_mb", "threads", "fds") if samples[0][key] is not None]
    return {
        "command": f"python benchmarks/memory.py --minutes {minutes:g}",
        "machine": machine.describe(),
        "minutes": minutes,
        "frames": figures["frames"],
        "frame_age_ms": figures["frame_age_ms"],
        "states": figures["states"],
        "slope_per_hour": {key: slope_per_hour(samples, key) for key in keys},
        "first": samples[0],
        "last": samples[-1],
        "largest": {key: max(s[key] for s in samples) for key in keys},
        "samples": samples[:: max(1, len(samples) // 60)],
    }


def page_url(live: Live) -> str:
    """Address of the page, with its token."""
    text = next(text for text in live.outputs if "http://" in text)
    return text[text.index("http://") :].split()[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    result = run(options.minutes)
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in result.items() if k != "samples"}, indent=1))
