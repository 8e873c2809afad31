"""Headless Chromium, driven over its DevTools protocol (plain JSON over a WebSocket; no driver program, no Selenium)."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from desktop import Child, wait_for

T = TypeVar("T")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-quic"),
    *("--autoplay-policy=no-user-gesture-required", "--use-fake-ui-for-media-stream", "--remote-debugging-port=0"),
)
KEYS = {" ": ("Space", 32), "Enter": ("Enter", 13), "Escape": ("Escape", 27), "Tab": ("Tab", 9)}


class Chromium:
    """Context manager: one browser with a profile of its own, and one page in it."""

    def __init__(self, *flags: str, env: dict[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="livecam-chromium-"))
        command = ("chromium", *FLAGS, *flags, f"--user-data-dir={self.folder / 'profile'}", "about:blank")
        home = {"HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder), "XDG_CACHE_HOME": str(self.folder)}
        self._child = Child(command, {**(env if env is not None else os.environ), **home}, self.folder / "log")
        self._loop = asyncio.new_event_loop()
        self._session: aiohttp.ClientSession | None = None
        self.console: list[str] = []
        self._next_id = 0

    def __enter__(self) -> Chromium:
        try:
            port_file = self.folder / "profile" / "DevToolsActivePort"
            wait_for(lambda: port_file.exists() and port_file.read_text().count("\n"), 60, f"Chromium's start\n{self.log()}")
            self._do(self._connect(int(port_file.read_text().split()[0])))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def log(self) -> str:
        return self._child.text()[-3000:]

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    async def _connect(self, port: int) -> None:
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [target for target in await answer.json() if target["type"] == "page"]
        self._socket = await self._session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)
        for domain in ("Page", "Runtime", "Log"):
            await self._call(f"{domain}.enable")

    async def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._next_id += 1
        await self._socket.send_json({"id": self._next_id, "method": method, "params": params})
        async for message in self._socket:
            answer = json.loads(message.data)
            if answer.get("id") == self._next_id:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                self.console.append(json.dumps(answer["params"])[:2000])
        raise AssertionError(f"Chromium closed the connection\n{self.log()}")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One DevTools command."""
        return self._do(asyncio.wait_for(self._call(method, **params), 90))

    def go(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        wait_for(lambda: self.js("document.readyState") == "complete" and self.js("location.href") != "about:blank", 30, url)

    def js(self, expression: str) -> Any:
        """The value of an expression; a promise is awaited."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_js(self, expression: str, timeout_s: float = 15) -> None:
        wait_for(lambda: self.js(expression), timeout_s, expression)

    def key(self, key: str) -> None:
        code, number = KEYS.get(key, (f"Key{key.upper()}", ord(key.upper()[0])))
        common = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": key} if len(key) == 1 else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def click(self, selector: str) -> None:
        """A real mouse click on the middle of the first match."""
        self.js(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = f"(() => {{const r = document.querySelector({json.dumps(selector)}).getBoundingClientRect(); "
        box += "return [r.x + r.width / 2, r.y + r.height / 2]})()"
        x, y = self.js(box)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def size(self, width: int, height: int, scale: float = 1, mobile: bool = False) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile)

    def screenshot(self, path: Path, full: bool = False) -> None:
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        path.write_bytes(base64.b64decode(picture["data"]))

    def close(self) -> None:
        if self._session is not None:
            self._do(self._session.close())
            self._session = None
        self._child.end()
        if not self._loop.is_closed():
            self._loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)
