"""Continuously changing content, which `soak` synchronises repeatedly."""

import itertools
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from threading import Event, Thread
from typing import Final

from image_syncer.testing.content import Blob, Image
from image_syncer.testing.images import multi, single
from seeding import Seeder

REPOSITORIES: Final = ("team/app0", "team/app1", "team/app2")
_TAGS: Final = 8
_KIB: Final = 1024
_BASE: Final = Blob.generated("soak/base", 300 * _KIB)
_LARGEST_KIB: Final = 1500


@dataclass(slots=True)
class Content:
    """Tags that move at every push: always the same tags, never the same images, drawn from *seed*."""

    hosts: Sequence[str]
    seed: int
    pushes: int = 0
    digests: dict[tuple[str, str, str], str] = field(default_factory=dict[tuple[str, str, str], str])
    """The current digest of a tag, by host, repository and tag."""

    @contextmanager
    def changing(self, pause: float) -> Generator[None]:
        """Push new content to every host every *pause* seconds, until the context ends; raises errors of the pushes."""
        stop, failures = Event(), list[BaseException]()

        def work(host: str, rng: Random) -> None:
            try:
                with Seeder(host) as seeder:
                    for number in itertools.count():
                        self._push(seeder, host, rng, number)
                        if stop.wait(pause):
                            return
            except BaseException as error:  # noqa: BLE001 - raised at the end of the context
                failures.append(error)

        threads = [Thread(target=work, args=(host, Random(f"{self.seed}/{host}"))) for host in self.hosts]  # noqa: S311
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        for failure in failures:
            raise failure

    def _push(self, seeder: Seeder, host: str, rng: Random, number: int) -> None:
        repository, tag = rng.choice(REPOSITORIES), f"t{rng.randrange(_TAGS)}"
        image = _image(f"soak/{self.seed}/{host}/{number}", rng)
        names = [tag, "latest"] if number % 3 == 0 else [tag]
        seeder.push(repository, image, names)
        self.digests |= {(host, repository, name): str(image.digest) for name in names}
        self.pushes += 1


def rules(sources: Mapping[str, str], targets: Sequence[str], under: str) -> dict[str, list[str]]:
    """Return the rules of all repositories: a source, and its targets *under* a prefix of their own.

    *sources* names hosts.
    """
    return {
        f"{host}/{repository}": [f"{target}/{under}/{name}/{repository}" for target in targets]
        for name, host in sources.items()
        for repository in REPOSITORIES
    }


def _image(seed: str, rng: Random) -> Image:
    size = rng.randrange(1, _LARGEST_KIB) * _KIB
    if rng.random() < 0.3:  # noqa: PLR2004 - some
        return multi(seed, layers=(_BASE, size // 3))
    return single(seed, layers=(_BASE, size))
