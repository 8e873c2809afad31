"""Output `pipewire`: a camera node of our own (Video/Source, role Camera); browsers see it through the camera portal. No kernel module.

Convention:
    YUV is BT.601, limited range, declared in the offered format. Buffer times are `time.monotonic_ns()` of the capture, strictly rising.
"""

from __future__ import annotations

import ctypes as ct
import threading
import time
import weakref
from typing import Any

import cv2
import numpy as np

from livecam.config import OutputConfig
from livecam.errors import OutputError, OutputLostError, UsageError
from livecam.output import Surface
from livecam.output import _pipewire_lib as pw
from livecam.output import _pipewire_pod as spa
from livecam.types import U8, DeviceInfo, State, VideoFormat

DEFAULT_NAME = "livecam"
CONNECT_TIMEOUT_S = 3.0
"""A local daemon registers a node within a few ms; a loaded machine gets time."""
_CONVERSIONS = {"I420": cv2.COLOR_BGR2YUV_I420, "YUY2": cv2.COLOR_BGR2YUV_YUY2, "BGRx": cv2.COLOR_BGR2BGRA}


def open(target: str, fmt: VideoFormat, config: OutputConfig, surface: Surface | None) -> PipeWireOutput:
    """A PipeWire camera. target: its name in other programs ("" is "livecam"). Raises OutputError without PipeWire, UsageError for a bad name."""
    del config, surface
    return PipeWireOutput(target or DEFAULT_NAME, fmt)


def devices() -> tuple[DeviceInfo, ...]:
    """The camera that would be made, if a PipeWire service answers; never raises."""
    if pw.why_absent():
        return ()
    try:
        pw.load()
    except OutputError as error:
        return (DeviceInfo("output", "pipewire", "pipewire", "PipeWire camera", str(error)),)
    note = "browsers reach it through xdg-desktop-portal; programs that only list /dev/video* (Zoom, Skype) need the output v4l2"
    return (DeviceInfo("output", "pipewire", "pipewire", f"PipeWire camera {DEFAULT_NAME!r}", note),)


