"""Events from the queues of a message broker: taken, written down, and acknowledged only then.

Nothing here imports the broker's library until a queue is listened to: it is the extra `queues`.
"""

from image_syncer.queues.consumer import Inbox, listen
from image_syncer.queues.extra import check_installed

__all__ = ["Inbox", "check_installed", "listen"]
