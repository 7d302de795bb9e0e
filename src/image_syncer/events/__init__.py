"""Push notifications of all registries: parsing and verification, without I/O."""

from image_syncer.events.dialects import DIALECTS, Dialect, dialect
from image_syncer.events.notification import (
    Answer,
    Handshake,
    MalformedNotification,
    Notification,
    Oversized,
    PushEvent,
)

__all__ = [
    "DIALECTS",
    "Answer",
    "Dialect",
    "Handshake",
    "MalformedNotification",
    "Notification",
    "Oversized",
    "PushEvent",
    "dialect",
]
