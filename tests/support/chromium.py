"""A headless Chromium, controlled through its DevTools protocol."""

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

_SECONDS: Final = 60.0
_FLAGS: Final = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")


def chromium() -> str | None:
    """Return the program, None if it is not installed."""
    return shutil.which("chromium")


class Tab:
    """A page of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._count = 0

    async def tell(self, method: str, **parameters: object) -> Any:
        """Send a command and return its result."""
        self._count += 1
        await self._socket.send_json({"id": self._count, "method": method, "params": parameters})
        while True:
            said = await self._socket.receive_json(timeout=_SECONDS)
            if said.get("id") == self._count:
                assert "error" not in said, said
                return said["result"]

    async def look(self, expression: str) -> Any:
        """Return the value of a JavaScript *expression* in the page."""
        said = await self.tell("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until *expression* is true in the page."""
        wait = f"new Promise((done) => {{ const look = () => {expression} ? done() : setTimeout(look, 50); look(); }})"
        await self.look(wait)

    async def open(self, url: str, width: int, height: int = 800) -> None:
        """Show *url* in a window of this size in pixels."""
        phone = width < 600
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        await self.tell("Emulation.setDeviceMetricsOverride", **metrics)
        await self.tell("Page.navigate", url=url)
        # A promise would be lost together with the page that is replaced.
        async with asyncio.timeout(_SECONDS):
            while await self.look("document.readyState + location.protocol") != "completehttp:":  # noqa: ASYNC110 - Chromium sends no event
                await asyncio.sleep(0.05)


@asynccontextmanager
async def browser(folder: Path) -> AsyncGenerator[Tab]:
    """Start Chromium with its profile in *folder*, and yield its tab."""
    profile = folder / "chromium"
    process = await asyncio.create_subprocess_exec(
        chromium() or "",
        *_FLAGS,
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
    )
    try:
        port = await _port(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                [page, *_] = [entry for entry in await response.json() if entry["type"] == "page"]
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket)
                yield tab
                await tab.tell("Browser.close")  # Its child processes end before it does.
                await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _port(file: Path) -> int:
    text = ""
    async with asyncio.timeout(_SECONDS):
        while not text:
            await asyncio.sleep(0.05)
            text = await asyncio.to_thread(lambda: file.read_text() if file.exists() else "")
    return int(text.splitlines()[0])
