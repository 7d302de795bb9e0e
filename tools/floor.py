"""Request the manifests of many tags with a bare client that does nothing else: the registries' own time.

python floor.py REPOSITORY TAGS HOST...     HEAD for t0, t1, ... at every host at once; 2 for any status but 200

A few connections to each host, with many pipelined requests on each; no tag list, no digest check, no logins.
"""

import socket
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

_CONNECTIONS = 4
_ON_THE_WAY = 64
_WAIT_SECONDS = 60.0
_END = b"\r\n\r\n"
_ACCEPT = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"


def ask(host: str, repository: str, numbers: Sequence[int]) -> None:
    """Request the tags *numbers* from *host* over one connection; `ConnectionError` for any status but 200."""
    name, _, port = host.rpartition(":")
    with socket.create_connection((name, int(port)), timeout=_WAIT_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = _answers(connection)
        sent = 0
        for received in range(len(numbers)):
            if sent - received <= _ON_THE_WAY // 2 and sent < len(numbers):
                batch = numbers[sent : received + _ON_THE_WAY]
                connection.sendall(b"".join(_request(host, repository, number) for number in batch))
                sent += len(batch)
            status = next(answers).split(b" ", 2)[1]
            if status != b"200":
                raise ConnectionError(f"{host}: {repository}:t{numbers[received]}: {status.decode('latin-1')}")


def _request(host: str, repository: str, number: int) -> bytes:
    line = f"HEAD /v2/{repository}/manifests/t{number} HTTP/1.1\r\n"
    return f"{line}Host: {host}\r\nAccept: {_ACCEPT}\r\n\r\n".encode()


def _answers(connection: socket.socket) -> Iterator[bytes]:
    """Yield the head of each response; a HEAD has no body."""
    unread = b""
    while data := connection.recv(65536):
        *heads, unread = (unread + data).split(_END)
        yield from heads
    raise ConnectionError("the connection was closed")


def main() -> int:
    """Query all hosts at once."""
    repository, tags, *hosts = sys.argv[1:]
    shares = [range(first, int(tags), _CONNECTIONS) for first in range(_CONNECTIONS)]
    with ThreadPoolExecutor(len(hosts) * _CONNECTIONS) as pool:
        asked = [pool.submit(ask, host, repository, share) for host in hosts for share in shares]
    try:
        for each in asked:
            each.result()
    except OSError as error:
        print(f"floor: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
