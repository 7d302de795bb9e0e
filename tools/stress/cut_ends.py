"""The registries at both ends of `cut`, and its image."""

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Final

from image_syncer.testing import profiles
from image_syncer.testing.content import Blob, Image
from image_syncer.testing.images import single
from image_syncer.testing.profile import Profile
from seeding import Seeder
from stress.fakes import fake_registry
from support.docker_registry import DockerRegistry
from support.subprocess_helper import HelperProcess

REAL: Final = "docker-registry"
REPOSITORY: Final = "team/big"
TAG: Final = "v1"
NAME: Final = f"{REPOSITORY}:{TAG}"


def profile_of(name: str) -> Profile:
    """Return the profile of that name; `KeyError` if there is none."""
    return _profiles()[name]


def profile_names() -> list[str]:
    """Return the names of all FakeRegistry profiles."""
    return list(_profiles())


@cache
def big_image(size_bytes: int) -> Image:
    """Return an image with one blob of *size_bytes* and its config."""
    return single("cut", layers=[Blob.generated("cut", size_bytes)])


@dataclass(frozen=True, slots=True)
class Running:
    """A running registry at *host*; *storage* is its storage host, if it redirects blobs."""

    host: str
    storage: str = ""
    process: HelperProcess | None = None

    def lead_to(self, storage: str) -> None:
        """Redirect blobs to *storage* from now on: a line to the storage host."""
        if self.process is not None:
            self.process.ask(f"storage {storage}")


@contextmanager
def registry(name: str, holding: int = 0) -> Generator[Running]:
    """Run the registry *name*: a docker-registry, or a FakeRegistry with that profile.

    It has the big image of *holding* bytes, or nothing if that is 0.
    """
    with ExitStack() as stack:
        if name != REAL:
            process = stack.enter_context(fake_registry(name, holding=holding))
            yield Running(process.ready["host"], process.ready["storage"], process)
            return
        host = stack.enter_context(DockerRegistry()).host
        if holding:
            stack.enter_context(Seeder(host)).push(REPOSITORY, big_image(holding), [TAG])
        yield Running(host)


def survives(target: str) -> bool:
    """Whether an upload to *target* survives a cut in the middle of a chunk."""
    habits = _profiles().get(target)
    return habits is not None and not habits.strict_state and not habits.errors_end_uploads


def takes_one_request(target: str) -> bool:
    """Whether *target* accepts a blob only in one request, so that an upload cannot resume."""
    habits = _profiles().get(target)
    return habits is not None and habits.patches != "many"


def in_one_piece(source: str, target: str) -> bool:
    """Whether a blob must pass in one connection: reading cannot resume, or there are no chunks."""
    reading = _profiles().get(source)
    return (reading is not None and not reading.ranges) or takes_one_request(target)


@cache
def _profiles() -> Mapping[str, Profile]:
    return {profile.name: profile for profile in (*profiles.ALL, profiles.MONOLITHIC)}
