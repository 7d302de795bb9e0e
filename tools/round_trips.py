"""The longest chain of round trips in sequence of a command, counted by causality behind relays that delay all bytes.

python tools/round_trips.py [CASE...] [--round-trip SECONDS] [--chain]

Runs `image-syncer` between two FakeRegistry servers, each behind a relay. Whatever a client sends can depend on what it
has received before, and on nothing else: bytes that it sends are one round trip deeper than the deepest response that
it has received until then, from any server; the opening of a connection is one round trip too. Code that needs no
response sends before one arrives, so it adds nothing to the chain. A slow machine can only make the chain longer, so
the least of several runs counts. --chain prints the requests of the longest chain.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from image_syncer.testing import FakeRegistry, Profile
from image_syncer.testing.accounts import Account, Accounts
from image_syncer.testing.images import multi, single
from image_syncer.testing.threads import open_in_thread
from lab import clean_environment, our_command

ROUND_TRIP_SECONDS: Final = 0.1
_KIB: Final = 1024
_PIECE_BYTES: Final = 256 * _KIB
_RUN_SECONDS: Final = 120.0
_SIDES: Final = ("source", "target")
_METHODS: Final = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ")
_USER, _PASSWORD = "copier", "round-trip"


@dataclass(frozen=True, slots=True)
class Trip:
    """One round trip: the number of round trips up to its end, its request, and the trip before it in the chain."""

    depth: int
    request: str
    cause: "Trip | None" = None

    def chain(self) -> Sequence[str]:
        """Return the requests from the first round trip to this one."""
        before = self.cause.chain() if self.cause else ()
        return (*before, self.request)


@dataclass(slots=True)
class Causality:
    """What the client has received so far: *received* is the deepest trip whose response has begun to arrive."""

    received: Trip | None = None

    def send(self, request: str, at_least: Trip | None = None) -> Trip:
        """Return the trip of bytes that the client sends now; it follows *at_least* as well, if given."""
        cause = max((self.received, at_least), key=_depth)
        return Trip(_depth(cause) + 1, request, cause)

    def receive(self, trip: Trip) -> None:
        """Note that the response of *trip* begins to arrive at the client."""
        self.received = max((self.received, trip), key=_depth)


def _depth(trip: Trip | None) -> int:
    return trip.depth if trip else 0


class DelayingRelay:
    """Carries connections to the server at *port* and delivers all bytes *delay* seconds later, in each direction."""

    def __init__(self, name: str, port: int, delay: float, causality: Causality) -> None:
        self._name = name
        self._server_port = port
        self._delay = delay
        self._causality = causality
        self.port = 0
        """The port of the near end."""

    @asynccontextmanager
    async def open(self) -> AsyncGenerator["DelayingRelay"]:
        """Listen on a free port."""
        connections: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._carry(reader, writer))
            connections.add(task)
            try:
                await task
            finally:
                connections.discard(task)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=512)
        async with server:
            self.port = server.sockets[0].getsockname()[1]
            yield self
            for task in connections:
                task.cancel()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection. Its first byte waits until the handshake would be over: one round trip."""
        loop = asyncio.get_running_loop()
        opening = self._causality.send(f"connect to {self._name}")
        upstream, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        opened_at = loop.time() + 2 * self._delay
        connection = _Connection(self._name, self._causality, opening)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._up(connection, reader, to_server, opened_at))
                group.create_task(self._down(connection, upstream, writer))
                loop.call_at(opened_at, self._causality.receive, opening)
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            to_server.close()
            writer.close()

    async def _up(
        self, connection: "_Connection", client: asyncio.StreamReader, server: asyncio.StreamWriter, opened_at: float
    ) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(opened_at - loop.time())
        while data := await client.read(_PIECE_BYTES):
            loop.call_later(self._delay, connection.deliver, connection.sent(data), server, data)
        await asyncio.sleep(2 * self._delay)
        server.write_eof()

    async def _down(
        self, connection: "_Connection", server: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        while data := await server.read(_PIECE_BYTES):
            loop.call_later(self._delay, connection.respond, connection.at_server, client, data)
        await asyncio.sleep(2 * self._delay)
        client.close()


@dataclass(slots=True)
class _Connection:
    """One relayed connection; *at_server* is the trip whose bytes the server has received last."""

    name: str
    causality: Causality
    at_server: Trip
    """At first the opening, which is also the least that everything on this connection follows."""
    opening: Trip = field(init=False)

    def __post_init__(self) -> None:
        self.opening = self.at_server

    def sent(self, data: bytes) -> Trip:
        """Return the trip of bytes that the client has sent."""
        line = data.split(b"\r\n", 1)[0].decode("latin-1") if data.startswith(_METHODS) else "bytes"
        return self.causality.send(f"{line.removesuffix(' HTTP/1.1')} ({self.name})", self.opening)

    def deliver(self, trip: Trip, server: asyncio.StreamWriter, data: bytes) -> None:
        """Give the bytes of *trip* to the server."""
        self.at_server = trip
        if not server.is_closing():
            server.write(data)

    def respond(self, trip: Trip, client: asyncio.StreamWriter, data: bytes) -> None:
        """Give the client bytes that the server sent in response to *trip*."""
        self.causality.receive(trip)
        if not client.is_closing():
            client.write(data)


@dataclass(frozen=True, slots=True)
class Case:
    """A workload; *fill* fills source and target and returns the repositories, *login* makes both require a token."""

    about: str
    fill: Callable[[FakeRegistry, FakeRegistry], Sequence[str]]
    login: bool = False


def _eight_layers(source: FakeRegistry, _target: FakeRegistry) -> Sequence[str]:
    source.load("round/one", single("one", layers=[64 * _KIB] * 8), "v1")
    return ["round/one"]


def _four_platforms(source: FakeRegistry, _target: FakeRegistry) -> Sequence[str]:
    source.load("round/multi", multi("multi", layers=[32 * _KIB] * 3), "v1")
    return ["round/multi"]


def _twenty_images(source: FakeRegistry, _target: FakeRegistry) -> Sequence[str]:
    repositories = [f"round/app{number}" for number in range(4)]
    for repository in repositories:
        for tag in range(5):
            source.load(repository, single(f"{repository}/{tag}", layers=[16 * _KIB, 16 * _KIB]), f"v{tag}")
    return repositories


def _up_to_date(source: FakeRegistry, target: FakeRegistry) -> Sequence[str]:
    for registry in (source, target):
        for number in range(100):
            registry.load("round/kept", single(f"kept/{number}", layers=[1000]), f"v{number}")
    return ["round/kept"]


CASES: Final[Mapping[str, Case]] = {
    "one-image": Case("a new image of 8 layers", _eight_layers),
    "one-image-login": Case("the same, both registries require a token", _eight_layers, login=True),
    "one-index": Case("a new index of 3 platforms of 3 layers", _four_platforms),
    "images": Case("20 new images of 2 layers in 4 repositories", _twenty_images),
    "no-op": Case("100 tags of one repository, nothing to copy", _up_to_date),
    "no-op-login": Case("the same, both registries require a token", _up_to_date, login=True),
}

BUDGET: Final[Mapping[str, int]] = {
    "one-image": 13,
    "one-image-login": 14,
    "one-index": 15,
    "images": 21,
    "no-op": 10,
    "no-op-login": 11,
}
"""The most round trips in sequence that each case may take. Lower a number with the change that makes it possible."""


def longest_chain(case: Case, round_trip: float = ROUND_TRIP_SECONDS) -> Trip:
    """Run *case* once, with *round_trip* in seconds, and return the last trip of its longest chain.

    `SystemExit` if the command fails.
    """
    causality = Causality()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="round-trips-")))
        accounts = Accounts({_USER: Account(_PASSWORD)})
        profile = Profile().guarded(accounts) if case.login else Profile()
        source, target = (stack.enter_context(FakeRegistry.in_thread(profile)) for _ in range(2))
        repositories = case.fill(source, target)
        relays = stack.enter_context(open_in_thread(_relays([source, target], round_trip / 2, causality)))
        _write_files(directory, [f"127.0.0.1:{relay.port}" for relay in relays], repositories)
        command = [our_command(), "sync", "--auth", "auth.json", "--images", "images.json"]
        done = subprocess.run(
            command,
            cwd=directory,
            env=clean_environment(directory),
            capture_output=True,
            text=True,
            timeout=_RUN_SECONDS,
            check=False,
        )
    if done.returncode != 0 or causality.received is None:
        raise SystemExit(f"{case.about}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return causality.received


def fewest_round_trips(case: Case, runs: int = 3) -> Trip:
    """Return the shortest of the longest chains of several *runs*."""
    return min((longest_chain(case) for _ in range(runs)), key=_depth)


@asynccontextmanager
async def _relays(
    registries: Sequence[FakeRegistry], delay: float, causality: Causality
) -> AsyncGenerator[Sequence[DelayingRelay]]:
    """Open a relay to the source and one to the target, in this order."""
    async with AsyncExitStack() as stack:
        ports = [int(registry.host.rpartition(":")[2]) for registry in registries]
        opened = [DelayingRelay(name, port, delay, causality) for name, port in zip(_SIDES, ports, strict=True)]
        yield [await stack.enter_async_context(relay.open()) for relay in opened]


def _write_files(directory: Path, hosts: Sequence[str], repositories: Sequence[str]) -> None:
    """Write a login for each of *hosts*, and a rule for each of *repositories*; without a login it is not used."""
    source, target = hosts
    auth = {host: {"username": _USER, "password": _PASSWORD, "insecure": True} for host in hosts}
    images = {f"{source}/{path}": f"{target}/{path}" for path in repositories}
    for name, document in (("auth.json", auth), ("images.json", images)):
        (directory / name).write_text(json.dumps(document), encoding="utf-8")


def main() -> int:
    """Print a table of the cases; exit 1 if one exceeds its budget."""
    parser = argparse.ArgumentParser(description="Count the round trips in sequence of image-syncer.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"default: all: {', '.join(CASES)}")
    parser.add_argument("--round-trip", type=float, default=ROUND_TRIP_SECONDS, metavar="SECONDS")
    parser.add_argument("--chain", action="store_true", help="print the requests of the longest chain")
    options = parser.parse_args()
    if unknown := [name for name in options.cases if name not in CASES]:
        parser.error(f"unknown: {', '.join(unknown)}")
    exceeded = False
    print("| case | workload | round trips in sequence | budget |\n|---|---|---:|---:|")
    for name in options.cases or CASES:
        trip = longest_chain(CASES[name], options.round_trip)
        exceeded |= trip.depth > BUDGET[name]
        print(f"| {name} | {CASES[name].about} | {trip.depth} | {BUDGET[name]} |")
        if options.chain:
            print("".join(f"    {number:3} {request}\n" for number, request in enumerate(trip.chain(), 1)))
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
