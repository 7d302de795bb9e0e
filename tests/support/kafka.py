"""Kafka for tests: a real broker if its programs are installed, and librdkafka's mock broker everywhere."""

# The library is untyped.
# pyright: reportMissingTypeStubs=false

import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from confluent_kafka import Producer

from image_syncer.config.model import QueueKind
from support.brokers import PASSWORD, Server
from support.ports import free_port

_LOGIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_FILE: Final = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=SASL_PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
inter.broker.listener.name=SASL_PLAINTEXT
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config={login} username="syncer" password="{password}" \\
  user_syncer="{password}";
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.flush.interval.messages=1
"""


class Kafka(Server):
    """A single node, with a login."""

    program = "kafka-server-start.sh"

    @property
    def url(self) -> str:
        """Its URL, with the login."""
        return f"kafka://syncer:{PASSWORD.replace('@', '%40')}@127.0.0.1:{self.port}"

    def arguments(self, folder: Path) -> list[str]:
        """Return its arguments; the first start formats its storage."""
        file = folder / "server.properties"
        if not file.exists():
            values = {"port": self.port, "controller": free_port(), "folder": folder}
            file.write_text(_FILE.format(**values, login=_LOGIN, password=PASSWORD))
            command = [Path(self.path() or "").with_name("kafka-storage.sh"), "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk"]
            subprocess.run([*command, "-c", file], check=True, capture_output=True, timeout=60)
        return [str(file)]


class MockKafka(Server):
    """librdkafka's mock broker: Kafka's protocol over TCP, records in memory, no logins."""

    program = "librdkafka"
    _cluster: Producer | None = None

    @classmethod
    def path(cls) -> str | None:
        """Always: it is part of a library."""
        return cls.program

    @property
    def url(self) -> str:
        """Its URL."""
        return f"kafka://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it on a port that it chooses."""
        self._cluster = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1, "log_level": 0})
        [broker] = self._cluster.list_topics(timeout=10).brokers.values()
        self.port = broker.port

    def kill(self) -> None:
        """Stop it and lose its records."""
        self._cluster = None


class KafkaTopic:
    """A topic `images` with the group `mirror`, as an operator creates and inspects it."""

    kind: QueueKind = "kafka"
    queue = "images/mirror"

    def __init__(self, server: Server) -> None:
        self._mock = isinstance(server, MockKafka)
        self._ways: dict[str, Any] = {"bootstrap_servers": f"127.0.0.1:{server.port}"}
        if not self._mock:
            login = {"sasl_plain_username": "syncer", "sasl_plain_password": PASSWORD}
            self._ways |= {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", **login}

    async def make(self) -> None:
        """Create the topic and the dead-letter topic."""
        for topic in ("images", "images.dead"):
            await self._make(topic)

    async def publish(self, *bodies: bytes) -> None:
        """Add records, all to one partition."""
        producer: Any = AIOKafkaProducer(acks="all", **self._ways)
        async with producer:
            for body in bodies:
                await producer.send_and_wait("images", body, partition=0)

    async def unsettled(self) -> int:
        """Return how many records are behind the group's position."""
        place = TopicPartition("images", 0)
        async with self._consumer("mirror") as consumer:
            consumer.assign([place])
            return (await consumer.end_offsets([place]))[place] - (await consumer.committed(place) or 0)

    async def dead(self) -> list[bytes]:
        """Return the dead letters."""
        async with self._consumer("undertaker") as consumer:
            consumer.subscribe(["images.dead"])
            found = await consumer.getmany(timeout_ms=3000)
            return [record.value for records in found.values() for record in records]

    @asynccontextmanager
    async def _consumer(self, group: str) -> AsyncGenerator[Any]:
        async with AIOKafkaConsumer(
            group_id=group, enable_auto_commit=False, auto_offset_reset="earliest", **self._ways
        ) as consumer:
            yield consumer

    async def _make(self, topic: str) -> None:
        if self._mock:  # Asking for a topic creates it there.
            producer: Any = AIOKafkaProducer(**self._ways)
            async with producer:
                await producer.partitions_for(topic)
            return
        admin: Any = AIOKafkaAdminClient(**self._ways)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(topic, 1, 1)])
        finally:
            await admin.close()
