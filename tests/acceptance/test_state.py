"""The state of one-shot runs, as its users meet it: it spares requests, and whatever becomes of it harms nothing."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from image_syncer.testing.images import Image, multi
from support.command_line import CommandLine, Done
from support.docker_registry import DockerRegistry
from support.registry_http import Peer

pytestmark = pytest.mark.real

TAGS = ("v1", "v2")
FILTER = ("--arch", "arm64")
_ENGINE = (
    "import sys; from image_syncer.cli.main import main; main(sys.argv[1:]); sys.exit('sqlalchemy' in sys.modules)"
)


class Site:
    """A registry with two images in a repository, and the rule that copies them to another one."""

    def __init__(self, registry: DockerRegistry, cli: CommandLine) -> None:
        self.registry = registry
        self.peer = Peer(registry.host)
        self.cli = cli
        self.name = f"state-{uuid4().hex[:12]}"
        self.images: dict[str, Image] = {tag: multi(f"{self.name}/{tag}") for tag in TAGS}
        for tag, image in self.images.items():
            self.peer.push(f"{self.name}/app", image, tag)
        self.aim("first")

    @property
    def file(self) -> Path:
        """Where the state is unless another place is named."""
        return self.cli.directory / ".local" / "state" / "image-syncer" / "state.db"

    def aim(self, target: str, more: str = "") -> None:
        """Let the rule copy to the repository *target*."""
        host = self.registry.host
        self.cli.write(
            "n.yaml",
            f"version: 1\nregistries: {{'{host}': {{insecure: true}}}}\nrules:\n"
            f" - {{name: app, source: {host}/{self.name}/app, targets: {host}/{self.name}/{target}{more}}}\n",
        )

    def sync(self, *options: str) -> Done:
        """Carry the rule out; nothing else counts as asked of the registry."""
        self.registry.forget_requests()
        return self.cli.run("sync", "-c", "n.yaml", "--quiet", *options)

    def asked(self, repository: str) -> list[str]:
        """Return the methods of the requests for manifests of *repository*."""
        requests = self.registry.read_requests().only(kind="manifest", repository=f"{self.name}/{repository}")
        return [request.method for request in requests]

    def manifests(self, target: str) -> list[bytes | None]:
        """Return what the tags name at *target*."""
        return [self.peer.manifest(f"{self.name}/{target}", tag) for tag in TAGS]


@pytest.fixture
def site(docker_registry: DockerRegistry, cli: CommandLine) -> Site:
    """A site of the test's own."""
    return Site(docker_registry, cli)


def test_a_run_that_copies_nothing_makes_and_imports_no_state(site: Site) -> None:
    """To ask for two tags takes no database."""
    assert site.sync("--state", "none").returncode == 0
    command = [sys.executable, "-c", _ENGINE, "sync", "-c", "n.yaml", "--output", "json"]
    done = subprocess.run(
        command,
        cwd=site.cli.directory,
        env=site.cli.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert json.loads(done.stdout)["summary"]["unchanged"] == 2, done.stderr
    assert done.returncode == 0, "SQLAlchemy was imported"
    assert not (site.cli.directory / ".local").exists()


def test_a_filter_costs_a_head_on_each_side_in_the_second_run(site: Site) -> None:
    """What it leaves of an index is known from the first; without a state it is found out anew."""
    assert site.sync(*FILTER).returncode == 0
    assert site.file.exists()
    assert site.sync(*FILTER).returncode == 0
    assert (site.asked("app"), site.asked("first")) == (["HEAD"] * 2, ["HEAD"] * 2)
    assert site.sync(*FILTER, "--state", "none").returncode == 0
    assert sorted(site.asked("app")) == ["GET", "GET", "HEAD", "HEAD"]


def test_a_recheck_asks_no_target_in_its_time(site: Site) -> None:
    """By choice, in the native file; --force asks all the same."""
    site.aim("first", ", recheck_targets: 24h")
    assert site.sync().returncode == 0
    assert site.sync().returncode == 0
    assert site.sync().returncode == 0
    assert (site.asked("app"), site.asked("first")) == (["HEAD"] * 2, [])
    assert site.sync("--force").returncode == 0
    assert site.asked("first").count("HEAD") >= 2


def test_a_state_may_be_named(site: Site) -> None:
    """The usual one is left alone."""
    assert site.sync(*FILTER, "--state", "deep/mine.db").returncode == 0
    assert (site.cli.directory / "deep" / "mine.db").exists()
    assert not site.file.exists()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("mysql://host/db", "state: the scheme is neither sqlite nor postgresql"),
        (".", "--state .: not a file"),
        ("other.db", "state other.db: a database of another program"),
    ],
)
def test_nonsense_is_said_before_anything_is_contacted(site: Site, state: str, message: str) -> None:
    """Exit code 2 and one line."""
    with closing(sqlite3.connect(site.cli.directory / "other.db")) as connection:
        connection.execute("CREATE TABLE precious (x)")
    done = site.sync("--state", state)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert message in done.stderr
    assert len(site.registry.read_requests()) == 0


