"""The state of one-shot runs: it saves requests, and a broken state does no harm."""

import json
import os
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
_ENGINE = "import sys; from image_syncer.cli.main import main; main(sys.argv[1:]);sys.exit('sqlalchemy' in sys.modules)"


class Site:
    """A registry with two images in a repository, and a rule that copies them to another one."""

    def __init__(self, registry: DockerRegistry, cli: CommandLine) -> None:
        self.registry = registry
        self.peer = Peer(registry.host)
        self.cli = cli
        self.name = f"state-{uuid4().hex[:12]}"
        self.images: dict[str, Image] = {tag: multi(f"{self.name}/{tag}") for tag in TAGS}
        for tag, image in self.images.items():
            self.peer.push(f"{self.name}/app", image, tag)
        self.write_rule("first")

    @property
    def file(self) -> Path:
        """The default file of the state."""
        return self.cli.directory / ".local" / "state" / "image-syncer" / "state.db"

    def write_rule(self, target: str, more: str = "") -> None:
        """Write a rule that copies to the repository *target*."""
        host = self.registry.host
        self.cli.write(
            "n.yaml",
            f"version: 1\nregistries: {{'{host}': {{insecure: true}}}}\nrules:\n"
            f" - {{name: app, source: {host}/{self.name}/app, targets: {host}/{self.name}/{target}{more}}}\n",
        )

    def sync(self, *options: str) -> Done:
        """Run the rule and count only its requests."""
        self.registry.forget_requests()
        return self.cli.run("sync", "-c", "n.yaml", "--quiet", *options)

    def methods(self, repository: str) -> list[str]:
        """Return the methods of the requests for manifests of *repository*."""
        requests = self.registry.read_requests().only(kind="manifest", repository=f"{self.name}/{repository}")
        return [request.method for request in requests]

    def manifests(self, target: str) -> list[bytes | None]:
        """Return the manifests of the tags at *target*."""
        return [self.peer.manifest(f"{self.name}/{target}", tag) for tag in TAGS]


@pytest.fixture
def site(docker_registry: DockerRegistry, cli: CommandLine) -> Site:
    """Return a new site."""
    return Site(docker_registry, cli)


def test_a_state_that_others_can_read_is_a_warning_on_stderr(site: Site) -> None:
    """The result on stdout stays JSON."""
    state = site.cli.write("state.db", "")
    state.chmod(0o644)
    done = site.cli.run("sync", "-c", "n.yaml", "--state", "state.db", "--output", "json")
    assert json.loads(done.stdout)["summary"]["copied"] == 2
    warning = "state state.db: other users can read the file, which names private images (chmod 600 state.db)"
    assert f"image-syncer: warning: {warning}\n" in done.stderr


def test_a_run_without_changes_begins_a_state(site: Site) -> None:
    """Later runs compare what is attached to the images then. It does not import SQLAlchemy."""
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
    assert site.file.exists()


def test_a_platform_filter_costs_one_head_at_each_side_in_the_second_run(site: Site) -> None:
    """The state has the filtered digest of the index; without a state the run reads the index again."""
    assert site.sync(*FILTER).returncode == 0
    assert site.file.exists()
    assert site.sync(*FILTER).returncode == 0
    assert (site.methods("app"), site.methods("first")) == (["HEAD"] * 2, ["HEAD"] * 2)
    assert site.sync(*FILTER, "--state", "none").returncode == 0
    assert sorted(site.methods("app")) == ["GET", "GET", "HEAD", "HEAD"]


def test_recheck_targets_skips_requests_to_the_target(site: Site) -> None:
    """The native file turns it on; --force asks the target again."""
    site.write_rule("first", ", recheck_targets: 24h")
    assert site.sync().returncode == 0
    assert site.sync().returncode == 0
    assert site.sync().returncode == 0
    assert (site.methods("app"), site.methods("first")) == (["HEAD"] * 2, [])
    assert site.sync("--force").returncode == 0
    assert site.methods("first").count("HEAD") >= 2


def test_the_option_state_names_another_file(site: Site) -> None:
    """The default file is not created."""
    assert site.sync(*FILTER, "--state", "deep/other.db").returncode == 0
    assert (site.cli.directory / "deep" / "other.db").exists()
    assert not site.file.exists()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("mysql://host/db", "state: the scheme is neither sqlite nor postgresql"),
        (".", "--state .: not a file"),
        ("other.db", "state other.db: a database of another program"),
    ],
)
def test_a_wrong_state_is_an_early_error(site: Site, state: str, message: str) -> None:
    """The exit code is 2, and no request is made."""
    with closing(sqlite3.connect(site.cli.directory / "other.db")) as connection:
        connection.execute("CREATE TABLE precious (x)")
    done = site.sync("--state", state)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert message in done.stderr
    assert len(site.registry.read_requests()) == 0


def truncated(file: Path) -> None:
    """Cut the file in half."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2 + 100])


def garbage(file: Path) -> None:
    """Replace the content by text."""
    file.write_bytes(b"version: 1\n" * 5000)


def newer_schema(file: Path) -> None:
    """Set an unknown schema version."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE image_syncer_version SET version_num = '9999'")


