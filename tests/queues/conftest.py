"""A real node, a channel to it, and a state."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from aio_pika.abc import AbstractChannel

from image_syncer.state import open_state
from queues.listening import Desk, make_desk
from support.rabbitmq import RabbitMQ
from support.rabbitmq_queues import channel_to


@pytest.fixture
async def channel(rabbitmq: RabbitMQ) -> AsyncGenerator[AbstractChannel]:
    """A channel to declare, publish and look."""
    async with channel_to(rabbitmq) as opened:
        yield opened


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    """A state that waits for a lock no longer than it must."""
    file = tmp_path / "state.db"
    async with open_state(str(file), patience=1.0) as state:
        yield make_desk(state, file)