def convert(image: U8, layout: spa.PixelLayout, into: U8) -> None:
    """Writes `image` ((H, W, 3) BGR) as `layout` into the flat memory `into` ((size_bytes,) uint8), without a copy in between."""
    height, width = image.shape[:2]
    shape = {"I420": (height * 3 // 2, width), "YUY2": (height, width, 2), "BGRx": (height, width, 4)}[layout.name]
    destination = into.reshape(shape)
    drawn = cv2.cvtColor(image, _CONVERSIONS[layout.name], dst=destination)
    if drawn is not destination:
        np.copyto(destination, drawn)


def _release(lib: ct.CDLL, handles: dict[str, Any]) -> None:
    """Ends the thread first, so that no callback runs while the stream goes; also called when Python ends without `close`."""
    loop, stream = handles.pop("loop", None), handles.pop("stream", None)
    if loop:
        lib.pw_thread_loop_stop(loop)
    if stream:
        lib.pw_stream_destroy(stream)
    if loop:
        lib.pw_thread_loop_destroy(loop)


class PipeWireOutput:
    """See `Output`. `send` converts straight into the shared buffer under the loop's lock; with no reader it only looks at the state.

    Callbacks come from PipeWire's loop thread with the loop locked, so they and `send` never overlap;
    ctypes gives the GIL away before a lock is awaited. `close` may come from another thread.
    """

    def __init__(self, name: str, fmt: VideoFormat) -> None:
        if not name.isprintable() or not set('"\\').isdisjoint(name) or len(name) > 60:
            raise UsageError(f"a PipeWire camera's name is up to 60 printable characters without quotes or backslashes; found {name!r}")
        self.dropped = 0
        self.sent = 0
        self._name, self._fmt = name, fmt
        self._lib = pw.load()
        even = fmt.width_px % 2 == 0 and fmt.height_px % 2 == 0
        self._layouts = tuple(layout for layout in spa.LAYOUTS if even or not layout.even)
        self._layout: spa.PixelLayout | None = None
        self._state, self._error = pw.STATE_UNCONNECTED, ""
        self._last_pts = 0
        self._loop: Any = None
        self._stream: Any = None
        self._closing = threading.Lock()
        self._handles: dict[str, Any] = {}
        self._events = pw.StreamEvents(version=2, state_changed=pw.StateCallback(self._on_state), param_changed=pw.ParamCallback(self._on_param))
        self._finalizer = weakref.finalize(self, _release, self._lib, self._handles)
        try:
            self._connect()
        except OutputError:
            self.close()
            raise

    def __enter__(self) -> PipeWireOutput:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _connect(self) -> None:
        lib = self._lib
        if why := pw.why_absent():
            raise OutputError(
                f"the PipeWire camera needs a running PipeWire service; {why}; start it (systemctl --user start pipewire wireplumber) "
                "or choose another output: see `livecam devices`"
            )
        self._loop = self._handles["loop"] = lib.pw_thread_loop_new(b"livecam-pipewire", None)
        if not self._loop:
            raise OutputError("PipeWire could not start its event loop (out of memory or file descriptors?)")
        properties = (
            f'media.type=Video media.category=Capture media.role=Camera media.class=Video/Source node.name="{self._name}" '
            f'node.description="{self._name}" node.nick="{self._name}" media.name="{self._name}" application.name=livecam node.driver=true'
        )
        loop = lib.pw_thread_loop_get_loop(self._loop)
        properties_p = lib.pw_properties_new_string(properties.encode())
        self._stream = self._handles["stream"] = lib.pw_stream_new_simple(loop, self._name.encode(), properties_p, ct.addressof(self._events), None)
        if not self._stream:
            raise OutputError("PipeWire refused a new stream; its client configuration may be missing (Debian, Ubuntu: apt install pipewire)")
        fmt = self._fmt
        offers, memory = pw.pod_array(*[spa.format_offer(layout, fmt.width_px, fmt.height_px, fmt.fps) for layout in self._layouts])
        code = lib.pw_stream_connect(self._stream, pw.DIRECTION_OUTPUT, pw.ANY_ID, pw.FLAG_DRIVER | pw.FLAG_MAP_BUFFERS, offers, len(memory))
        if code < 0:
            raise OutputError(f"PipeWire did not take the camera (error {-code}: {self._error or 'no reason given'}); is the service running?")
        if lib.pw_thread_loop_start(self._loop) < 0:
            raise OutputError("PipeWire's thread could not be started")
        self._wait_until_registered()

    def _wait_until_registered(self) -> None:
        end = time.monotonic() + CONNECT_TIMEOUT_S
        while self._state < pw.STATE_PAUSED:
            if self._state == pw.STATE_ERROR or time.monotonic() > end:
                why = self._error or "no answer from the service"
                raise OutputError(f"PipeWire did not register the camera within {CONNECT_TIMEOUT_S:.0f} s: {why}")
            time.sleep(0.005)

    def _on_state(self, _data: int | None, _old: int, new: int, error: bytes | None) -> None:
        self._state = new
        if error:
            self._error = error.decode(errors="replace")

    def _on_param(self, _data: int | None, param: int, address: int | None) -> None:
        if param != spa.PARAM_FORMAT:
            return
        if not address:
            self._layout = None
            return
        chosen = spa.chosen_ids(pw.pod_bytes(address)).get(spa.VIDEO_FORMAT)
        self._layout = next((layout for layout in self._layouts if layout.spa_id == chosen), None)
        if self._layout is None:
            return
        size = self._layout.size_bytes(self._fmt.width_px, self._fmt.height_px)
        params, memory = pw.pod_array(
            spa.buffers_request(size, self._layout.stride_px_bytes * self._fmt.width_px), spa.header_request(ct.sizeof(pw.Header))
        )
        self._lib.pw_stream_update_params(self._stream, params, len(memory))

    def send(self, image: U8, capture_ns: int, state: State) -> None:
        """See `Output`. Raises OutputLostError once the PipeWire service is gone, OutputError for a picture of another size."""
        del state
        if self._stream is None or self._state in (pw.STATE_ERROR, pw.STATE_UNCONNECTED):
            why = self._error or "the service ended the connection"
            raise OutputLostError(f"the PipeWire camera {self._name!r} is gone ({why}); it can be opened again")
        if self._state != pw.STATE_STREAMING:
            return
        expected = (self._fmt.height_px, self._fmt.width_px, 3)
        if image.shape != expected or image.dtype != np.uint8:
            raise OutputError(f"the PipeWire camera takes {expected} uint8 pictures, found {image.shape} {image.dtype}; open it anew for this size")
        with self._closing:
            if self._loop is None:
                return
            self._lib.pw_thread_loop_lock(self._loop)
            try:
                self._push(image, capture_ns)
            finally:
                self._lib.pw_thread_loop_unlock(self._loop)

    def _push(self, image: U8, capture_ns: int) -> None:
        """Fills and queues one buffer (loop locked); without a free one (the reader stands still) the picture is dropped and counted."""
        lib, layout = self._lib, self._layout
        if layout is None or self._state != pw.STATE_STREAMING:
            return
        buffer = lib.pw_stream_dequeue_buffer(self._stream)
        if not buffer:
            self.dropped += 1
            return
        self._fill(buffer.contents.buffer.contents, image, layout, capture_ns)
        lib.pw_stream_queue_buffer(self._stream, buffer)
        lib.pw_stream_trigger_process(self._stream)

    def _fill(self, buffer: pw.SpaBuffer, image: U8, layout: spa.PixelLayout, capture_ns: int) -> None:
        data = buffer.datas[0]
        size = layout.size_bytes(self._fmt.width_px, self._fmt.height_px)
        chunk = data.chunk.contents
        chunk.offset, chunk.stride = 0, layout.stride_px_bytes * self._fmt.width_px
        if not data.data or data.maxsize < size:
            chunk.size, chunk.flags = 0, pw.CHUNK_CORRUPTED
            self.dropped += 1
            return
        memory = memoryview((ct.c_uint8 * size).from_address(data.data)).cast("B")
        convert(image, layout, np.frombuffer(memory, np.uint8))
        chunk.size, chunk.flags = size, 0
        self._last_pts = capture_ns if capture_ns > self._last_pts else max(time.monotonic_ns(), self._last_pts + 1)
        for i in range(buffer.n_metas):
            meta = buffer.metas[i]
            if meta.type == spa.META_HEADER and meta.size >= ct.sizeof(pw.Header):
                header = pw.Header.from_address(meta.data)
                header.flags, header.offset, header.pts, header.dts_offset, header.seq = 0, 0, self._last_pts, 0, self.sent
        self.sent += 1

    def watched(self) -> bool:
        """Whether a reader is linked and running."""
        return self._stream is not None and self._state == pw.STATE_STREAMING

    def describe(self) -> str:
        """What to pick elsewhere."""
        size = f"{self._fmt.width_px}x{self._fmt.height_px}"
        return f"PipeWire camera '{self._name}' ({size}): pick '{self._name}' in the browser or, in OBS, as Video Capture Device (PipeWire)"

    def close(self) -> None:
        """Ends the thread, then takes the node away; safe after the service's death and when called again."""
        with self._closing:
            self._loop = self._stream = None
            self._finalizer()
        self._state = pw.STATE_UNCONNECTED
