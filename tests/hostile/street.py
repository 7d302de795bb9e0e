"""The stage of hostile behaviours: a source, a target and another server, with the command line between them."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from image_syncer.cli.main import main
from image_syncer.testing import FakeRegistry, Image, Request
from image_syncer.testing.threads import open_in_thread
from support.tunnels import relay

SOURCE, TARGET, ELSEWHERE = "source.example", "target.example", "elsewhere.example"
LOGIN: Final = ("robot", "a-password-for-this-host-only")

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Reply = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run: its exit code, the one image of its report, and all its output."""

    code: int
    image: Mapping[str, Any]
    written: str


@dataclass
class Street:
    """A *source* with images, an empty *target*, and a server *elsewhere*; all on this machine.

    With a *tunnel* they have names (`source.example`) and public addresses from the client's point of view: it reaches
    them through a proxy, which logs requested names in *asked*.
    """

    folder: Path
    source: FakeRegistry
    target: FakeRegistry
    elsewhere: FakeRegistry
    opened: ExitStack
    tunnel: "Tunnel | None" = None
    login: tuple[str, str] | None = None
    tag: str = "v1"
    source_host: str = ""
    arguments: list[str] = field(default_factory=list[str])

    def address(self, registry: FakeRegistry) -> str:
        """Return the client's name for *registry*."""
        if self.tunnel is None:
            return registry.host
        named = {id(self.source): SOURCE, id(self.target): TARGET, id(self.elsewhere): ELSEWHERE}
        return named[id(registry)]

    def url(self, registry: FakeRegistry) -> str:
        """Return the same with its scheme."""
        return f"{'http' if self.tunnel is None else 'https'}://{self.address(registry)}"

    def load(self, image: Image) -> Image:
        """Load *image* into the source under the tag that is copied."""
        self.source.load("app", image, self.tag)
        return image

    def answer(self, registry: FakeRegistry, reply: Reply, **which: str) -> None:
        """Let *reply* handle requests to *registry* of a method and a kind; None from it passes the request on."""

        async def intercept(request: web.Request) -> web.StreamResponse | None:
            asked = Request(request.method, request.path)
            fits = which.get("method") in {None, asked.method} and which.get("kind") in {None, asked.kind}
            return await reply(request) if fits else None

        registry.intercept.append(intercept)

    def run(self) -> Outcome:
        """Copy the one tag with the command line, in this process."""
        source = self.source_host or self.address(self.source)
        rules = self.folder / "images.json"
        rules.write_text(
            json.dumps({f"{source}/app{f':{self.tag}' if self.tag else ''}": f"{self.address(self.target)}/copy"})
        )
        auth = self.folder / "auth.json"
        user, password = self.login or ("", "")
        entry = {"username": user, "password": password} if user else {}
        auth.write_text(json.dumps({source: entry, self.address(self.target): entry}))
        report, log = self.folder / "report.json", self.folder / "log"
        files = ["--auth", str(auth), "--images", str(rules), "--report", str(report), "--log", str(log)]
        code = main(["sync", *files, "--debug", "--retries", "0", "--state", "none", *self.arguments])
        written = report.read_text() + log.read_text()
        return Outcome(code, json.loads(report.read_text())["images"][0], written)


class Tunnel:
    """An HTTP proxy that connects known names to ports of this machine, and refuses all others."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._ports = dict(ports)
        self.asked: list[str] = []
        self.port = 0

    @classmethod
    def in_thread(cls, ports: Mapping[str, int]) -> "AbstractContextManager[Tunnel]":
        """Return a tunnel for a plain `with` statement."""
        return open_in_thread(cls(ports).served())

    @asynccontextmanager
    async def served(self) -> AsyncGenerator["Tunnel"]:
        """Serve within the context."""
        async with serving(self._talk) as self.port:
            yield self

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked = head.split(b" ")[1].decode()
        self.asked.append(asked)
        port = self._ports.get(asked.rpartition(":")[0])
        if port is None:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await relay(reader, writer, inner_reader, inner_writer)


@asynccontextmanager
async def serving(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncGenerator[int]:
    """Run *talk* with every connection to a port of this machine; yields the port."""
    connections: set[asyncio.Task[None] | None] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())
        try:
            await talk(reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # The client hangs up, as most clients here have reason to.
        finally:
            connections.discard(asyncio.current_task())
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in connections:
            if task is not None:
                task.cancel()
