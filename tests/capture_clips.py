"""Small videos with numbered pictures, and a camera on the network, for the tests of the room capture."""

from __future__ import annotations

import http.server
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH_PX, HEIGHT_PX = 160, 96
BITS = 8


def numbered(number: int, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> NDArray[np.uint8]:
    """A dark picture with a red corner (top left) and `number` as eight black or white blocks along its lower half."""
    image = np.full((height_px, width_px, 3), 40, np.uint8)
    image[: height_px // 4, : width_px // 4] = (0, 0, 255)
    side = width_px // BITS
    for bit in range(BITS):
        image[height_px // 2 :, bit * side : (bit + 1) * side] = 255 if number >> bit & 1 else 0
    return image


def number_of(image: NDArray[np.uint8]) -> int:
    """The number in a picture of `numbered`, of any size, after any coding."""
    height_px, width_px = image.shape[:2]
    side = width_px // BITS
    row = image[height_px // 2 + height_px // 8 : height_px - height_px // 8, :, 1]
    return sum(int(row[:, bit * side + side // 4 : (bit + 1) * side - side // 4].mean() > 128) << bit for bit in range(BITS))


def write_clip(path: Path, count: int, fps: float = 30.0, size_px: tuple[int, int] = (WIDTH_PX, HEIGHT_PX), fourcc: str = "mp4v") -> Path:
    """A video of `count` numbered pictures."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), fps, size_px)
    assert writer.isOpened()
    for number in range(count):
        writer.write(numbered(number, *size_px))
    writer.release()
    return path


def red_corner(image: NDArray[np.uint8]) -> tuple[bool, bool]:
    """(is the red corner at the bottom, is it at the right) of a picture of `numbered` that was turned."""
    red = image[..., 2].astype(int) - image[..., 1]
    y, x = np.argwhere(red > 100).mean(0)
    return bool(y > image.shape[0] / 2), bool(x > image.shape[1] / 2)


class MjpegCamera:
    """A camera on the network as many shops sell it: MJPEG over HTTP. count: pictures after which it hangs up; stall: it falls silent instead."""

    def __init__(self, count: int = 1_000_000, stall: bool = False) -> None:
        self.count, self.stall, self.visits = count, stall, 0
        self.closing = threading.Event()
        self.sent = 0

    def serve(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.visits += 1
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        for number in range(self.count):
            jpeg = cv2.imencode(".jpg", numbered(number % 256))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
            try:
                handler.wfile.write(head + jpeg + b"\r\n")
            except OSError:
                return
            self.sent = number + 1
            if self.closing.wait(1 / 30):
                return
        if self.stall:
            self.closing.wait(60)


@contextmanager
def mjpeg_server(camera: MjpegCamera) -> Iterator[str]:
    """Serves `camera` on loopback; yields its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/text"):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"no picture here\n" * 100)
                return
            camera.serve(self)

        def log_message(self, format: str, *args: object) -> None:
            return

    class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/camera.mjpg"
    finally:
        camera.closing.set()
        server.shutdown()
        server.server_close()


def write_presenter(folder: Path, count: int = 40) -> Path:
    """A folder that the demo camera can play: 1280x720 numbered pictures and labels, row i in the numbers of picture i."""
    folder.mkdir(parents=True, exist_ok=True)
    write_clip(folder / "presenter.mp4", count, size_px=(1280, 720))
    row = np.arange(count, dtype=np.float32)
    np.savez(
        folder / "presenter.npz",
        visible=np.ones(count, bool),
        present=np.ones(count, bool),
        box_px=np.repeat(row, 4).reshape(count, 4),
        five_px=np.repeat(row, 10).reshape(count, 5, 2),
        oval_px=np.repeat(row, 72).reshape(count, 36, 2),
        yaw_pitch_roll_deg=np.zeros((count, 3)),
        gaze_deg=np.zeros((count, 2)),
        blink=np.zeros(count),
        jaw=np.zeros(count),
        light=np.zeros((count, 4)),
        fps=30.0,
    )
    return folder
