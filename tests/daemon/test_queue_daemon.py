"""Messages of a real RabbitMQ become images at real registries, by the daemon as a process."""

from collections.abc import Generator
from pathlib import Path

import pytest

from daemon.test_fork_daemon import ask
from image_syncer.testing.images import single
from support.daemons import run_daemon, wait_for
from support.docker_registry import DockerRegistry
from support.ports import free_port
from support.rabbitmq import PASSWORD, USER, RabbitMQ
from support.rabbitmq_queues import channel_to, make_queue, publish, waiting
from support.registry_http import Peer

pytestmark = pytest.mark.real


@pytest.fixture
def peers() -> Generator[tuple[Peer, Peer]]:
    """A source and a target."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    with DockerRegistry() as source, DockerRegistry() as target:
        yield Peer(source.host), Peer(target.host)


async def send(node: RabbitMQ, queue: str, *bodies: str) -> None:
    """Make *queue*, and publish *bodies* to it."""
    async with channel_to(node) as channel:
        await make_queue(channel, queue)
        await publish(channel, queue, *(body.encode() for body in bodies))


async def waiting_messages(node: RabbitMQ, queue: str) -> int:
    """Return how many messages wait in *queue*."""
    async with channel_to(node) as channel:
        return await waiting(channel, queue)


async def test_a_message_of_the_fork_is_copied(rabbitmq: RabbitMQ, peers: tuple[Peer, Peer], tmp_path: Path) -> None:
    """The fork's file and message, with its first broker down; after the interval the image is at the target."""
    source, target = peers
    image = single("queued")
    source.push("team/app", image, "v1")
    await send(rabbitmq, "fork", f'{{"Name":"{source.host}/team/app","Tag":"v1"}}')
    port = free_port()
    (tmp_path / "configs").mkdir()
    (tmp_path / "auth.yaml").write_text("{}")
    (tmp_path / "configs/sync.yaml").write_text(
        f"""
app: {{port: ':{port}'}}
registry:
  reg:
    - {{sourceName: '{source.host}', namespace: team, destinationName: '{target.host}'}}
auth: {{Username: operator, Password: secret}}
sync: {{filePosition: {{log: '{tmp_path}/app.log'}}}}
rabbitmq:
  queueName: fork
  info:
    - {{address: '127.0.0.1:{free_port()}', username: unknown, password: hunter2}}
    - {{address: '{rabbitmq.address}', username: {USER}, password: '{PASSWORD}'}}
"""
    )
    log = tmp_path / "app.log"
    with run_daemon(tmp_path, port) as process:
        wait_for(lambda: "queue.message_recorded" in log.read_text())
        ask(port, "/images/sync/do")
        wait_for(lambda: target.tags("team/app") == ["v1"])
        process.terminate()
        printed = process.communicate(timeout=30)[0].decode()
    assert target.manifest("team/app", "v1") == image.root.content
    assert await waiting_messages(rabbitmq, "fork") == 0
    said = log.read_text()
    assert "queue.unreachable" in said
    assert not [secret for secret in ("hunter2", PASSWORD) if secret in said + printed]
    assert [line for line in printed.splitlines() if not line.startswith(("image-syncer: ", "listening at "))] == []


async def test_a_message_of_a_native_file_is_copied_at_once(
    rabbitmq: RabbitMQ, peers: tuple[Peer, Peer], tmp_path: Path
) -> None:
    """Without an interval, behind a malformed message."""
    source, target = peers
    source.push("team/app", single("native queue"), "v1")
    await send(rabbitmq, "native", "{", f'{{"name":"{source.host}/team/app","tag":"v1"}}')
    port = free_port()
    (tmp_path / "sync.yaml").write_text(
        f"""version: 1
rules:
  - {{name: all, source: '{source.host}/**', targets: '{target.host}/mirror/{{repository}}', on: event}}
server: {{listen: '127.0.0.1:{port}'}}
state: {{path: '{tmp_path}/kept'}}
queues:
  pushes: {{kind: rabbitmq, urls: '{rabbitmq.url()}', queue: native, poison: drop}}
"""
    )
    with run_daemon(tmp_path, port, "serve", "-c", "sync.yaml"):
        wait_for(lambda: target.tags("mirror/team/app") == ["v1"])
    assert await waiting_messages(rabbitmq, "native") == 0
