"""A changed configuration takes effect without a restart; over a real process and real registries."""

import signal
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from image_syncer.testing.images import single
from support.daemons import answers, run_daemon, wait_for
from support.docker_registry import DockerRegistry
from support.ports import free_port
from support.registry_http import Peer

pytestmark = pytest.mark.real


@dataclass
class Running:
    """A daemon whose file can be changed."""

    process: Popen[bytes]
    file: Path
    port: int
    source: Peer
    target: Peer

    def write(self, rules: str, more: str = "") -> None:
        """Replace the file."""
        self.file.write_text(native(self.port, self.file.parent, rules, more))

    def rule(self, name: str) -> str:
        """Return a rule that copies the repository *name*."""
        ends = f"source: '{self.source.host}/{name}', targets: '{self.target.host}/{name}'"
        return f"  - {{name: {name}, {ends}, every: 1h}}"

    def run(self, name: str) -> bool:
        """Request a run of a rule; return whether the rule exists."""
        request = Request(f"http://127.0.0.1:{self.port}/api/v1/rules/{name}/run", method="POST")
        try:
            with urlopen(request, timeout=10) as response:
                return response.status == 202
        except HTTPError as error:
            error.close()
            return error.code != 404

    def read(self, path: str) -> str:
        """Return the text at *path*."""
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
            return response.read().decode()

    def said(self, event: str) -> bool:
        """Whether the log contains *event*."""
        return event in (self.file.parent / "log").read_text()


@pytest.fixture
def daemon(tmp_path: Path) -> Generator[Running]:
    """A daemon with a rule for `one`."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    with DockerRegistry() as here, DockerRegistry() as there:
        source, target, port, file = Peer(here.host), Peer(there.host), free_port(), tmp_path / "sync.yaml"
        for name in ("one", "two"):
            source.push(name, single(name), "v1")
        rule = f"  - {{name: one, source: '{source.host}/one', targets: '{target.host}/one', every: 1h}}"
        file.write_text(native(port, tmp_path, rule))
        with run_daemon(tmp_path, port, "serve", "-c", "sync.yaml", "--log", "log") as process:
            yield Running(process, file, port, source, target)


def native(port: int, folder: Path, rules: str, more: str = "") -> str:
    """Return a file that serves without a login, on loopback."""
    server = f"server: {{listen: 127.0.0.1:{port}}}"
    return f"version: 1\nrules:\n{rules}\n{server}\nstate: {{path: '{folder}/state'}}\n{more}"


def test_a_changed_file_takes_effect_and_a_bad_one_is_refused(daemon: Running) -> None:
    """A new rule runs within seconds; the log names a mistake with its line, and the previous configuration stays."""
    daemon.write(f"{daemon.rule('one')}\n{daemon.rule('two')}")
    wait_for(lambda: daemon.target.tags("two") == ["v1"])
    daemon.write(f"{daemon.rule('one')}\n  - {{name: bad, sauce: x}}")
    wait_for(lambda: daemon.said("configuration.refused"))
    assert daemon.said("sync.yaml:4:17: rules[1]: unknown key 'sauce'")
    assert "reload of the configuration was refused" in daemon.read("/readyz")
    daemon.source.push("two", single("after"), "v2")
    assert daemon.run("two")
    wait_for(lambda: daemon.target.tags("two") == ["v1", "v2"])
    assert answers(daemon.port)
    daemon.write(daemon.rule("two"))
    wait_for(lambda: daemon.read("/readyz") == "ok\n")


def test_a_new_file_that_was_wrong_takes_effect_once_it_is_corrected(daemon: Running) -> None:
    """The names in its directory stay the same; so does the main file when a missing secret appears."""
    folder = daemon.file.parent / "conf.d"
    folder.mkdir()
    daemon.write(daemon.rule("one"), "include: conf.d\n")
    wait_for(lambda: daemon.said("configuration.reloaded"))
    added = folder / "two.yaml"
    added.write_text("rules: [")
    wait_for(lambda: daemon.said("configuration.refused"))
    added.write_text(
        f"rules:\n{daemon.rule('two')}\nregistries: {{q.io: {{username: u, password: '${{file:../pw}}'}}}}\n"
    )
    wait_for(lambda: daemon.said("two.yaml:3:") and daemon.said("../pw"))
    assert (daemon.file.parent / "log").read_text().count("configuration.refused") == 2
    assert not daemon.run("two")
    (daemon.file.parent / "pw").write_text("secret")
    wait_for(lambda: daemon.target.tags("two") == ["v1"])
    assert daemon.read("/readyz") == "ok\n"


def test_sighup_reloads_the_file_at_once(daemon: Running) -> None:
    """Also an unchanged one; the log names keys that need a restart."""
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: daemon.said("configuration.reloaded"))
    other = native(daemon.port, daemon.file.parent / "elsewhere", daemon.rule("one"))
    daemon.file.write_text(other)
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: daemon.said("configuration.needs_restart"))
    assert daemon.said("state")


def test_a_removed_rule_cannot_be_run(daemon: Running) -> None:
    """It is unknown after the reload."""
    assert daemon.run("one")
    daemon.write(daemon.rule("two"))
    wait_for(lambda: daemon.run("two"))
    assert not daemon.run("one")


def test_limits_of_a_changed_file_apply(daemon: Running) -> None:
    """A limited registry still gets all images."""
    limited = f"registries:\n  '{daemon.target.host}': {{limits: {{copies: 1}}}}\n"
    daemon.write(daemon.rule("two"), limited)
    wait_for(lambda: daemon.said("configuration.reloaded"))
    for number in range(5):
        daemon.source.push("two", single(f"limited-{number}"), f"v{number + 2}")
    assert daemon.run("two")
    wait_for(lambda: len(daemon.target.tags("two")) == 6)
