"""`login` and `logout`, as users run them."""

from collections.abc import Generator

import pytest

from image_syncer.testing import Account, Accounts, FakeRegistry, profiles
from support.command_line import CommandLine

PASSWORD = "correct: horse"


@pytest.fixture(scope="module")
def registry() -> Generator[FakeRegistry]:
    """A registry that lets in only alice."""
    with FakeRegistry.in_thread(profiles.OCI.guarded(Accounts({"alice": Account(PASSWORD)}))) as fake:
        yield fake


def test_a_login_opens_the_registry_until_the_logout(cli: CommandLine, registry: FakeRegistry) -> None:
    """The password comes from stdin and appears nowhere but in the file."""
    cli.write("password", f"{PASSWORD}\n")
    done = cli.shell(f"$it login -u alice --password-stdin {registry.host} < password")
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"logged in to {registry.host}; the login is in {cli.directory}/.docker/config.json\n"
    assert done.stdout == ""
    done = cli.run("tags", f"{registry.host}/team/absent")
    assert "absent" in done.stderr  # The registry let us in, and has no such repository.
    assert "login" not in done.stderr
    done = cli.run("logout", registry.host)
    assert (done.returncode, done.stderr) == (0, f"logged out of {registry.host}\n")
    done = cli.run("logout", registry.host)
    assert done.stderr == f"no login for {registry.host} in {cli.directory}/.docker/config.json\n"
    done = cli.run("tags", f"{registry.host}/team/absent")
    assert f"check the login of {registry.host}" in done.stderr


def test_a_refused_login_is_not_stored(cli: CommandLine, registry: FakeRegistry) -> None:
    """The registry is asked first."""
    done = cli.shell(f"echo hunter2 | $it login -u alice --password-stdin {registry.host}")
    assert done.returncode == 1
    assert "does not accept the credentials" in done.stderr
    assert "hunter2" not in done.stderr
    assert not (cli.directory / ".docker").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("login --password-stdin q.io", "--password-stdin needs a user name (add --username NAME)"),
        ("login -u alice q.io < /dev/null", "cannot be asked for without a terminal (use --password-stdin)"),
        ("login -u alice --password-stdin q.io < /dev/null", "the password is empty"),
        ("login -u alice --password-stdin q.io/team < /dev/null", "q.io/team: a login is for a whole registry (q.io)"),
        ("logout nginx", "not a registry"),
    ],
)
def test_a_wrong_use_asks_no_registry(cli: CommandLine, line: str, message: str) -> None:
    """Exit code 2 and one line."""
    done = cli.shell(f"$it {line}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr
