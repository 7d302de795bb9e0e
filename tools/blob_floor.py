"""Copy images with a bare sender that does nothing else: the time of the registries and the network.

python blob_floor.py CARGO SOURCE TARGET...     CARGO is a file of `Cargo`; with SSL_CERT_FILE all use TLS

A few threads, each with a connection to every registry. Each blob is read once and sent to all targets at the same
time, then mounted into other repositories; the manifests follow. It hashes, lists, looks up and repeats nothing.
"""

import http.client
import json
import os
import ssl
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import local
from typing import Any
from urllib.parse import urlsplit

_THREADS = 8
_PIECE_BYTES = 1024 * 1024
_WAIT_SECONDS = 120.0


class Sender:
    """The connections of one thread."""

    def __init__(self, source: str, targets: Sequence[str]) -> None:
        self.source = _connection(source)
        self.targets = [_connection(target) for target in targets]
        self._piece = memoryview(bytearray(_PIECE_BYTES))

    def blob(self, repository: str, digest: str, size_bytes: int) -> None:
        """Read a blob once and push it to all targets."""
        paths = [self._session(target, repository, digest) for target in self.targets]
        self.source.request("GET", f"/v2/{repository}/blobs/{digest}")
        response = self.source.getresponse()
        _expect(response, 200)
        for target, path in zip(self.targets, paths, strict=True):
            target.putrequest("PUT", path, skip_accept_encoding=True)
            target.putheader("Content-Type", "application/octet-stream")
            target.putheader("Content-Length", str(size_bytes))
            target.endheaders()
        while count := response.readinto(self._piece):
            for target in self.targets:
                target.send(self._piece[:count])
        for target in self.targets:
            _finish(target, 201)

    def mount(self, repository: str, digest: str, origin: str) -> None:
        """Mount a blob from another repository at all targets."""
        for target in self.targets:
            target.request("POST", f"/v2/{repository}/blobs/uploads/?mount={digest}&from={origin}", body=b"")
        for target in self.targets:
            _finish(target, 201)

    def manifest(self, repository: str, name: str, kind: str) -> None:
        """Read a manifest and push it under the same name."""
        self.source.request("GET", f"/v2/{repository}/manifests/{name}", headers={"Accept": kind})
        response = self.source.getresponse()
        content = response.read()
        _expect(response, 200)
        for target in self.targets:
            target.request("PUT", f"/v2/{repository}/manifests/{name}", body=content, headers={"Content-Type": kind})
        for target in self.targets:
            _finish(target, 201)

    @staticmethod
    def _session(target: http.client.HTTPConnection, repository: str, digest: str) -> str:
        target.request("POST", f"/v2/{repository}/blobs/uploads/", body=b"")
        parts = urlsplit(_finish(target, 202).headers["Location"])
        return f"{parts.path}?{parts.query}&digest={digest}"


def _connection(host: str) -> http.client.HTTPConnection:
    authority = os.environ.get("SSL_CERT_FILE")
    if authority is None:
        return http.client.HTTPConnection(host, timeout=_WAIT_SECONDS)
    context = ssl.create_default_context(cafile=authority)
    return http.client.HTTPSConnection(host, timeout=_WAIT_SECONDS, context=context)


def _finish(connection: http.client.HTTPConnection, status: int) -> http.client.HTTPResponse:
    response = connection.getresponse()
    response.read()
    _expect(response, status)
    return response


def _expect(response: http.client.HTTPResponse, status: int) -> None:
    if response.status != status:
        raise ConnectionError(f"{response.status} instead of {status}")


def main() -> int:
    """Copy the cargo, kind by kind."""
    cargo, source, *targets = sys.argv[1:]
    jobs: dict[str, list[Any]] = json.loads(Path(cargo).read_text(encoding="utf-8"))
    own = local()

    def sender() -> Sender:
        if not hasattr(own, "sender"):
            own.sender = Sender(source, targets)
        return own.sender

    def carry(kind: str, job: Sequence[Any]) -> None:
        one = sender()
        {"blobs": one.blob, "mounts": one.mount, "manifests": one.manifest, "indexes": one.manifest}[kind](*job)

    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            for kind in ("blobs", "mounts", "manifests", "indexes"):
                for _ in pool.map(partial(carry, kind), jobs[kind]):
                    pass
    except (OSError, http.client.HTTPException) as error:
        print(f"floor: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
