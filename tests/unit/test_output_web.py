"""The output `web`: who may talk to it, what it sends, and that nobody can hold up `send`. Real sockets on the loopback interface, no browser."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import cv2
import numpy as np
import pytest

from livecam.config import OutputConfig
from livecam.errors import OutputError, OutputLostError, UsageError
from livecam.output import _web_jpeg, _web_server, web
from livecam.output._web_frames import FrameSlot, Pace
from livecam.output._web_server import COMMANDS_BURST, MAX_CONNECTIONS, MAX_REFUSALS_WAITING, MAX_VIEWERS, REFUSAL_S, REQUESTS_BURST
from livecam.output.web import WebOutput
from livecam.types import U8, State, VideoFormat

FMT = VideoFormat(320, 180, 30.0)


class Surface:
    def __init__(self) -> None:
        self.commands: list[tuple[str, str]] = []

    def command(self, name: str, value: str = "") -> None:
        self.commands.append((name, value))

    def snapshot(self) -> dict[str, Any]:
        return {"state": "LIVE", "covered": ("cover", "on") in self.commands, "fps": 30.0, "personas": []}

    def portrait_jpeg(self, persona_id: str) -> bytes | None:
        return b"\xff\xd8jpeg" if persona_id == "ada" else None


@pytest.fixture
def surface() -> Surface:
    return Surface()


@pytest.fixture
def page(surface: Surface) -> Iterator[WebOutput]:
    with web.open("", FMT, OutputConfig(), surface) as it:
        yield it


def picture(shade: int, width: int = 320, height: int = 180) -> U8:
    return np.full((height, width, 3), (shade, 255 - shade, 40), np.uint8)


def origin(page: WebOutput) -> str:
    return page.url.rsplit("/", 2)[0]


def talk(work: Callable[[aiohttp.ClientSession], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with aiohttp.ClientSession() as session:
            return await asyncio.wait_for(work(session), 30)

    return asyncio.run(run())


def get(url: str, **headers: str) -> tuple[int, aiohttp.typedefs.LooseHeaders, bytes]:
    async def work(session: aiohttp.ClientSession) -> tuple[int, Any, bytes]:
        async with session.get(url, headers={k.replace("_", "-"): v for k, v in headers.items()}) as answer:
            return answer.status, answer.headers.copy(), await answer.read()

    return talk(work)


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)


class Feeder:
    """Sends frames until the block ends, as the guard's loop does."""

    def __init__(self, page: WebOutput, size: tuple[int, int] = (320, 180), state: State = State.LIVE) -> None:
        self.page, self.size, self.state, self.sent = page, size, state, 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Feeder:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.01):
            image = picture(self.sent % 200 + 20, *self.size)
            self.page.send(image, time.monotonic_ns(), self.state)
            self.sent += 1


async def next_picture(ws: aiohttp.ClientWebSocketResponse) -> tuple[int, State, U8]:
    while True:
        message = await ws.receive(20)
        assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), message
        if message.type is aiohttp.WSMsgType.BINARY:
            seq, state = struct.unpack_from("<IB3x", message.data)
            image = cv2.imdecode(np.frombuffer(message.data, np.uint8, offset=8), cv2.IMREAD_COLOR)
            return seq, State(state), np.asarray(image, np.uint8)


async def next_text(ws: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    while True:
        message = await ws.receive(20)
        assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), message
        if message.type is aiohttp.WSMsgType.TEXT and (said := json.loads(message.data))["type"] == kind:
            return said


# ---------- who may talk to it ----------


