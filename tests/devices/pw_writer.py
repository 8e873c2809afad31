"""Sends stamped frames through the output `pipewire` for a while, or until the output is lost; last line of stdout is JSON.

Arguments: width height fps seconds. Exit code 0 always means that Python ended by itself.
"""

from __future__ import annotations

import json
import sys
import time

import stamps

from livecam.config import OutputConfig
from livecam.errors import OutputLostError
from livecam.output import pipewire
from livecam.types import State, VideoFormat


def main() -> None:
    width, height, fps, seconds = (int(a) for a in sys.argv[1:5])
    frames = [stamps.draw(width, height, n) for n in range(8)]
    lost, offered = "", 0
    cpu_ms: dict[bool, list[float]] = {False: [0.0], True: [0.0]}
    output = pipewire.open("", VideoFormat(width, height, float(fps)), OutputConfig(), None)
    print(output.describe(), flush=True)
    end = due = time.monotonic()
    end += seconds
    while time.monotonic() < end:
        frame = frames[offered % 8]
        frame[: stamps.SQUARE_PX] = stamps.draw(width, stamps.SQUARE_PX * 2, offered)[: stamps.SQUARE_PX]
        watched, before = output.watched(), time.thread_time()
        try:
            output.send(frame, time.monotonic_ns(), State.LIVE)
        except OutputLostError as error:
            lost = str(error)
            break
        cpu_ms[watched].append((time.thread_time() - before) * 1e3)
        offered += 1
        due += 1 / fps
        time.sleep(max(0.0, due - time.monotonic()))
    output.close()
    output.close()
    figures = {name: sorted(cpu_ms[key])[len(cpu_ms[key]) // 2] for name, key in (("idle_cpu_ms", False), ("busy_cpu_ms", True))}
    print(json.dumps({"offered": offered, "sent": output.sent, "dropped": output.dropped, "lost": lost, **figures}), flush=True)


main()