def without_tables(file: Path) -> None:
    """Drop the cache tables."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for table in ("trimmed", "copies", "blobs"):
            connection.execute(f"DROP TABLE image_syncer_{table}")


def wrong_rows(file: Path) -> None:
    """Write valid rows that are not true."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        digest = f"sha256:{'0' * 64}"
        connection.execute("UPDATE image_syncer_trimmed SET digest = ?", (digest,))
        connection.execute("UPDATE image_syncer_copies SET target_digest = ?", (digest,))
        connection.execute("UPDATE image_syncer_blobs SET repository = 'not/there'")


def invalid_rows(file: Path) -> None:
    """Write invalid digests and repositories."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE image_syncer_trimmed SET digest = 'hunter2'")
        connection.execute("UPDATE image_syncer_blobs SET repository = '../..'")


def a_directory(file: Path) -> None:
    """Replace the file by a directory."""
    file.unlink()
    file.mkdir()


def deleted(file: Path) -> None:
    """Delete the file."""
    file.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "the file is damaged"),
        (garbage, "the file is damaged: file is not a database"),
        (newer_schema, "written by a newer image-syncer (schema '9999'"),
        (without_tables, "no such table"),
        (invalid_rows, "not a digest"),
        (wrong_rows, ""),
        (deleted, ""),
        (a_directory, "Is a directory"),
    ],
)
def test_images_arrive_despite_a_damaged_state(site: Site, damage: Callable[[Path], None], message: str) -> None:
    """The exit code is 0, there is one warning at most, and the manifests are those of a run without a state."""
    assert site.sync(*FILTER).returncode == 0
    for log in site.file.parent.glob("state.db-*"):
        log.unlink()
    damage(site.file)
    site.write_rule("second")
    done = site.sync(*FILTER, "--report", "report.json")
    assert done.returncode == 0, done.stderr
    assert site.manifests("second") == site.manifests("first")
    assert None not in site.manifests("second")
    assert json.loads(site.cli.read("report.json"))["summary"]["copied"] == 2
    noisy = site.cli.run("sync", "-c", "n.yaml", *FILTER)
    warnings = [line for line in noisy.stderr.splitlines() if "warning" in line]
    assert noisy.returncode == 0
    assert len(warnings) == bool(message), noisy.stderr
    assert message in "".join(warnings)


def test_a_state_of_other_registries_does_no_harm(
    site: Site, docker_htpasswd: DockerRegistry, cli: CommandLine
) -> None:
    """Its rows do not apply to this registry."""
    assert site.sync(*FILTER).returncode == 0
    with closing(sqlite3.connect(site.file, isolation_level=None)) as connection:
        connection.execute("UPDATE image_syncer_blobs SET registry = ?", (docker_htpasswd.host,))
        connection.execute("UPDATE image_syncer_copies SET repository = ?", (f"{docker_htpasswd.host}/x",))
    site.write_rule("second")
    done = cli.run("sync", "-c", "n.yaml", *FILTER)
    assert done.returncode == 0
    assert "warning" not in done.stderr
    assert site.manifests("second") == site.manifests("first")


@pytest.mark.parametrize("blocks", [0, 20])
def test_a_full_disk_is_a_warning(site: Site, blocks: int) -> None:
    """The disk is full from the start, or becomes full during the run."""
    done = site.cli.shell(f"ulimit -f {blocks}; $it sync -c n.yaml --arch arm64")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "warning" in line], done.stderr
    assert None not in site.manifests("first")


def test_a_state_directory_that_cannot_be_created_is_a_warning(site: Site) -> None:
    """The warning has a remedy, and the images are copied."""
    site.cli.environment["XDG_STATE_HOME"] = "/proc/nowhere"
    done = site.cli.run("sync", "-c", "n.yaml", *FILTER)
    assert done.returncode == 0
    (warning,) = [line for line in done.stderr.splitlines() if "warning" in line]
    assert "state /proc/nowhere/image-syncer/state.db: " in warning
    assert "which only costs requests (check the path and its permissions)" in warning


@pytest.mark.parametrize("option", ["", "--state denied/image-syncer/state.db"])
def test_an_unreadable_state_directory_is_one_warning(site: Site, option: str) -> None:
    """It may belong to root after a run with sudo. The images are copied without the state."""
    denied = site.cli.directory / "denied"
    denied.mkdir()
    denied.chmod(0)
    site.cli.environment["XDG_STATE_HOME"] = str(denied)
    # Without these capabilities even root may not enter the directory.
    unprivileged = "setpriv --inh-caps=-dac_override,-dac_read_search --bounding-set=-dac_override,-dac_read_search"
    prefix = unprivileged if os.geteuid() == 0 else ""
    try:
        done = site.cli.shell(f"{prefix} $it sync -c n.yaml {' '.join(FILTER)} {option}")
    finally:
        denied.chmod(0o700)
    assert done.returncode == 0, done.stderr
    (warning,) = [line for line in done.stderr.splitlines() if "warning" in line]
    assert "state.db: Permission denied" in warning
    assert "which only costs requests (check the path and its permissions)" in warning
    assert None not in site.manifests("first")


def test_an_unreachable_database_server_is_a_warning(site: Site) -> None:
    """One-shot runs use the server that the native file names."""
    site.cli.write("n.yaml", site.cli.read("n.yaml") + "state: {url: 'postgresql://me:s3cret@127.0.0.1:1/x'}\n")
    done = site.cli.run("sync", "-c", "n.yaml", *FILTER)
    assert done.returncode == 0
    (warning,) = [line for line in done.stderr.splitlines() if "warning" in line]
    assert "state x at 127.0.0.1" in warning
    assert "s3cret" not in done.stderr
    assert None not in site.manifests("first")