def truncated(file: Path) -> None:
    """Leave half of it."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2 + 100])


def garbage(file: Path) -> None:
    """Write something else."""
    file.write_bytes(b"version: 1\n" * 5000)


def of_the_future(file: Path) -> None:
    """Let a version have written it that nobody knows yet."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE image_syncer_version SET version_num = '9999'")


def without_tables(file: Path) -> None:
    """Take the tables away behind its back."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for table in ("trimmed", "copies", "blobs"):
            connection.execute(f"DROP TABLE image_syncer_{table}")


def wrong(file: Path) -> None:
    """Say of everything what is not so."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        digest = f"sha256:{'0' * 64}"
        connection.execute("UPDATE image_syncer_trimmed SET digest = ?", (digest,))
        connection.execute("UPDATE image_syncer_copies SET target_digest = ?", (digest,))
        connection.execute("UPDATE image_syncer_blobs SET repository = 'not/there'")


def unreadable(file: Path) -> None:
    """Say what is no digest and no repository."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE image_syncer_trimmed SET digest = 'hunter2'")
        connection.execute("UPDATE image_syncer_blobs SET repository = '../..'")


def a_directory(file: Path) -> None:
    """Have a directory in its place."""
    file.unlink()
    file.mkdir()


def deleted(file: Path) -> None:
    """Take it away."""
    file.unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (truncated, "the file is damaged"),
        (garbage, "the file is damaged: file is not a database"),
        (of_the_future, "written by a newer image-syncer (schema '9999'"),
        (without_tables, "no such table"),
        (unreadable, "not a digest"),
        (wrong, ""),
        (deleted, ""),
        (a_directory, "Is a directory"),
    ],
)
def test_whatever_became_of_the_state_the_images_arrive(site: Site, harm: Callable[[Path], None], said: str) -> None:
    """Exit code 0, one warning at most, and the very bytes that a run without any state makes."""
    assert site.sync(*FILTER).returncode == 0
    for log in site.file.parent.glob("state.db-*"):
        log.unlink()
    harm(site.file)
    site.aim("second")
    done = site.sync(*FILTER, "--report", "report.json")
    assert done.returncode == 0, done.stderr
    assert site.manifests("second") == site.manifests("first")
    assert None not in site.manifests("second")
    assert json.loads(site.cli.read("report.json"))["summary"]["copied"] == 2
    noisy = site.cli.run("sync", "-c", "n.yaml", *FILTER)
    warnings = [line for line in noisy.stderr.splitlines() if "warning" in line]
    assert noisy.returncode == 0
    assert len(warnings) == bool(said), noisy.stderr
    assert said in "".join(warnings)


def test_a_state_of_other_registries_is_of_no_use_and_no_harm(
    site: Site, docker_htpasswd: DockerRegistry, cli: CommandLine
) -> None:
    """Its rows are about others."""
    assert site.sync(*FILTER).returncode == 0
    with closing(sqlite3.connect(site.file, isolation_level=None)) as connection:
        connection.execute("UPDATE image_syncer_blobs SET registry = ?", (docker_htpasswd.host,))
        connection.execute("UPDATE image_syncer_copies SET repository = ?", (f"{docker_htpasswd.host}/x",))
    site.aim("second")
    done = cli.run("sync", "-c", "n.yaml", *FILTER)
    assert done.returncode == 0
    assert "warning" not in done.stderr
    assert site.manifests("second") == site.manifests("first")


@pytest.mark.parametrize("blocks", [0, 20])
def test_a_full_disk_is_a_warning(site: Site, blocks: int) -> None:
    """Whether there is no room from the beginning, or none any more."""
    done = site.cli.shell(f"ulimit -f {blocks}; $it sync -c n.yaml --arch arm64")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "warning" in line], done.stderr
    assert None not in site.manifests("first")


def test_a_directory_that_cannot_be_made_is_a_warning(site: Site) -> None:
    """One line, with what to do; the images are copied."""
    site.cli.environment["XDG_STATE_HOME"] = "/proc/nowhere"
    done = site.cli.run("sync", "-c", "n.yaml", *FILTER)
    assert done.returncode == 0
    (warning,) = [line for line in done.stderr.splitlines() if "warning" in line]
    assert "state /proc/nowhere/image-syncer/state.db: " in warning
    assert "which costs requests alone (check the path and its permissions)" in warning


def test_a_database_server_that_is_away_is_a_warning(site: Site) -> None:
    """The native file may name one, which one-shot runs use too."""
    site.cli.write("n.yaml", site.cli.read("n.yaml") + "state: {url: 'postgresql://me:s3cret@127.0.0.1:1/x'}\n")
    done = site.cli.run("sync", "-c", "n.yaml", *FILTER)
    assert done.returncode == 0
    (warning,) = [line for line in done.stderr.splitlines() if "warning" in line]
    assert "state x at 127.0.0.1" in warning
    assert "s3cret" not in done.stderr
    assert None not in site.manifests("first")
