"""The page's server: aiohttp in a thread with an event loop of its own, on the loopback interface only.

Who may talk to it: requests whose Host is this server's loopback name (against DNS rebinding), whose path begins with the run's random token,
and whose Origin, where a browser sends one, is this server's; the WebSocket demands it. No cookies (they do not know ports), no CORS.

WebSocket, server to page: binary = little-endian uint32 sequence, uint8 `State`, three zero bytes, JPEG; text = JSON with
"type" "snapshot" (of the `Surface`) or "refused".
Page to server: JSON {"do": "next"} (drawn, send the newest), {"do": "show", "value": bool} (whether the page is to be seen),
{"do": "cover" | "persona" | "quit", "value": str} (see `Surface.command`).
A viewer has one picture on its way at most, so a slow one gets fewer pictures and never old ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import struct
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import WSMsgType, web

from livecam.output import Surface
from livecam.output._web_frames import FrameSlot
from livecam.output._web_jpeg import encode

HOST = "127.0.0.1"
SNAPSHOT_PERIOD_S = 0.2
MAX_VIEWERS = 8
MAX_MESSAGE_BYTES = 4096
COMMANDS = ("cover", "persona", "quit")
HEADER = struct.Struct("<IB3x")
PAGE = Path(__file__).parent / "web_page"
FILES = {
    "": ("index.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
STRANGER = "403: this page opens only with the whole link that livecam shows in the terminal (it changes with every run)."

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(eq=False, slots=True)
class Viewer:
    """One open page. shown: it is to be seen; ready: it has drawn what it got; seq: the last picture sent."""

    socket: web.WebSocketResponse
    shown: bool = True
    ready: bool = True
    seq: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class PageServer:
    """Serves until `stop`. All but `start`, `stop`, `new_frame` and reading `watching` happens in its thread."""

    def __init__(self, token: str, slot: FrameSlot, surface: Surface | None) -> None:
        self.port = 0
        self.watching = 0
        self.encoded = 0
        self._token, self._slot, self._surface = token, slot, surface
        self._viewers: set[Viewer] = set()
        self._latest: tuple[int, bytes] = (0, b"")
        self._files = {name: ((PAGE / file).read_bytes(), kind) for name, (file, kind) in FILES.items()}
        self._encoder = ThreadPoolExecutor(1, "livecam-jpeg")
        self._loop = asyncio.new_event_loop()
        self._frame, self._stop, self._tell = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="livecam-web", daemon=True)
        self._started: Future[int] = Future()

    def start(self, port: int) -> None:
        """Binds (0: a free port) and serves. Raises OSError when the port cannot be had."""
        self.port = port
        self._thread.start()
        self.port = self._started.result()

    def alive(self) -> bool:
        """Whether it serves."""
        return self._thread.is_alive()

    def new_frame(self) -> None:
        """Something is in the slot."""
        self._from_outside(self._frame)

    def stop(self) -> None:
        """Tells the pages goodbye and ends within about a second."""
        self._from_outside(self._stop)
        if self._thread.is_alive():
            self._thread.join(3.0)
        self._encoder.shutdown(wait=False, cancel_futures=True)

    def _from_outside(self, event: asyncio.Event) -> None:
        if not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # closed between the question and the call
                return

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        runner = web.AppRunner(self.application(), handle_signals=False, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            site = web.TCPSite(runner, HOST, self.port)
            await site.start()
        except OSError as error:
            await runner.cleanup()
            self._started.set_exception(error)
            return
        self.port = runner.addresses[0][1]
        tasks = [asyncio.create_task(self._encode()), asyncio.create_task(self._report())]
        self._started.set_result(self.port)
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait([*tasks, stop], return_when=asyncio.FIRST_COMPLETED)
        failures = [error for task in tasks if task.done() and (error := task.exception())]
        for task in (*tasks, stop):
            task.cancel()
        await asyncio.wait([*tasks, stop])
        for viewer in tuple(self._viewers):
            await asyncio.wait([asyncio.create_task(viewer.socket.close(code=1001, message=b"livecam has ended"))], timeout=0.3)
        await runner.cleanup()
        if failures:
            raise failures[0]

    def application(self) -> web.Application:
        """The routes, behind the guard."""
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(self._headers)
        app.router.add_get("/{token}/socket", self._socket)
        app.router.add_get("/{token}/portrait/{persona}", self._portrait)
        app.router.add_get("/{token}/{file:[a-z.]*}", self._file)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        own = {f"{HOST}:{self.port}", f"localhost:{self.port}"}
        hosts, origins = request.headers.getall("Host", []), request.headers.getall("Origin", [])
        token = request.match_info.get("token", "")
        local = len(hosts) == 1 and hosts[0] in own
        known = hmac.compare_digest(token.encode(), self._token.encode())
        same = all(origin == f"http://{hosts[0]}" for origin in origins) if local else False
        site = request.headers.get("Sec-Fetch-Site", "none")
        inside = site in ("none", "same-origin") or request.headers.get("Sec-Fetch-Mode") == "navigate"
        if not (local and known and same and inside):
            return web.Response(status=403, text=STRANGER)
        return await handler(request)

    async def _headers(self, request: web.Request, response: web.StreamResponse) -> None:
        sockets = f"ws://{HOST}:{self.port} ws://localhost:{self.port}"
        response.headers.update(
            {
                "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
                f"connect-src 'self' {sockets}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                "Cross-Origin-Opener-Policy": "same-origin",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Permissions-Policy": "camera=(), microphone=(), geolocation=(), display-capture=()",
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
                "Cache-Control": "no-store",
            }
        )

    async def _file(self, request: web.Request) -> web.Response:
        found = self._files.get(request.match_info["file"])
        if found is None:
            raise web.HTTPNotFound
        return web.Response(body=found[0], content_type=found[1], charset="utf-8")

    async def _portrait(self, request: web.Request) -> web.Response:
        persona = request.match_info["persona"]
        jpeg = await asyncio.to_thread(self._surface.portrait_jpeg, persona) if self._surface else None
        if jpeg is None:
            raise web.HTTPNotFound
        return web.Response(body=jpeg, content_type="image/jpeg")

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if "Origin" not in request.headers:
            return web.Response(status=403, text=STRANGER)
        if len(self._viewers) >= MAX_VIEWERS:
            return web.Response(status=503, text=f"503: {MAX_VIEWERS} pages are open already; close one.")
        socket = web.WebSocketResponse(compress=False, heartbeat=10.0, max_msg_size=MAX_MESSAGE_BYTES)
        await socket.prepare(request)
        viewer = Viewer(socket)
        self._viewers.add(viewer)
        self._count()
        sender = asyncio.create_task(self._pictures(viewer))
        self._tell.set()
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._heard(viewer, message.data)
        finally:
            sender.cancel()
            self._viewers.discard(viewer)
            self._count()
        return socket

    def _count(self) -> None:
        self.watching = sum(viewer.shown for viewer in self._viewers)
        if not self.watching:  # whoever comes next is to see the present
            self._latest = (self._latest[0], b"")
            self._slot.clear()

    async def _heard(self, viewer: Viewer, text: str) -> None:
        try:
            said = json.loads(text)
            do, value = said["do"], said.get("value", "")
        except (ValueError, TypeError, KeyError, AttributeError):
            await viewer.socket.send_json({"type": "refused", "why": "expected a JSON object with \"do\""})
            return
        if do == "next":
            viewer.ready = True
            viewer.wake.set()
            self._frame.set()
        elif do == "show" and isinstance(value, bool):
            viewer.shown = value
            self._count()
            self._frame.set()
        elif do in COMMANDS and isinstance(value, str) and self._surface is not None:
            await asyncio.to_thread(self._surface.command, do, value)
            self._tell.set()
        else:
            await viewer.socket.send_json({"type": "refused", "why": f"nothing here does {str(do)[:40]!r} with such a value"})

    async def _encode(self) -> None:
        """Encodes the newest frame once for all, whenever somebody waits for one."""
        while True:
            await self._frame.wait()
            self._frame.clear()
            if not any(viewer.ready and viewer.shown for viewer in self._viewers):
                continue
            taken = self._slot.take()
            if taken is None:
                continue
            jpeg = await self._loop.run_in_executor(self._encoder, encode, taken.image)
            self.encoded += 1
            self._latest = (taken.seq, HEADER.pack(taken.seq & 0xFFFFFFFF, taken.state) + jpeg)
            for viewer in self._viewers:
                viewer.wake.set()

    async def _pictures(self, viewer: Viewer) -> None:
        """Sends one viewer the newest picture each time it is ready."""
        while not viewer.socket.closed:
            await viewer.wake.wait()
            viewer.wake.clear()
            seq, message = self._latest
            if message and seq > viewer.seq and viewer.ready and viewer.shown:
                viewer.ready, viewer.seq = False, seq
                try:
                    await viewer.socket.send_bytes(message)
                except ConnectionError:
                    return

    async def _report(self) -> None:
        """Sends the snapshot to all, five times a second and after every command."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._tell.wait(), SNAPSHOT_PERIOD_S)
            self._tell.clear()
            if self._viewers and self._surface is not None:
                text = json.dumps({"type": "snapshot", **await asyncio.to_thread(self._surface.snapshot)}, default=str)
                await asyncio.gather(*(self._send_text(viewer, text) for viewer in tuple(self._viewers)))

    async def _send_text(self, viewer: Viewer, text: str) -> None:
        """A viewer whose connection does not take the text in a moment misses it."""
        try:
            await asyncio.wait_for(viewer.socket.send_str(text), SNAPSHOT_PERIOD_S)
        except (TimeoutError, ConnectionError):
            return
