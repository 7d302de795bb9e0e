"""Whether the libraries that speak with brokers are here."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Final

from image_syncer.config.model import QueueKind, QueueSettings
from image_syncer.errors import UsageError

_NEEDED: Final[Mapping[QueueKind, tuple[str, ...]]] = {
    "kafka": ("aiokafka",),
    "nats": ("nats",),
    "rabbitmq": ("faststream", "aio_pika"),
    "redis": ("redis",),
}


def check_installed(queues: Sequence[QueueSettings]) -> None:
    """Raise `UsageError` where *queues* has an entry and the extra is not installed; nothing is imported for it."""
    for queue in queues:
        missing = next((name for name in _NEEDED[queue.kind] if find_spec(name) is None), None)
        if missing is not None:
            raise UsageError(
                f"{queue.origin}: a queue of {queue.kind} needs {missing}, which is not installed",
                remedy="pip install 'image-syncer[queues]', or leave the queue out",
            )
