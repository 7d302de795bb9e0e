"""Whether the libraries that speak with brokers are here."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from image_syncer.config.model import QueueSettings
from image_syncer.errors import UsageError

_NEEDED: Final = ("faststream", "aio_pika")


def check_installed(queues: Sequence[QueueSettings]) -> None:
    """Raise `UsageError` where *queues* has an entry and the extra is not installed; nothing is imported for it."""
    missing = next((name for name in _NEEDED if find_spec(name) is None), None)
    if queues and missing is not None:
        first = queues[0]
        raise UsageError(
            f"{first.origin}: a queue of {first.kind} needs {missing}, which is not installed",
            remedy="pip install 'image-syncer[queues]', or leave the queue out",
        )
