"""Request the manifests of many tags with a bare client that does nothing else: the registries' own time.

python floor.py REPOSITORY,... TAGS HOST...     HEAD for t0, t1, ... of each repository at every host at once

A few connections to each host, with many pipelined requests on each; no tag list, no digest check, no logins. With
SSL_CERT_FILE it uses TLS. Exit 2 for any status but 200.
"""

import os
import socket
import ssl
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

_CONNECTIONS = 4
_ON_THE_WAY = 64
_WAIT_SECONDS = 60.0
_END = b"\r\n\r\n"
_ACCEPT = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"


def ask(host: str, paths: Sequence[str]) -> None:
    """Request the manifests at *paths* from *host* over one connection; `ConnectionError` for any status but 200."""
    with _connect(host) as connection:
        answers = _answers(connection)
        sent = 0
        for received in range(len(paths)):
            if sent - received <= _ON_THE_WAY // 2 and sent < len(paths):
                batch = paths[sent : received + _ON_THE_WAY]
                connection.sendall(b"".join(_request(host, path) for path in batch))
                sent += len(batch)
            status = next(answers).split(b" ", 2)[1]
            if status != b"200":
                raise ConnectionError(f"{host}: {paths[received]}: {status.decode('latin-1')}")


def _connect(host: str) -> socket.socket:
    name, _, port = host.rpartition(":")
    connection = socket.create_connection((name, int(port)), timeout=_WAIT_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    authority = os.environ.get("SSL_CERT_FILE")
    if authority is None:
        return connection
    return ssl.create_default_context(cafile=authority).wrap_socket(connection, server_hostname=name)


def _request(host: str, path: str) -> bytes:
    return f"HEAD {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {_ACCEPT}\r\n\r\n".encode()


def _answers(connection: socket.socket) -> Iterator[bytes]:
    """Yield the head of each response; a HEAD has no body."""
    unread = b""
    while data := connection.recv(65536):
        *heads, unread = (unread + data).split(_END)
        yield from heads
    raise ConnectionError("the connection was closed")


def main() -> int:
    """Query all hosts at once."""
    repositories, tags, *hosts = sys.argv[1:]
    paths = [f"/v2/{name}/manifests/t{tag}" for name in repositories.split(",") for tag in range(int(tags))]
    shares = [paths[first::_CONNECTIONS] for first in range(_CONNECTIONS)]
    with ThreadPoolExecutor(len(hosts) * _CONNECTIONS) as pool:
        asked = [pool.submit(ask, host, share) for host in hosts for share in shares]
    try:
        for each in asked:
            each.result()
    except OSError as error:
        print(f"floor: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
