"""image-syncer as the Dockerfile runs it, without Docker.

bubblewrap takes the place of the container: the root is read-only, the user is 12345, no HOME is set, and only the
state directory can be written.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import single
from support.daemons import answers, wait_for
from support.ports import free_port
from support.tools import ROOT

STATE: Final = "/var/lib/image-syncer"
_SANDBOX: Final = ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--die-with-parent", "--new-session")
_SERVER: Final = """
version: 1
rules: []
server: {listen: '127.0.0.1:PORT', allow_open: true}
"""


def dockerfile() -> str:
    """Return the Dockerfile with its lines joined."""
    return (ROOT / "Dockerfile").read_text().replace("\\\n", "")


def sandboxed(state: Path, *arguments: str) -> Sequence[str]:
    """Return the command that runs image-syncer as the container does."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        pytest.skip("bubblewrap is not installed")
    settings = dict(re.findall(r"^(?:ENV )? *([A-Z_]+)=(\S+)", dockerfile().partition("ENV ")[2], re.MULTILINE))
    command = [bwrap, *_SANDBOX, "--uid", "12345", "--gid", "12345", "--ro-bind", "/", "/", "--proc", "/proc"]
    command += ["--dev", "/dev", "--tmpfs", "/var/lib", "--bind", str(state), STATE, "--remount-ro", "/var/lib"]
    command += ["--clearenv", "--chdir", "/"]
    for name, value in {"PATH": "/usr/bin:/bin", "XDG_STATE_HOME": "/var/lib", **settings}.items():
        command += ["--setenv", name, value]
    return [*command, str(Path(sys.executable).parent / "image-syncer"), *arguments]


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run *command* to its end; skip the test where user namespaces are forbidden."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode and done.stderr.startswith("bwrap:"):
        pytest.skip(f"no sandbox here: {done.stderr.strip()}")
    return done


@pytest.mark.slow
def test_a_container_copies(tmp_path: Path) -> None:
    """Twice: the second run finds the state of the first one."""
    with FakeRegistry.in_thread() as source, FakeRegistry.in_thread() as target:
        source.load("team/app", single("container"), "v1")
        ends = (f"{source.host}/team/app:v1", f"{target.host}/mirror/app:v1")
        command = sandboxed(tmp_path, "copy", *ends, "--output", "json")
        outcomes = [run(command) for _ in range(2)]
    assert [done.returncode for done in outcomes] == [0, 0], outcomes
    assert not any("warning" in done.stderr for done in outcomes)
    assert [json.loads(done.stdout)["images"][0]["outcome"] for done in outcomes] == ["copied", "unchanged"]
    assert (tmp_path / "state.db").exists()


@pytest.mark.slow
def test_a_daemon_drains_at_sigterm(tmp_path: Path) -> None:
    """It is process 1 in the container, where a signal without a handler does nothing."""
    port = free_port()
    configuration = tmp_path / "mirror.yaml"
    configuration.write_text(_SERVER.replace("PORT", str(port)))
    run(sandboxed(tmp_path, "--version"))
    command = sandboxed(tmp_path, "serve", "--config", f"{STATE}/mirror.yaml")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            wait_for(lambda: answers(port) or process.poll() is not None)
            assert process.poll() is None, process.stdout and process.stdout.read()
            [daemon] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            wait_for(lambda: bool(children(int(daemon))))
            for child in children(int(daemon)):
                subprocess.run(("kill", f"-{int(signal.SIGTERM)}", str(child)), check=True)
            assert process.wait(60) == 0
        finally:
            process.kill()


def children(process: int) -> Sequence[int]:
    """Return the children of *process*."""
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_the_dockerfile_copies_what_is_there() -> None:
    """The context leaves out all but the named files, so a missing name would break the build."""
    kept = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    wanted = {
        name for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile(), re.MULTILINE) for name in line.split()[:-1]
    }
    assert wanted == kept
    assert all((ROOT / name).exists() for name in wanted)


def test_the_image_runs_as_a_user_without_a_name() -> None:
    """Kubernetes only knows that a number is not root."""
    text = dockerfile()
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["65532:65532"]
    assert 'ENTRYPOINT ["image-syncer"]' in text
