"""Reads a PipeWire camera by ctypes as another program would; last line of stdout is JSON.

Arguments: node-name width height pixel-format seconds.
"""

from __future__ import annotations

import ctypes as ct
import json
import sys
import time

import cv2
import numpy as np
import stamps

from livecam.output import _pipewire_lib as pw
from livecam.output import _pipewire_pod as spa

BACK = {"I420": (cv2.COLOR_YUV2BGR_I420, 3 / 2, 1), "YUY2": (cv2.COLOR_YUV2BGR_YUY2, 1, 2), "BGRx": (cv2.COLOR_BGRA2BGR, 1, 4)}


class Reader:
    def __init__(self, node: str, width: int, height: int, layout: spa.PixelLayout) -> None:
        self.lib, self.layout, self.width, self.height = pw.load(), layout, width, height
        self.numbers: list[int] = []
        self.seqs: list[int] = []
        self.age_ms: list[float] = []
        self.pts_rising, self.last_pts = True, 0
        self.colour_error, self.negotiated, self.error = 0.0, {}, ""
        self.events = pw.StreamEvents(
            version=2,
            state_changed=pw.StateCallback(self.on_state),
            param_changed=pw.ParamCallback(self.on_param),
            process=pw.PlainCallback(self.on_process),
        )
        self.loop = self.lib.pw_thread_loop_new(b"reader", None)
        text = f'media.type=Video media.category=Capture media.role=Camera target.object="{node}"'
        properties = self.lib.pw_properties_new_string(text.encode())
        self.stream = self.lib.pw_stream_new_simple(
            self.lib.pw_thread_loop_get_loop(self.loop), b"reader", properties, ct.addressof(self.events), None
        )
        wish = spa.pod_object(
            spa.OBJECT_FORMAT,
            spa.PARAM_ENUM_FORMAT,
            ((spa.MEDIA_TYPE, spa.pod_id(2)), (spa.MEDIA_SUBTYPE, spa.pod_id(1)), (spa.VIDEO_FORMAT, spa.pod_id(layout.spa_id))),
        )
        params, self.memory = pw.pod_array(wish)
        flags = pw.FLAG_AUTOCONNECT | pw.FLAG_MAP_BUFFERS
        assert self.lib.pw_stream_connect(self.stream, pw.DIRECTION_INPUT, pw.ANY_ID, flags, params, 1) >= 0
        self.lib.pw_thread_loop_start(self.loop)

    def on_state(self, _data: object, _old: int, new: int, error: bytes | None) -> None:
        if error:
            self.error = error.decode()

    def on_param(self, _data: object, param: int, address: int | None) -> None:
        if param == spa.PARAM_FORMAT and address:
            self.negotiated = {hex(k): v for k, v in spa.chosen_ids(pw.pod_bytes(address)).items()}
            params, memory = pw.pod_array(spa.header_request(ct.sizeof(pw.Header)))
            self.lib.pw_stream_update_params(self.stream, params, len(memory))

    def on_process(self, _data: object) -> None:
        buffer = self.lib.pw_stream_dequeue_buffer(self.stream)
        if not buffer:
            return
        content = buffer.contents.buffer.contents
        data = content.datas[0]
        chunk = data.chunk.contents
        size = self.layout.size_bytes(self.width, self.height)
        if chunk.size == size and not chunk.flags:
            code, rows, channels = BACK[self.layout.name]
            flat = np.frombuffer(memoryview((ct.c_uint8 * size).from_address(data.data)).cast("B"), np.uint8)
            shape = (int(self.height * rows), self.width) if channels == 1 else (self.height, self.width, channels)
            image = cv2.cvtColor(flat.reshape(shape), code)
            self.numbers.append(stamps.number_of(image))
            self.colour_error = max(self.colour_error, stamps.colour_error(image))
        for i in range(content.n_metas):
            if content.metas[i].type == spa.META_HEADER:
                header = pw.Header.from_address(content.metas[i].data)
                self.seqs.append(header.seq)
                self.age_ms.append((time.monotonic_ns() - header.pts) / 1e6)
                self.pts_rising &= header.pts > self.last_pts
                self.last_pts = header.pts
        self.lib.pw_stream_queue_buffer(self.stream, buffer)

    def close(self) -> None:
        self.lib.pw_thread_loop_stop(self.loop)
        self.lib.pw_stream_destroy(self.stream)
        self.lib.pw_thread_loop_destroy(self.loop)


def main() -> None:
    node, width, height, name, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], float(sys.argv[5])
    layout = next(x for x in spa.LAYOUTS if x.name == name)
    reader = Reader(node, width, height, layout)
    start = time.monotonic()
    while not reader.numbers and time.monotonic() < start + 15:
        time.sleep(0.02)
    print("reading", flush=True)
    time.sleep(seconds)
    reader.close()
    ages = sorted(reader.age_ms[len(reader.age_ms) // 2 :]) or [-1.0]
    steps = np.diff(reader.numbers)
    print(
        json.dumps(
            {
                "frames": len(reader.numbers),
                "fps": len(reader.numbers) / seconds,
                "back": int((steps <= 0).sum()),
                "colour_error": reader.colour_error,
                "negotiated": reader.negotiated,
                "headers": len(reader.seqs),
                "seq_rising": bool((np.diff(reader.seqs) > 0).all()),
                "pts_rising": reader.pts_rising,
                "late_age_p50_ms": ages[len(ages) // 2],
                "error": reader.error,
            }
        ),
        flush=True,
    )


main()
