"""A process that runs out of file descriptors: named as that, and no outage of a registry."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from image_syncer.registry.http.descriptors import connection_limit

Listen = Callable[..., Awaitable[int]]

_CLIENT = """
import asyncio, os, resource, sys
from image_syncer.errors import StoreError
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.transport import Request, Transport
from image_syncer.registry.settings import Limits

LIMIT = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
URLS = sys.argv[2:]

async def result(transport, method, url):
    policy = TlsPolicy("127.0.0.1", insecure=True)
    try:
        async with transport.request(Request(method, url), tls=policy) as response:
            await response.read(1000)
            return str(response.status)
    except StoreError as error:
        return f"{type(error).__name__}: {error}"

def use_up():
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        return taken
"""

_MANY = """
async def main():
    async with Transport(Limits(connect_seconds=20.0), {}, certificates=()) as transport:
        calls = [result(transport, method, url) for _ in range(60) for url in URLS for method in ("GET", "HEAD")]
        print(*sorted(set(await asyncio.gather(*calls))), sep="\\n")

asyncio.run(main())
"""

_NONE_LEFT = """
async def main():
    for sockets in (True, False):
        for variables in ({}, {"HTTPS_PROXY": "http://proxy.example:1", "HTTP_PROXY": "http://proxy.example:1"}):
            async with Transport(Limits(connect_seconds=5.0), variables, certificates=(), sockets=sockets) as transport:
                await result(transport, "GET", "https://127.0.0.1:1/")  # Loads the certificates.
                taken = use_up()
                found = [await result(transport, "GET", url) for url in URLS]
                for descriptor in taken:
                    os.close(descriptor)
                print(*found, sep="\\n")

asyncio.run(main())
"""


async def run(code: str, limit: int, *urls: str) -> list[str]:
    """Run the client with *limit* descriptors; return the lines of its output."""
    command = [sys.executable, "-c", _CLIENT + code, str(limit), *urls]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


async def test_connections_are_bounded_by_the_limit_of_the_process(listen: Listen) -> None:
    """240 requests at once to two hosts, GET and pipelined HEAD, all succeed with 40 descriptors."""
    open_now, most = 0, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(0.02)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        finally:
            open_now -= 1

    urls = [f"http://127.0.0.1:{await listen(serve)}/", f"http://127.0.0.1:{await listen(serve)}/"]
    assert await run(_MANY, 40, *urls) == ["200"]
    assert 10 <= most <= 20


@pytest.mark.parametrize("url", ["https://127.0.0.1:1/", "http://127.0.0.1:1/", "https://registry.invalid/"])
async def test_a_missing_descriptor_is_no_error_of_the_registry(url: str) -> None:
    """Not "no such host", which is what the resolver says then, nor a refused connection; directly or by a proxy."""
    lines = await run(_NONE_LEFT, 64, url)
    assert len(lines) == 4
    assert {line.partition(" (limit")[0].partition(": ")[0] for line in lines} == {"OutOfResources"}
    assert all("this process has no free file descriptor (limit 64)" in line for line in lines)
    assert all("ulimit -n" in line for line in lines)


@pytest.mark.parametrize(("soft", "expected"), [(8, 4), (64, 32), (256, 128), (1024, 896), (100_000, 99_872)])
def test_the_bound_leaves_descriptors_for_other_uses(monkeypatch: pytest.MonkeyPatch, soft: int, expected: int) -> None:
    """Half of a small limit, and 128 of a large one."""

    def limits(_: int) -> tuple[int, int]:
        return soft, soft

    monkeypatch.setattr("resource.getrlimit", limits)
    assert connection_limit() == expected


async def test_a_login_file_that_cannot_be_opened_now_is_not_called_broken(tmp_path: Path) -> None:
    """The same holds for certificates and credential helpers."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "ca.pem").write_text("")
    code = f"""
from pathlib import Path
from image_syncer.registry.auth.credential_helpers import ask_helper
from image_syncer.registry.auth.docker_config import read_login_file
from image_syncer.registry.http.tls import TlsContexts

async def main():
    contexts = TlsContexts({{"SSL_CERT_FILE": {str(tmp_path / "ca.pem")!r}}}, ())
    taken = use_up()
    found = []
    for call in (
        lambda: read_login_file(Path({str(tmp_path / "config.json")!r})),
        lambda: contexts.context(TlsPolicy("a.example")),
    ):
        try:
            call()
        except StoreError as error:
            found.append(type(error).__name__)
    try:
        await ask_helper("test", "a.example", {{}})
    except StoreError as error:
        found.append(type(error).__name__)
    for descriptor in taken:
        os.close(descriptor)
    print(*found)

asyncio.run(main())
"""
    assert await run(code, 64) == ["OutOfResources OutOfResources OutOfResources"]
