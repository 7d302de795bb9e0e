"""Pulls every tag that a registry lists, completely and continuously, and keeps what could not be pulled.

python puller.py HOST

It is a separate process with only the standard library. It prints one JSON object at its start and, for each line on
its standard input, its results so far; it ends when its standard input closes.
"""

import hashlib
import http.client
import json
import os
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

_ACCEPT = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)
_WAIT_SECONDS = 30.0
_TRIES = 4
_TRY_AGAIN_SECONDS = 0.05
_REST_SECONDS = 0.02
_BLOCK_BYTES = 256 * 1024
_KEPT_COMPLAINTS = 20
_MOST_LISTED = 1000  # docker-registry refuses to list more at once.
_DEEPEST = 8


class Incomplete(Exception):
    """A listed tag that cannot be pulled; the message says what is missing or wrong."""


@dataclass(slots=True)
class Pulled:
    """The results: *rounds* over all tags, *tags*, their *bytes*, and how many were *incomplete*, and why.

    *repeated* counts requests that the registry first answered with a server error and then correctly.
    """

    rounds: int = 0
    tags: int = 0
    bytes: int = 0
    incomplete: int = 0
    repeated: int = 0
    complaints: list[str] = field(default_factory=list[str])


class Puller:
    """Pulls from the registry at *host*, over one connection."""

    def __init__(self, host: str) -> None:
        self.pulled = Pulled()
        self._connection = http.client.HTTPConnection(host, timeout=_WAIT_SECONDS)

    def pull_all(self) -> None:
        """Pull every currently listed tag."""
        for repository, tag in self._listed():
            try:
                self.pull(repository, tag)
            except Incomplete as error:
                self.pulled.incomplete += 1
                if len(self.pulled.complaints) < _KEPT_COMPLAINTS:
                    self.pulled.complaints.append(f"{repository}:{tag}: {error}")
        self.pulled.rounds += 1

    def pull(self, repository: str, tag: str) -> str:
        """Pull *tag* with its whole graph, and return its digest; `Incomplete` if that fails."""
        digest = self._manifest(repository, tag, 0)
        self.pulled.tags += 1
        return digest

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _listed(self) -> Iterator[tuple[str, str]]:
        for repository in self._listing(f"/v2/_catalog?n={_MOST_LISTED}", "repositories"):
            for tag in self._listing(f"/v2/{repository}/tags/list?n={_MOST_LISTED}", "tags"):
                yield repository, tag

    def _listing(self, path: str, key: str) -> list[str]:
        """Return the listed entries; a repository without a tag is still unknown."""
        status, content = self._get(path)
        if status not in {http.client.OK, http.client.NOT_FOUND}:
            raise http.client.HTTPException(f"{path}: status {status}")
        return json.loads(content).get(key) or []

    def _manifest(self, repository: str, name: str, depth: int) -> str:
        # docker-registry lists a tag before it has written the tag's link: a tag alone may not be found yet.
        status, content = self._get(f"/v2/{repository}/manifests/{name}", repeat_not_found=":" not in name)
        if status != http.client.OK:
            raise Incomplete(f"manifest {name}: status {status}, {content[:200]!r}")
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if ":" in name and digest != name:
            raise Incomplete(f"manifest {name}: the content is {digest}")
        if depth > _DEEPEST:
            raise Incomplete(f"manifest {name}: {depth} indexes deep")
        self.pulled.bytes += len(content)
        document: dict[str, Any] = json.loads(content)
        for child in document.get("manifests", ()):
            self._manifest(repository, child["digest"], depth + 1)
        if "config" in document:
            for blob in (document["config"], *document["layers"]):
                self._blob(repository, blob["digest"], blob["size"])
        return digest

    def _blob(self, repository: str, digest: str, size: int) -> None:
        with self._answer(f"/v2/{repository}/blobs/{digest}") as response:
            if response.status != http.client.OK:
                raise Incomplete(f"blob {digest}: status {response.status}, {response.read(200)!r}")
            hashed, length = hashlib.sha256(), 0
            while block := response.read(_BLOCK_BYTES):
                hashed.update(block)
                length += len(block)
        if (f"sha256:{hashed.hexdigest()}", length) != (digest, size):
            raise Incomplete(f"blob {digest}: {length} bytes of {size}, sha256:{hashed.hexdigest()}")
        self.pulled.bytes += length

    def _get(self, path: str, *, repeat_not_found: bool = False) -> tuple[int, bytes]:
        with self._answer(path, repeat_not_found=repeat_not_found) as response:
            return response.status, response.read()

    @contextmanager
    def _answer(self, path: str, *, repeat_not_found: bool = False) -> Generator[http.client.HTTPResponse]:
        """Send a request, and repeat it after a server error, as every client does.

        docker-registry does not replace its small files atomically: reading one during a write gives a 500.
        """
        for _ in range(_TRIES - 1):
            response = self._ask(path)
            failed = response.status >= http.client.INTERNAL_SERVER_ERROR
            if not failed and not (repeat_not_found and response.status == http.client.NOT_FOUND):
                break
            response.read()
            self.pulled.repeated += 1
            time.sleep(_TRY_AGAIN_SECONDS)
        else:
            response = self._ask(path)
        try:
            yield response
        finally:
            response.read()

    def _ask(self, path: str) -> http.client.HTTPResponse:
        self._connection.request("GET", path, headers={"Accept": _ACCEPT})
        response = self._connection.getresponse()
        if response.status != http.client.TEMPORARY_REDIRECT:
            return response
        response.read()
        url = urlsplit(response.headers["Location"])
        elsewhere = http.client.HTTPConnection(url.netloc, timeout=_WAIT_SECONDS)
        elsewhere.request("GET", f"{url.path}?{url.query}", headers={"Connection": "close"})
        return elsewhere.getresponse()


def _pull_for_ever(puller: Puller) -> None:
    while True:
        try:
            puller.pull_all()
        except (OSError, http.client.HTTPException) as error:
            puller.pulled.incomplete += 1
            puller.pulled.complaints.append(f"the registry itself: {error!r}")
            puller.close()
        time.sleep(_REST_SECONDS)


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    os.nice(5)  # The tested program has priority.
    PULLER = Puller(sys.argv[1])
    Thread(target=_pull_for_ever, args=(PULLER,), daemon=True).start()
    _say({})
    for _ in sys.stdin:
        _say(asdict(PULLER.pulled))
