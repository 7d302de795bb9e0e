"""What a message of a queue says: a push, or why it is none. A pure decision."""

from dataclasses import dataclass

from image_syncer.events import PushEvent
from image_syncer.events.dialects.legacy import decide_message


@dataclass(frozen=True, slots=True)
class MessageRefused:
    """Why a message gives no event.

    *unwanted*: it can be understood, and is of a kind that nobody wants (a snapshot); otherwise it is poison.
    """

    reason: str
    unwanted: bool = False


def read_message(body: bytes) -> PushEvent | MessageRefused:
    """Return what *body* announces: `{"Name": "registry/repository", "Tag": "tag"}`, keys in any case.

    The first part of the name is the registry, whatever it looks like. At most 1 MiB and 32 levels are read.
    """
    decision = decide_message(body)
    return decision.event or MessageRefused(decision.reason or "no event", decision.unwanted)
