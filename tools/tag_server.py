"""A registry that has only tags, all in memory: filling a real one with 100 000 tags takes an hour.

python tag_server.py TAGS KNOWN     It lists t0, t1, ... in every repository, and confirms HEAD for each if KNOWN is 1.

growth.py starts it as a `HelperProcess`. It answers pipelined requests in order, as HTTP/1.1 requires.
"""

import asyncio
import hashlib
import json
import sys
from urllib.parse import parse_qs, urlsplit

_PAGE_TAGS = 1000
_REQUEST_BYTES = 64 * 1024
_MANIFEST_BYTES = 700
_TYPE = "application/vnd.oci.image.manifest.v1+json"


class TagRegistry:
    """Behaves as a registry whose repositories have *tags* tags; if not *known*, none of the tags resolves."""

    def __init__(self, tags: int, *, known: bool) -> None:
        self.requests = 0
        self._known = known
        self._names = sorted(f"t{number}" for number in range(tags)) if known else []
        self._digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in self._names}

    def answer(self, method: str, target: str) -> bytes:
        """Return the response to one request without a body."""
        self.requests += 1
        url = urlsplit(target)
        parts = url.path.split("/")
        if url.path == "/v2/":
            return _response("200 OK", method, b"{}")
        if parts[-2:] == ["tags", "list"]:
            return self._listing(method, "/".join(parts[2:-2]), parse_qs(url.query))
        digest = self._digests.get(parts[-1]) if parts[-2:-1] == ["manifests"] else None
        if digest is None or method != "HEAD":
            return _response("404 Not Found", method, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
        headers = f"Content-Type: {_TYPE}\r\nDocker-Content-Digest: sha256:{digest}\r\n"
        return f"HTTP/1.1 200 OK\r\n{headers}Content-Length: {_MANIFEST_BYTES}\r\n\r\n".encode()

    def _listing(self, method: str, repository: str, query: dict[str, list[str]]) -> bytes:
        if not self._known:
            return _response("404 Not Found", method, b'{"errors":[{"code":"NAME_UNKNOWN"}]}')
        last = query.get("last", [""])[0]
        start = self._names.index(last) + 1 if last in self._digests else 0
        names = self._names[start : start + _PAGE_TAGS]
        more = start + len(names) < len(self._names)
        link = f'Link: </v2/{repository}/tags/list?last={names[-1]}&n={_PAGE_TAGS}>; rel="next"\r\n' if more else ""
        return _response("200 OK", method, json.dumps({"name": repository, "tags": names}).encode(), link)


class _Connection(asyncio.Protocol):
    def __init__(self, registry: TagRegistry) -> None:
        self._registry = registry
        self._unread = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        text = self._unread + data
        *requests, self._unread = text.split(b"\r\n\r\n")
        if len(self._unread) > _REQUEST_BYTES or not text[:1].isalpha():
            self._transport.abort()  # Clients try TLS first, and must learn that this server does not speak it.
            return
        answers: list[bytes] = []
        for request in requests:
            method, target, _ = request.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
            answers.append(self._registry.answer(method, target))
        self._transport.write(b"".join(answers))

    def pause_writing(self) -> None:
        """Stop reading requests from a client that does not read responses."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()


def _response(status: str, method: str, body: bytes, headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + (b"" if method == "HEAD" else body)


async def _serve(registry: TagRegistry) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(registry), "127.0.0.1", 0)
    questions = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin.buffer)
    async with server:
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        while await questions.readline():
            print(json.dumps({"requests": registry.requests}), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(TagRegistry(int(sys.argv[1]), known=sys.argv[2] == "1")))
