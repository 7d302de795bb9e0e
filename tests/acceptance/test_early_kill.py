"""kill -9 of a one-shot run right after it has sent the first bytes of a big blob."""

import time

from image_syncer.testing import Blob, FakeRegistry
from image_syncer.testing.images import single
from support.command_line import CommandLine, wait_until
from support.slow_line import RelayLine, SlowLine

MIB = 1024 * 1024
SIZE = 12 * MIB
LINE = RelayLine(bytes_per_second=8 * MIB)
EARLY_BYTES = MIB // 2


def test_an_upload_is_in_the_state_from_its_first_bytes(
    cli: CommandLine, source: FakeRegistry, target: FakeRegistry
) -> None:
    """The state is new, too. The second process continues the same upload session."""
    source.load("app", single("early", layers=[Blob.generated("early", SIZE)]), "v1")
    with SlowLine(target.host, LINE) as line:
        command = ("copy", "--quiet", "--state", "state.db", f"{source.host}/app:v1", f"{line.host}/app:v1")
        first = cli.start(*command)
        wait_until(lambda: _sent(target) >= EARLY_BYTES)
        first.kill()
        first.wait()
        time.sleep(0.1)
        seen = _sent(target)
        assert EARLY_BYTES <= seen <= SIZE / 2
        assert cli.run(*command).returncode == 0
    assert _sent(target) <= SIZE + 2 * MIB
    sessions = {request.path for request in target.requests.only(kind="upload", method="PUT")}
    assert len(sessions) == 1  # The config needs none: the target stores it with one POST.


def _sent(registry: FakeRegistry) -> int:
    """Return the number of blob bytes that have arrived."""
    return registry.requests.only(kind="upload").bytes_in
