"""Big blobs over lines that cut every connection, and with a kill -9 in the middle; bytes are counted at the line."""

import sqlite3
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from image_syncer.testing import Blob, FakeRegistry, Image, Profile, faults, profiles
from image_syncer.testing.images import single
from support.command_line import CommandLine
from support.cut_line import CutLine
from support.docker_registry import DockerRegistry
from support.registry_http import Peer
from support.relay import RelayLine
from support.slow_line import SlowLine
from support.syncs import sync_files

pytestmark = pytest.mark.usefixtures("io_threads")


MIB = 1024 * 1024
SIZE = 64 * MIB
CUT = 4 * MIB
BLOB = Blob.generated("breaks", SIZE)
IMAGE = single("breaks", layers=[BLOB])
SMALL = single("small", layers=(1000,))

OTHERS = {"distribution-2.8", "harbor", "zot", "gar", "artifactory", "ghcr"}
"""Lose uploads, want them in one piece, or take less in a chunk, which has to be found out first."""

KEEPING = [profile for profile in profiles.ALL if profile.name not in OTHERS]


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[CommandLine]:
    """The command line in a directory of its own."""
    line = CommandLine(tmp_path)
    yield line
    line.close()


@contextmanager
def fake_with(profile: Profile, *images: Image) -> Generator[FakeRegistry]:
    """Run a registry in a thread, which has *images* in `app`."""
    with FakeRegistry.in_thread(profile) as registry:
        for image in images:
            registry.load("app", image, "v1")
        yield registry


async def copy(folder: Path, source: str, target: str) -> None:
    """Copy the image from one registry to the other; it must arrive."""
    result = await sync_files(folder, {f"{source}/app:v1": f"{target}/app"})
    assert [(entry.outcome, entry.reason) for entry in result.results] == [("copied", None)]


async def test_a_download_over_a_line_with_cuts_costs_its_size(tmp_path: Path) -> None:
    """Every connection ends after 4 MiB; at most a tenth of the bytes is sent twice."""
    with fake_with(profiles.OCI, IMAGE) as source, fake_with(profiles.OCI) as target:
        with CutLine(source.host, to_client_bytes=CUT) as line:
            await copy(tmp_path, line.host, target.host)
            carried = line.carried()
        assert target.content("app").blobs >= {BLOB.digest}
        assert target.requests.count(kind="upload", method="GET") == 0  # It did not notice.
    assert carried.cuts >= SIZE // CUT - 1
    assert carried.to_client <= 1.10 * SIZE


@pytest.mark.parametrize("profile", KEEPING, ids=lambda profile: profile.name)
async def test_an_upload_over_a_line_with_cuts_costs_its_size(tmp_path: Path, profile: Profile) -> None:
    """If uploads survive a cut, no byte that arrived is sent again."""
    with fake_with(profiles.OCI, IMAGE) as source, fake_with(profile) as target:
        with CutLine(target.host, to_server_bytes=CUT) as line:
            await copy(tmp_path, source.host, line.host)
            carried = line.carried()
        assert target.content("app").blobs >= {BLOB.digest}
    assert carried.cuts >= SIZE // CUT - 2
    assert carried.to_server <= 1.10 * SIZE


@pytest.mark.real
async def test_distribution_loses_one_length_of_the_line(
    target_registry: DockerRegistry, source_registry: DockerRegistry, tmp_path: Path
) -> None:
    """A cut loses the whole upload; then each chunk gets a connection of its own."""
    cut = 16 * MIB
    Peer(source_registry.host).push("app", IMAGE, "v1")
    with CutLine(target_registry.host, to_server_bytes=cut) as line:
        await copy(tmp_path, source_registry.host, line.host)
        carried = line.carried()
    assert Peer(target_registry.host).manifest("app", "v1") == IMAGE.root.content
    assert carried.to_server <= SIZE + 1.1 * cut


def kill_and_rerun(cli: CommandLine, source: str, target: str, line: SlowLine) -> None:
    """Copy in a process that is killed once its upload is recorded, and again in another process."""
    assert cli.run("copy", f"{source}/app:small", f"{target}/app:small", "--state", "state.db").returncode == 0
    arguments = "copy", f"{source}/app:v1", f"{target}/app:v1", "--state", "state.db"
    first = cli.start(*arguments)
    while line.carried().to_server < SIZE // 2 or not has_upload(cli.directory / "state.db"):
        assert first.poll() is None
        time.sleep(0.02)
    first.kill()
    first.wait()
    wait_until_quiet(line)
    done = cli.run(*arguments)
    assert done.returncode == 0, done.stderr


def wait_until_quiet(line: SlowLine) -> None:
    """Wait until *line* has delivered what a killed process sent: the next process starts faster than that arrives."""
    carried = -1
    while (now := line.carried().to_server) != carried:
        carried = now
        time.sleep(0.5)


def has_upload(state: Path) -> bool:
    """Whether *state* has a recorded upload."""
    with closing(sqlite3.connect(state)) as database:
        return bool(database.execute("SELECT count(*) FROM image_syncer_uploads").fetchone()[0])


@pytest.mark.parametrize(("profile", "most"), [(profiles.OCI, 1.15), (profiles.DISTRIBUTION_2_8, 2.0)])
def test_the_next_process_continues_the_upload_of_a_killed_one(cli: CommandLine, profile: Profile, most: float) -> None:
    """This holds if uploads survive; otherwise the upload starts again.

    The kill may hit the moment in which nothing of a chunk is known to have arrived, so one of three kills counts.
    """
    amounts: list[tuple[float, float]] = []
    for _ in range(3):
        with fake_with(profiles.OCI, IMAGE) as source, fake_with(profile) as target:
            source.load("app", SMALL, "small")
            upward = RelayLine(bytes_per_second=8 * MIB)
            with SlowLine(target.host, upward) as line, SlowLine(source.host, RelayLine()) as reading:
                kill_and_rerun(cli, reading.host, line.host, line)
                sent, read = line.carried().to_server, reading.carried().to_client
            assert target.content("app").blobs >= {BLOB.digest}
        amounts.append((sent / SIZE, read / SIZE))
        if sent <= most * SIZE and read <= (most + 0.1) * SIZE:
            return
    pytest.fail(f"sent and read, as multiples of the blob: {amounts}")


async def test_a_target_whose_line_breaks_continues_alone(tmp_path: Path) -> None:
    """The others keep the shared read; this target reads the rest by a range."""
    with (
        fake_with(profiles.OCI, IMAGE) as source,
        fake_with(profiles.OCI) as steady,
        fake_with(profiles.OCI) as broken,
    ):
        broken.faults.add(faults.cut(after_bytes=20 * MIB), method="PATCH", times=1)
        rules = {f"{source.host}/app:v1": [f"{steady.host}/app", f"{broken.host}/app"]}
        result = await sync_files(tmp_path, rules)
        assert {entry.outcome for entry in result.results} == {"copied"}
        reads = [
            request
            for request in source.requests.only(method="GET", kind="blob")
            if BLOB.digest.encoded in request.path
        ]
        assert steady.requests.only(kind="upload").bytes_in == broken.requests.only(kind="upload").bytes_in
    assert len(reads) == 2
    start = int(reads[1].headers["range"].removeprefix("bytes=").partition("-")[0])
    assert 19 * MIB <= start <= 20 * MIB
