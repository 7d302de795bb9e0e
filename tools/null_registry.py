"""A registry that costs next to nothing: it sends blobs from memory with `sendfile`, and drops what it receives.

python null_registry.py LAYERS BYTES [CERTIFICATE KEY]     Every repository has the tag t0, an image of LAYERS blobs.

It shows the cost of a copy for the client alone. Pushes are counted, not stored or hashed, so only the number of bytes
is checked. It prints `{"port": ...}`, and its counters for each line on its input.
"""

import hashlib
import json
import mmap
import os
import socket
import ssl
import sys
from collections import Counter
from contextlib import suppress
from threading import Thread
from typing import Final

_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
_BUFFER_BYTES: Final = 1024 * 1024
_SHIFT_BYTES: Final = 4096
_HEAD_BYTES: Final = 64 * 1024


class NullRegistry:
    """Serves one image of *layers* blobs, each of *size_bytes* random bytes. *context* is None for plain HTTP."""

    def __init__(self, layers: int, size_bytes: int, context: ssl.SSLContext | None) -> None:
        self.counters: Counter[str] = Counter()
        self.context = context
        self._size = size_bytes
        self.file = os.memfd_create("blobs")
        # Each blob is another window of the same bytes, so all digests differ and the memory holds them once.
        total = size_bytes + layers * _SHIFT_BYTES
        while os.fstat(self.file).st_size < total:
            os.write(self.file, os.urandom(min(_BUFFER_BYTES, total - os.fstat(self.file).st_size)))
        self.content = memoryview(mmap.mmap(self.file, total))
        windows = [self.content[start : start + size_bytes] for start in range(0, layers * _SHIFT_BYTES, _SHIFT_BYTES)]
        self._starts = {_digest(window): number * _SHIFT_BYTES for number, window in enumerate(windows)}
        self._config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
        kind = "application/vnd.oci.image.layer.v1.tar+gzip"
        document = {
            "schemaVersion": 2,
            "mediaType": _TYPE,
            "config": _descriptor("application/vnd.oci.image.config.v1+json", _digest(self._config), len(self._config)),
            "layers": [_descriptor(kind, digest, size_bytes) for digest in self._starts],
        }
        self._manifest = json.dumps(document).encode()
        self._pushed: set[str] = set()

    def serve(self, connected: socket.socket) -> None:
        """Answer the requests of one connection until it ends."""
        with suppress(OSError), connected:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context is None:
                _Session(self, connected).run()
            else:
                with self.context.wrap_socket(connected, server_side=True) as encrypted:
                    _Session(self, encrypted).run()

    def keep(self, manifest: bytes) -> None:
        """Remember the digest of a pushed manifest; its tag stays unknown, so the next push copies everything again."""
        self._pushed.add(_digest(manifest))

    def answer(self, method: str, path: str) -> tuple[bytes, bytes | tuple[int, int]]:
        """Return the head of the response, and its body or the window of the blob."""
        kind, _, name = path.partition("?")[0].rpartition("/")
        if kind.endswith("/blobs") and method in {"GET", "HEAD"} and name in self._starts:
            window = (self._starts[name], self._size if method == "GET" else 0)
            return _head("200 OK", self._size, name), window
        if method == "GET" and kind.endswith("/blobs") and name == _digest(self._config):
            return _head("200 OK", len(self._config), name), self._config
        if method in {"GET", "HEAD"} and kind.endswith("/manifests") and name in {"t0", _digest(self._manifest)}:
            body = self._manifest if method == "GET" else b""
            return _head("200 OK", len(self._manifest), _digest(self._manifest)), body
        if kind.endswith("/manifests") and name in self._pushed:
            return _head("200 OK", len(self._manifest), name), b""
        return (_head("200 OK", 2), b"{}") if path == "/v2/" else (_accept(method, path), b"")


class _Session:
    """One connection."""

    def __init__(self, registry: NullRegistry, connected: socket.socket) -> None:
        self._registry = registry
        self._socket = connected
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        # TCP can drop what it received without a copy; TLS has to be decrypted.
        self._flags = 0 if registry.context is not None else socket.MSG_TRUNC

    def run(self) -> None:
        """Answer requests until the peer closes the connection."""
        received = b""
        while True:
            while b"\r\n\r\n" not in received:
                data = self._socket.recv(_HEAD_BYTES)
                if not data or len(received) > _HEAD_BYTES or not (received + data)[:1].isalpha():
                    return
                received += data
            head, received = received.split(b"\r\n\r\n", 1)
            line, *fields = head.decode("latin-1").split("\r\n")
            method, path, _ = line.split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
            length = int(headers.get("content-length", "0"))
            if method == "PUT" and "/manifests/" in path:
                while len(received) < length:
                    received += self._socket.recv(_HEAD_BYTES)
                self._registry.keep(received[:length])
            received = self._drop(received, length)
            self._registry.counters[method] += 1
            self._respond(method, path)

    def _drop(self, received: bytes, length: int) -> bytes:
        """Drop the body and return what follows it."""
        rest, left = received[length:], length - min(length, len(received))
        self._registry.counters["received_bytes"] += length
        while left:
            count = self._socket.recv_into(self._buffer, min(left, _BUFFER_BYTES), self._flags)
            if not count:
                raise ConnectionAbortedError
            left -= count
        return rest

    def _respond(self, method: str, path: str) -> None:
        head, body = self._registry.answer(method, path)
        if isinstance(body, bytes):
            self._socket.sendall(head + body)
            return
        start, size = body
        self._socket.sendall(head)
        if not size:
            return
        self._registry.counters["sent_bytes"] += size
        if isinstance(self._socket, ssl.SSLSocket):
            for position in range(start, start + size, _BUFFER_BYTES):
                self._socket.sendall(self._registry.content[position : min(position + _BUFFER_BYTES, start + size)])
            return
        end = start + size
        while start < end:
            start += os.sendfile(self._socket.fileno(), self._registry.file, start, end - start)


def _digest(content: bytes | memoryview) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _descriptor(kind: str, digest: str, size: int) -> dict[str, str | int]:
    return {"mediaType": kind, "digest": digest, "size": size}


def _accept(method: str, path: str) -> bytes:
    """Return the head of the response to a push; anything else is unknown."""
    match method:
        case "POST":
            return _head("202 Accepted", 0, location=path.partition("?")[0].rstrip("/") + "/session")
        case "PATCH":
            return _head("202 Accepted", 0, location=path)
        case "PUT":
            return _head("201 Created", 0)
        case _:
            return _head("404 Not Found", 0)


def _head(status: str, length: int, digest: str = "", location: str = "") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}", f"Content-Type: {_TYPE}"]
    lines += [f"Docker-Content-Digest: {digest}"] if digest else []
    lines += [f"Location: {location}"] if location else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def main() -> int:
    """Serve on a free port of the loopback interface until the input ends."""
    layers, size_bytes, *certificate = sys.argv[1:]
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    registry = NullRegistry(int(layers), int(size_bytes), context)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def accept() -> None:
        while True:
            connected, _ = listener.accept()
            Thread(target=registry.serve, args=(connected,), daemon=True).start()

    Thread(target=accept, daemon=True).start()
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(registry.counters), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
