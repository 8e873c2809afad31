"""A video-call page in headless Chromium takes the PipeWire camera through the desktop's camera portal, as a user's browser does."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import stamps
from browser import Chromium
from desktop import PERMISSION_STORE, PORTAL, Desktop, missing, wait_for

HERE = Path(__file__).parent
ABSENT = missing("pipewire", "wireplumber", "dbus-daemon", "pw-cli", "gdbus", "chromium", str(PORTAL), str(PERMISSION_STORE))
pytestmark = [pytest.mark.device, pytest.mark.skipif(bool(ABSENT), reason=ABSENT or "present")]

CALL = """(async () => {
  let stream, errors = [];
  for (let k = 0; k < 10 && !stream; k++) {
    try { stream = await navigator.mediaDevices.getUserMedia({video: {width: 1280, height: 720}}); }
    catch (e) { errors.push(String(e)); await new Promise(r => setTimeout(r, 1000)); }
  }
  if (!stream) return {errors};
  const labels = (await navigator.mediaDevices.enumerateDevices()).filter(d => d.kind === 'videoinput').map(d => d.label);
  const video = document.createElement('video'); video.muted = true; video.srcObject = stream; await video.play();
  const canvas = document.createElement('canvas'), draw = canvas.getContext('2d', {willReadFrequently: true});
  const numbers = []; const start = performance.now(); let patches = [];
  await new Promise(done => {
    const frame = () => {
      canvas.width = video.videoWidth; canvas.height = video.videoHeight; draw.drawImage(video, 0, 0);
      const row = draw.getImageData(0, 8, 512, 1).data; let bits = '';
      for (let i = 0; i < 32; i++) bits += row[4 * (i * 16 + 8) + 1] > 128 ? '1' : '0';
      numbers.push(parseInt(bits, 2));
      if (performance.now() - start < 4000) return video.requestVideoFrameCallback(frame);
      for (let i = 0; i < 4; i++)
        patches.push(Array.from(draw.getImageData((2 * i + 1) * canvas.width / 8, canvas.height * 3 / 4, 1, 1).data).slice(0, 3));
      done();
    };
    video.requestVideoFrameCallback(frame); setTimeout(done, 20000);
  });
  const seconds = (performance.now() - start) / 1000; stream.getTracks().forEach(t => t.stop());
  return {errors, labels, numbers, patches, seconds, width: canvas.width, height: canvas.height};
})()"""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[str]:
    """Address of an empty page; a camera is given only to pages that have an origin."""
    (tmp_path / "index.html").write_text("<!doctype html><title>call</title>")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_call_in_the_browser_sees_the_camera(page: str) -> None:
    with Desktop(portal=True) as desktop:
        desktop.env["PYTHONPATH"] = str(HERE.parent.parent)
        camera = desktop.start(sys.executable, str(HERE / "pw_writer.py"), "1280", "720", "30", "120")
        wait_for(lambda: "PipeWire camera" in camera.text(), 20, "the camera")
        desktop.start_portal_service()
        with Chromium("--enable-features=WebRtcPipeWireCamera", env=desktop.env) as chromium:
            chromium.go(page)
            got = chromium.js(CALL)
    assert "labels" in got, got
    assert got["labels"] == ["livecam"]
    assert (got["width"], got["height"]) == (1280, 720)
    numbers = got["numbers"]
    assert len(numbers) >= 10 * got["seconds"], (len(numbers), got["seconds"])
    assert all(b >= a for a, b in itertools.pairwise(numbers)), numbers
    assert len(set(numbers)) >= 8 * got["seconds"]
    for seen, bgr in zip(got["patches"], stamps.PATCHES_BGR, strict=True):
        assert max(abs(a - b) for a, b in zip(seen, reversed(bgr), strict=True)) <= 6, (got["patches"], stamps.PATCHES_BGR)
