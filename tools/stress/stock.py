"""Many small images, each with its own tag: the subjects of events, and the expected content of the target."""

import asyncio
import hashlib
import http.client
import json
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from image_syncer.oci import media_type as types
from image_syncer.testing.content import Blob, Image
from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import single
from image_syncer.testing.request_log import RequestLog
from seeding import Seeder

_REPOSITORIES = 8
_SEEDERS = 2
_WAIT_SECONDS = 30.0
_BASE = Blob.generated("stress/base", 4000)


@dataclass(frozen=True, slots=True)
class Item:
    """One image at `team/appN:vM`."""

    repository: str
    tag: str
    image: Image

    @property
    def name(self) -> str:
        """Its repository and tag."""
        return f"{self.repository}:{self.tag}"

    @property
    def path(self) -> str:
        """The path of its manifest, at any registry."""
        return f"/v2/{self.repository}/manifests/{self.tag}"

    def query(self, host: str) -> str:
        """Return the query of a hook that reports its push to the registry *host*."""
        return f"name={host}/{self.repository}&tag={self.tag}"

    def message(self, host: str) -> bytes:
        """Return the queue message that reports its push to the registry *host*."""
        return json.dumps({"Name": f"{host}/{self.repository}", "Tag": self.tag}).encode()


class Stock:
    """Images numbered from 0; equal numbers are equal images in every run."""

    def __init__(self, count: int) -> None:
        self.items = tuple(_item(number) for number in range(count))

    def __len__(self) -> int:
        return len(self.items)

    def push(self, host: str) -> None:
        """Push all of them to the registry at *host*."""

        def some(part: int) -> None:
            with Seeder(host) as seeder:
                for item in self.items[part::_SEEDERS]:
                    seeder.push(item.repository, item.image, [item.tag])

        with ThreadPoolExecutor(_SEEDERS) as threads:
            list(threads.map(some, range(_SEEDERS)))

    @contextmanager
    def at_a_slow_registry(self, delay: float) -> Generator[str]:
        """Serve all of them from a registry in this process that waits *delay* seconds before each response.

        Yields its host. So some copies run at any time.
        """

        async def rest(_request: object) -> None:
            await asyncio.sleep(delay)

        with FakeRegistry.in_thread() as registry:
            for item in self.items:
                registry.load(item.repository, item.image, item.tag)
            registry.intercept.append(rest)
            yield registry.host

    def missing(self, host: str, numbers: Iterable[int]) -> list[int]:
        """Return which of *numbers* the registry at *host* does not serve byte for byte."""
        connection = http.client.HTTPConnection(host, timeout=_WAIT_SECONDS)
        try:
            return [number for number in numbers if not _has(connection, self.items[number])]
        finally:
            connection.close()

    def puts(self, log: RequestLog, numbers: Collection[int]) -> Iterator[int]:
        """Yield how often the manifest of each of *numbers* was stored, according to the target's *log*."""
        stored = Counter(request.path for request in log.only(method="PUT", kind="manifest", status=201))
        for number in numbers:
            yield stored[self.items[number].path]


def copied_twice(puts: Iterable[int]) -> int:
    """Return the number of stored manifests beyond one for each image."""
    return sum(max(0, times - 1) for times in puts)


def _item(number: int) -> Item:
    image = single(f"stress/{number}", layers=(_BASE, 200))
    return Item(f"team/app{number % _REPOSITORIES}", f"v{number}", image)


def _has(connection: http.client.HTTPConnection, item: Item) -> bool:
    connection.request("GET", item.path, headers={"Accept": ", ".join(types.ACCEPT)})
    response = connection.getresponse()
    content = response.read()
    return response.status == http.client.OK and hashlib.sha256(content).hexdigest() == item.image.digest.encoded
