"""The page's server: aiohttp in a thread with an event loop of its own, on the loopback interface only.

Who may talk to it: requests whose Host is this server's loopback name (against DNS rebinding), whose path begins with the run's random token,
and whose Origin, where a browser sends one, is this server's; the WebSocket demands it. No cookies (they do not know ports), no CORS.
How much: connections, requests and messages a second are bounded; only GET without a body; whoever has no token waits ever longer for each refusal,
which never holds up one who has it.

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
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast
from weakref import WeakSet

from aiohttp import WSMsgType, web

from livecam._rate import Bucket
from livecam.errors import LivecamError
from livecam.output import Surface
from livecam.output._web_frames import FrameSlot
from livecam.output._web_jpeg import encode

HOST = "127.0.0.1"
SNAPSHOT_PERIOD_S = 0.2
MAX_VIEWERS = 8
MAX_MESSAGE_BYTES = 4096
MAX_VALUE = 256
MAX_CONNECTIONS = 32
"""A browser opens six for a page."""
REQUESTS_PER_S, REQUESTS_BURST = 50.0, 200.0
"""A page is four files and a portrait for each persona."""
MESSAGES_PER_S, MESSAGES_BURST = 100.0, 200.0
"""Of one page, which says "next" thirty times a second."""
COMMANDS_PER_S, COMMANDS_BURST = 10.0, 20.0
SILENT_S = 10.0
"""A connection that has asked for nothing after so long is closed, and one that asks for no more."""
REFUSAL_S, MAX_REFUSAL_S, MAX_REFUSALS_WAITING = 0.05, 2.0, 8
"""Each refusal takes so much longer than the one before, up to the second; while so many wait, further strangers are cut off at once."""
FORGIVEN_S = 10.0
"""After so long without a refusal the next one is quick again."""
TOO_MANY = "429: too many requests; wait a moment."
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
    messages: Bucket = field(default_factory=lambda: Bucket(MESSAGES_PER_S, MESSAGES_BURST))
    commands: Bucket = field(default_factory=lambda: Bucket(COMMANDS_PER_S, COMMANDS_BURST))


class _Refuser(asyncio.Protocol):
    """Takes a connection that is one too many, and ends it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()


class PageServer:
    """Serves until `stop`. All but `start`, `stop`, `new_frame` and reading `watching` happens in its thread."""

    def __init__(self, token: str, slot: FrameSlot, surface: Surface | None) -> None:
        self.port = 0
        self.watching = 0
        self.encoded = 0
        self._token, self._slot, self._surface = token, slot, surface
        self._viewers: set[Viewer] = set()
        self._requests = Bucket(REQUESTS_PER_S, REQUESTS_BURST)
        self._spoke: WeakSet[asyncio.BaseTransport] = WeakSet()
        self._refusals, self._refused_s, self._waiting, self._coming = 0, 0.0, 0, 0
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
        runner = web.AppRunner(self.application(), handle_signals=False, access_log=None, shutdown_timeout=0.5, keepalive_timeout=SILENT_S)
        await runner.setup()
        assert runner.server is not None
        try:
            listener = await self._loop.create_server(partial(self._connected, runner.server), HOST, self.port, backlog=MAX_CONNECTIONS)
        except OSError as error:
            await runner.cleanup()
            self._started.set_exception(error)
            return
        self.port = listener.sockets[0].getsockname()[1]
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
        listener.close()
        await runner.cleanup()
        if failures:
            raise failures[0]

    def _connected(self, server: web.Server) -> asyncio.Protocol:
        """What serves a new connection."""
        if len(server.connections) + self._coming >= MAX_CONNECTIONS:
            return _Refuser()
        protocol = server()
        self._coming += 1  # until the server counts it itself, two turns of the loop later
        self._loop.call_soon(self._loop.call_soon, self._has_come)
        self._loop.call_later(SILENT_S, self._end_silent, protocol)
        return protocol

    def _has_come(self) -> None:
        self._coming -= 1

    def _end_silent(self, protocol: asyncio.Protocol) -> None:
        transport: asyncio.Transport | None = getattr(protocol, "transport", None)
        if transport is not None and transport not in self._spoke:
            transport.abort()

    def application(self) -> web.Application:
        """The routes, behind the guard."""
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_MESSAGE_BYTES)
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
            return await self._refused()
        if request.transport is not None:
            self._spoke.add(request.transport)
        if request.body_exists:
            return _closing(web.Response(status=413, text="413: nothing is to be sent here."))
        if not self._requests.take():
            return _closing(web.Response(status=429, text=TOO_MANY, headers={"Retry-After": "1"}))
        return await handler(request)

    async def _refused(self) -> web.Response:
        """The answer to a stranger: each later than the one before."""
        now = time.monotonic()
        self._refusals = 1 if now - self._refused_s > FORGIVEN_S else self._refusals + 1
        self._refused_s = now
        if self._waiting >= MAX_REFUSALS_WAITING:
            return _closing(web.Response(status=429, text=TOO_MANY))
        self._waiting += 1
        try:
            await asyncio.sleep(min(REFUSAL_S * (self._refusals - 1), MAX_REFUSAL_S))
        finally:
            self._waiting -= 1
        return _closing(web.Response(status=403, text=STRANGER))

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
                if not viewer.messages.take():
                    await socket.close(code=1008, message=b"too many messages")
                    break
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
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
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
            await self._obey(viewer, do, value[:MAX_VALUE])
        else:
            await viewer.socket.send_json({"type": "refused", "why": f"nothing here does {str(do)[:40]!r} with such a value"})

    async def _obey(self, viewer: Viewer, do: str, value: str) -> None:
        if self._surface is None or not viewer.commands.take():
            await viewer.socket.send_json({"type": "refused", "why": f"more than {COMMANDS_PER_S:g} commands a second; wait a moment"})
            return
        try:
            await asyncio.to_thread(self._surface.command, do, value)
        except LivecamError as error:
            await viewer.socket.send_json({"type": "refused", "why": str(error)})
        self._tell.set()

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


def _closing(response: web.Response) -> web.Response:
    """The same, after which the connection ends."""
    response.force_close()
    return response
