"""A real broker, a channel to it, and a state."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from aio_pika.abc import AbstractChannel

from image_syncer.state import open_state
from queues.consuming import EventStore, make_store
from support.rabbitmq import RabbitMQ
from support.rabbitmq_queues import channel_to


@pytest.fixture
async def channel(rabbitmq: RabbitMQ) -> AsyncGenerator[AbstractChannel]:
    """A channel for declaring, publishing and inspecting queues."""
    async with channel_to(rabbitmq) as opened:
        yield opened


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[EventStore]:
    """A state that waits only a second for a lock."""
    file = tmp_path / "state.db"
    async with open_state(str(file), patience=1.0) as state:
        yield make_store(state, file)
