"""`create:` from the command line: the dry run warns, the run creates, and without it the error says what to run."""

from collections.abc import Generator
from dataclasses import replace

import pytest

from image_syncer.testing import Account, Accounts, FakeRegistry, profiles
from image_syncer.testing.images import single
from support.command_line import CommandLine

ACCOUNTS = Accounts({"robot": Account("robot-password"), "admin": Account("admin-password")})
IMAGE = single("app", layers=(10, 2000))


@pytest.fixture
def harbor() -> Generator[FakeRegistry]:
    """A Harbor without a project."""
    closed = replace(profiles.HARBOR.guarded(ACCOUNTS), projects=(), creation_api=True)
    with FakeRegistry.in_thread(closed) as registry:
        yield registry


def write(cli: CommandLine, source: FakeRegistry, harbor: FakeRegistry, create: str) -> None:
    """Write a file with two images for one project that *harbor* lacks."""
    for name in ("one", "two"):
        source.load(f"team/{name}", IMAGE, "v1")
    cli.write(
        "mirror.yaml",
        f"""version: 1
registries:
  {harbor.host}:
    username: robot
    password: robot-password
    {create}
rules:
  - {{name: one, source: {source.host}/team/one, targets: {harbor.host}/mirror/one}}
  - {{name: two, source: {source.host}/team/two, targets: {harbor.host}/mirror/two}}
""",
    )


def test_a_run_creates_the_project_once_and_the_dry_run_warns(
    cli: CommandLine, source: FakeRegistry, harbor: FakeRegistry
) -> None:
    """The login of the administrator is for the API alone."""
    write(cli, source, harbor, "create: true\n    control: {username: admin, password: admin-password}")
    dry = cli.run("sync", "-c", "mirror.yaml", "--dry-run")
    warning = f"would create the project mirror at {harbor.host} if a push finds it missing"
    assert (dry.returncode, (dry.stdout + dry.stderr).count(warning)) == (0, 1)
    assert harbor.creation.documents == []
    done = cli.run("sync", "-c", "mirror.yaml", "--output", "json")
    assert done.returncode == 0, done.stderr
    assert len(harbor.creation.documents) == 1
    assert harbor.content("mirror/one").tags == harbor.content("mirror/two").tags == {"v1": IMAGE.digest}
    again = cli.run("sync", "-c", "mirror.yaml", "--dry-run")
    assert warning not in again.stdout + again.stderr


def test_without_create_the_failure_has_the_call(cli: CommandLine, source: FakeRegistry, harbor: FakeRegistry) -> None:
    """Side, step and remedy."""
    write(cli, source, harbor, "insecure: true")
    failed = cli.run("sync", "-c", "mirror.yaml", "--retries", "0")
    assert failed.returncode == 1
    text = failed.stdout + failed.stderr
    assert "target: push blob: " in text
    assert "create the project: curl -u USER -X POST" in text
    assert "robot-password" not in text
    assert harbor.creation.documents == []


def test_a_refused_creation_says_whose_login_to_give(
    cli: CommandLine, source: FakeRegistry, harbor: FakeRegistry
) -> None:
    """It is asked for once, whatever the number of images and retries."""
    write(cli, source, harbor, "create: true\n    control: {username: admin, password: WRONG}")
    failed = cli.run("sync", "-c", "mirror.yaml")
    assert failed.returncode == 1
    assert "create the project: not authorised" in failed.stdout + failed.stderr
    assert "WRONG" not in failed.stdout + failed.stderr
    assert [one.status for one in harbor.requests if one.path == "/api/v2.0/projects"] == [401]