def test_the_page_and_its_files(page: WebOutput) -> None:
    for name, kind in (("", "text/html"), ("page.css", "text/css"), ("page.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        status, headers, body = get(page.url + name)
        assert (status, headers["Content-Type"].split(";")[0]) == (200, kind)
        assert body
        assert "Access-Control-Allow-Origin" not in headers
        assert "Set-Cookie" not in headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "http:" not in policy
    assert get(page.url + "secrets.toml")[0] == 404


def test_the_page_needs_nothing_from_outside(page: WebOutput) -> None:
    for name in ("", "page.css", "page.js"):
        text = get(page.url + name)[2].decode().replace("http://www.w3.org/2000/svg", "")
        assert "//cdn" not in text
        assert "http://" not in text
        assert "https://" not in text
        assert "style=" not in text or name == "page.js", "inline styles are against the page's own policy"


def test_the_token_is_needed_and_random(page: WebOutput, surface: Surface) -> None:
    base = origin(page)
    for url in (base + "/", base + "/page.js", base + "/" + "x" * 24 + "/", page.url[:-2] + "/", base + "/x/portrait/ada", base + "/x/socket"):
        status, _, body = get(url)
        assert status in (403, 404), url
        assert b"<html" not in body
    with web.open("", FMT, OutputConfig(), surface) as other:
        assert other.url.rsplit("/", 2)[1] != page.url.rsplit("/", 2)[1]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", ""])
def test_a_foreign_host_is_refused(page: WebOutput, host: str) -> None:
    port = origin(page).rsplit(":", 1)[1]
    assert get(page.url, Host=host.format(port=port))[0] == 403
    assert get(page.url, Host=f"localhost:{port}")[0] == 200


def test_a_foreign_origin_is_refused(page: WebOutput) -> None:
    for foreign in ("http://evil.example", "null", origin(page).replace("127.0.0.1", "localhost"), origin(page) + "0", "https" + origin(page)[4:]):
        assert get(page.url, Origin=foreign)[0] == 403, foreign
    assert get(page.url, Origin=origin(page))[0] == 200
    assert get(page.url + "page.js", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0] == 403
    assert get(page.url, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://evil.example"}, {"Origin": "null"}])
def test_the_socket_demands_the_own_origin(page: WebOutput, headers: dict[str, str]) -> None:
    async def work(session: aiohttp.ClientSession) -> int:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await session.ws_connect(page.url + "socket", headers=headers)
        return refusal.value.status

    assert talk(work) == 403
    assert not page.watched()


def test_only_this_machine_can_connect(page: WebOutput) -> None:
    port = int(origin(page).rsplit(":", 1)[1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; shows this machine's own address
            outer = probe.getsockname()[0]
        except OSError:
            pytest.skip("this machine has no other network address")
    with socket.socket() as other, pytest.raises(OSError):
        other.settimeout(5)
        other.connect((outer, port))


def test_portraits(page: WebOutput) -> None:
    status, headers, body = get(page.url + "portrait/ada")
    assert (status, headers["Content-Type"], body) == (200, "image/jpeg", b"\xff\xd8jpeg")
    for unknown in ("bob", "..%2F..%2Fpyproject.toml", "%00"):
        assert get(page.url + "portrait/" + unknown)[0] == 404


# ---------- pictures ----------


def test_pictures_arrive_newest_first_and_only_on_request(page: WebOutput) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(page.url + "socket", origin=origin(page)) as ws:
            first, state, image = await next_picture(ws)
            assert state is State.LIVE
            assert image.shape == (180, 320, 3)
            assert abs(int(image[90, 160, 0]) + int(image[90, 160, 1]) - 255) <= 6
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(next_picture(ws), 0.4)
            await ws.send_json({"do": "next"})
            second, _, _ = await next_picture(ws)
            assert second > first + 3, "an old picture waited in a queue"

    assert not page.watched()
    with Feeder(page):
        talk(work)
    until(lambda: not page.watched(), "the viewer has gone")


def test_nobody_looks_nothing_is_copied_or_encoded(page: WebOutput) -> None:
    for n in range(50):
        page.send(picture(n), time.monotonic_ns(), State.LIVE)
    assert page._slot.take() is None
    assert page._server.encoded == 0


def test_one_encoding_serves_all_viewers(page: WebOutput) -> None:
    async def work(session: aiohttp.ClientSession) -> list[set[int]]:
        sockets = [await session.ws_connect(page.url + "socket", origin=origin(page)) for _ in range(3)]

        async def watch(ws: aiohttp.ClientWebSocketResponse) -> set[int]:
            seen: set[int] = set()
            for _ in range(8):
                seen.add((await next_picture(ws))[0])
                await ws.send_json({"do": "next"})
            return seen

        seen = await asyncio.gather(*map(watch, sockets))
        for ws in sockets:
            await ws.close()
        return list(seen)

    with Feeder(page):
        seen = talk(work)
    assert all(len(one) == 8 for one in seen)
    assert page._server.encoded <= len(set.union(*seen)) + 2


def test_a_slow_viewer_gets_one_picture_while_a_quick_one_gets_many(page: WebOutput) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        slow = await session.ws_connect(page.url + "socket", origin=origin(page))
        quick = await session.ws_connect(page.url + "socket", origin=origin(page))
        await next_picture(slow)
        for _ in range(8):
            newest = (await next_picture(quick))[0]
            await quick.send_json({"do": "next"})
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(next_picture(slow), 0.4)
        await slow.close()
        slow = await session.ws_connect(page.url + "socket", origin=origin(page))
        assert (await next_picture(slow))[0] >= newest
        await slow.close()
        await quick.close()

    with Feeder(page):
        talk(work)


def test_a_viewer_that_reads_nothing_does_not_hold_up_send_or_others(page: WebOutput) -> None:
    """A raw socket that shakes hands and never reads, asking for picture after picture; the kernel's buffers fill up."""
    host, port = "127.0.0.1", int(origin(page).rsplit(":", 1)[1])
    path = page.url[len(origin(page)) :]
    request = (
        f"GET {path}socket HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {origin(page)}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    ask = json.dumps({"do": "next"}).encode()
    frame = bytes([0x81, 0x80 | len(ask), 0, 0, 0, 0]) + ask

    async def work(session: aiohttp.ClientSession) -> int:
        async with session.ws_connect(page.url + "socket", origin=origin(page)) as ws:
            seen = 0
            end = time.monotonic() + 2
            while time.monotonic() < end:
                stalled.send(frame)
                await next_picture(ws)
                await ws.send_json({"do": "next"})
                seen += 1
            return seen

    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect((host, port))
        stalled.sendall(request.encode())
        until(page.watched, "the silent viewer is connected")
        with Feeder(page) as feeder:
            assert talk(work) >= 10
            sent = feeder.sent
            until(lambda: feeder.sent > sent + 5, "send goes on")


def test_wide_pictures_are_scaled_down_and_a_new_size_is_taken(page: WebOutput) -> None:
    async def work(session: aiohttp.ClientSession) -> tuple[int, ...]:
        async with session.ws_connect(page.url + "socket", origin=origin(page)) as ws:
            return (await next_picture(ws))[2].shape

    with Feeder(page, (1920, 1080)):
        assert talk(work) == (720, 1280, 3)
    until(lambda: not page.watched(), "gone")
    with Feeder(page, (200, 300)):
        assert talk(work) == (300, 200, 3)


def test_unmasked_pictures_are_never_shown(page: WebOutput) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(page.url + "socket", origin=origin(page)) as ws:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(next_picture(ws), 0.6)

    with Feeder(page, state=State.REVEAL):
        talk(work)
    assert page._server.encoded == 0


def test_a_hidden_page_is_no_viewer_and_a_new_one_sees_the_present(page: WebOutput) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(page.url + "socket", origin=origin(page)) as ws:
            with Feeder(page):
                before, _, _ = await next_picture(ws)
                await ws.send_json({"do": "next"})
                await ws.send_json({"do": "show", "value": False})
                await asyncio.to_thread(until, lambda: not page.watched(), "hidden")
            page.send(picture(0), 0, State.LIVE)
            await ws.send_json({"do": "show", "value": True})
            await asyncio.to_thread(until, page.watched, "seen again")
            with Feeder(page, state=State.COVER):
                while True:
                    seq, state, _ = await next_picture(ws)
                    await ws.send_json({"do": "next"})
                    if state is State.COVER:
                        break
            assert seq > before

    talk(work)


# ---------- figures and commands ----------


def test_snapshots_come_by_themselves(page: WebOutput) -> None:
    async def work(session: aiohttp.ClientSession) -> int:
        async with session.ws_connect(page.url + "socket", origin=origin(page)) as ws:
            for _ in range(4):
                said = await next_text(ws, "snapshot")
            assert said["fps"] == 30.0
            return 1

    assert talk(work)


def test_commands_reach_the_surface_and_are_answered_at_once(page: WebOutput, surface: Surface) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(page.url + "socket", origin=origin(page)) as ws:
            await next_text(ws, "snapshot")
            await ws.send_json({"do": "cover", "value": "on"})
            while not (await next_text(ws, "snapshot"))["covered"]:
                pass
            await ws.send_json({"do": "persona", "value": "next"})
            await ws.send_json({"do": "quit"})
            await asyncio.to_thread(until, lambda: len(surface.commands) == 3, "three commands")

    talk(work)
    assert surface.commands == [("cover", "on"), ("persona", "next"), ("quit", "")]


@pytest.mark.parametrize(
    "message",
    ["", "nonsense", "[]", "3", "null", '{"value": "on"}', '{"do": "reveal", "value": "on"}', '{"do": "cover", "value": 3}', '{"do": {}}'],
)
def test_other_messages_are_refused_and_harm_nothing(page: WebOutput, surface: Surface, message: str) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(page.url + "socket", origin=origin(page)) as ws:
            await ws.send_str(message)
            assert (await next_text(ws, "refused"))["why"]
            await ws.send_bytes(b"\0" * 100)
            await next_text(ws, "snapshot")

    talk(work)
    assert surface.commands == []


def test_too_many_pages(page: WebOutput) -> None:
    async def work(session: aiohttp.ClientSession) -> int:
        sockets = [await session.ws_connect(page.url + "socket", origin=origin(page)) for _ in range(MAX_VIEWERS)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await session.ws_connect(page.url + "socket", origin=origin(page))
        for ws in sockets:
            await ws.close()
        return refusal.value.status

    assert talk(work) == 503


# ---------- opening and closing ----------


def test_a_taken_port_is_said(page: WebOutput) -> None:
    port = origin(page).rsplit(":", 1)[1]
    with pytest.raises(OutputError, match=rf"port {port} of 127\.0\.0\.1.*0 for a free one"):
        web.open(port, FMT, OutputConfig(), None)


@pytest.mark.parametrize("target", ["http", "-1", "70000", "1.5", "٣"])
def test_a_target_that_is_no_port(target: str) -> None:
    with pytest.raises(UsageError, match="port from 0 to 65535"):
        web.open(target, FMT, OutputConfig(), None)


def test_close_says_goodbye_and_gives_the_port_back(surface: Surface) -> None:
    page = web.open("", FMT, OutputConfig(), surface)
    assert page.url in page.describe()

    async def work(session: aiohttp.ClientSession) -> int | None:
        ws = await session.ws_connect(page.url + "socket", origin=origin(page))
        closing = asyncio.create_task(asyncio.to_thread(page.close))
        while not (await ws.receive(20)).type.name.startswith("CLOS"):
            pass
        await closing
        return ws.close_code

    assert talk(work) == 1001
    page.close()
    assert not page.watched()
    with pytest.raises(OutputLostError):
        page.send(picture(1), 0, State.LIVE)
    again = web.open(origin(page).rsplit(":", 1)[1], FMT, OutputConfig(), None)
    again.close()


def test_devices_lists_the_page_and_the_static_folder_is_no_output() -> None:
    from livecam import registry

    assert [d.spec for d in web.devices()] == ["web"]
    assert "web" in registry.names("output")
    assert "web_page" not in registry.names("output")


# ---------- parts ----------


@pytest.mark.parametrize(("fps", "least", "most"), [(24, 24, 24), (30, 29, 30), (50, 24, 31), (60, 29, 31), (120, 29, 31)])
def test_pace_lets_30_a_second_through(fps: int, least: int, most: int) -> None:
    jitter = np.random.default_rng(1).uniform(-0.1, 0.1, fps * 10) / fps
    pace = Pace()
    admitted = sum(pace.admits(100 + n / fps + jitter[n], State.LIVE) for n in range(fps * 10))
    assert least * 10 - 2 <= admitted <= most * 10 + 2


def test_pace_lets_a_change_of_state_through_at_once() -> None:
    pace = Pace()
    assert pace.admits(1.0, State.LIVE)
    assert not pace.admits(1.001, State.LIVE)
    assert pace.admits(1.002, State.COVER)


def test_the_slot_keeps_the_newest_and_never_hands_out_what_is_written() -> None:
    slot = FrameSlot()
    slot.put(picture(1), State.LIVE)
    slot.put(picture(2), State.COVER)
    taken = slot.take()
    assert taken is not None
    assert (taken.seq, taken.state, taken.image[0, 0, 0], slot.replaced) == (2, State.COVER, 2, 1)
    assert slot.take() is None
    for shade in range(3, 9):
        slot.put(picture(shade), State.LIVE)
        assert taken.image[0, 0, 0] == 2
    assert (slot.take() or taken).image[0, 0, 0] == 8


@pytest.mark.parametrize(
    ("width", "height", "shape"), [(1280, 720, (720, 1280)), (1282, 2, (2, 1280)), (3840, 2160, (720, 1280)), (9000, 1, (1, 1280))]
)
def test_wide_pictures_keep_their_shape_and_colour(width: int, height: int, shape: tuple[int, int]) -> None:
    fitted = _web_jpeg._fit(picture(90, width, height))
    assert fitted.shape == (*shape, 3)
    assert (fitted == picture(90, shape[1], shape[0])).all()


def test_the_jpeg_agrees_with_the_picture() -> None:
    y, x = np.mgrid[0:360, 0:640]
    image = np.dstack((x / 640 * 255, y / 360 * 255, (x + y) / 1000 * 255)).astype(np.uint8)
    back = cv2.imdecode(np.frombuffer(_web_jpeg.encode(image), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(back.astype(int) - image).max() <= 12


# ---------- how much ----------


def test_strangers_wait_ever_longer_and_whoever_has_the_token_does_not(page: WebOutput) -> None:
    async def work(session: aiohttp.ClientSession) -> tuple[list[int], int]:
        async def status(url: str) -> int:
            async with session.get(url) as answer:
                return answer.status

        strangers = [asyncio.create_task(status(origin(page) + f"/{n:024}/")) for n in range(3 * MAX_REFUSALS_WAITING)]
        await asyncio.sleep(0.05)
        own = await status(page.url)
        return await asyncio.gather(*strangers), own

    refused, own = talk(work)
    assert own == 200
    assert refused.count(403) >= MAX_REFUSALS_WAITING and refused.count(429) >= 1 and set(refused) == {403, 429}
    begin = time.monotonic()
    assert get(origin(page) + "/" + "x" * 24 + "/")[0] == 403
    assert time.monotonic() - begin >= REFUSAL_S * 3 * MAX_REFUSALS_WAITING * 0.9, "tokens are not to be tried fast"


def test_requests_are_bounded(page: WebOutput) -> None:
    async def work(session: aiohttp.ClientSession) -> list[int]:
        found = []
        for _ in range(int(REQUESTS_BURST) + 200):
            async with session.get(page.url + "icon.svg") as answer:
                found.append(answer.status)
        return found

    found = talk(work)
    assert found[: int(REQUESTS_BURST)] == [200] * int(REQUESTS_BURST) and 429 in found


def test_nothing_can_be_sent_up(page: WebOutput) -> None:
    async def work(session: aiohttp.ClientSession) -> list[int]:
        found = []
        for method, body in (("GET", b"x" * 100), ("GET", b"x" * 3_000_000), ("POST", b"x"), ("PUT", b""), ("DELETE", None)):
            async with session.request(method, page.url, data=body) as answer:
                found.append(answer.status)
        return found

    assert talk(work) == [413, 413, 403, 403, 403]


def test_connections_are_bounded_and_silent_ones_ended(page: WebOutput, monkeypatch: pytest.MonkeyPatch) -> None:
    host, port = origin(page).removeprefix("http://").split(":")
    held = [socket.create_connection((host, int(port)), 5) for _ in range(MAX_CONNECTIONS + 8)]
    try:
        ended = 0
        for connection in held:
            connection.settimeout(0.2)
            try:
                ended += connection.recv(1) == b""
            except ConnectionResetError:
                ended += 1
            except TimeoutError:
                continue
        assert ended == 8
    finally:
        for connection in held:
            connection.close()
    until(lambda: get(page.url)[0] == 200, "the page is there again")
    monkeypatch.setattr(_web_server, "SILENT_S", 0.2)
    with socket.create_connection((host, int(port)), 5) as silent, contextlib.suppress(ConnectionResetError):
        assert silent.recv(1) == b""


def test_floods_of_messages_are_cut_off_and_commands_bounded(page: WebOutput, surface: Surface) -> None:
    async def work(session: aiohttp.ClientSession) -> int | None:
        async with session.ws_connect(page.url + "socket", origin=origin(page)) as ws:
            for _ in range(60):
                await ws.send_json({"do": "cover"})
            assert "commands a second" in (await next_text(ws, "refused"))["why"]
            with contextlib.suppress(ConnectionError):
                for _ in range(2000):
                    await ws.send_json({"do": "next"})
            while not ws.closed:
                await ws.receive(20)
            return ws.close_code

    assert talk(work) == 1008
    assert COMMANDS_BURST <= len(surface.commands) <= COMMANDS_BURST + 20


def test_a_command_that_the_run_refuses_is_told_and_the_page_goes_on(page: WebOutput, surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, value: str = "") -> None:
        raise UsageError("persona 'x' is unknown")

    async def work(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(page.url + "socket", origin=origin(page)) as ws:
            monkeypatch.setattr(surface, "command", refuse)
            for text in ('{"do": "persona", "value": "x"}', '{"do": "persona", "value": "x"}'):
                await ws.send_str(text)
                assert "is unknown" in (await next_text(ws, "refused"))["why"]
            await ws.send_str("[" * 4000)
            assert "expected a JSON object" in (await next_text(ws, "refused"))["why"]

    talk(work)
