"""Push events from message brokers: each message is recorded first and acknowledged afterwards.

A broker's library is part of the extra `queues`. It is imported when its first queue is opened.
"""

from image_syncer.queues.consumer import EventSink, check_installed, consume

__all__ = ["EventSink", "check_installed", "consume"]
