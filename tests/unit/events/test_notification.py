"""Notifications: events or a reason, never both."""

import pytest

from image_syncer.events import MalformedNotification, Notification, PushEvent
from image_syncer.events.notification import gather, ignored, one, push_event
from image_syncer.oci import Repository

EVENT = PushEvent(Repository("r.io", "a"), "1")


@pytest.mark.parametrize(("events", "reason"), [((), None), ((EVENT,), "why")])
def test_a_notification_is_events_or_a_reason(events: tuple[PushEvent, ...], reason: str | None) -> None:
    """What is answered follows from it, so it must not be both or neither."""
    with pytest.raises(ValueError, match="never both"):
        Notification(events, reason)


def test_equal_events_and_equal_reasons_are_kept_once() -> None:
    """A burst in one message is one event."""
    found = gather([EVENT, "no", one(EVENT), ignored("no"), "other"], lambda entry: entry)
    assert found == Notification((EVENT,), None, ("no", "other"))


def test_of_many_reasons_ten_are_kept() -> None:
    """A message about a message stays short."""
    found = gather(range(100), str)
    assert found.left_out == tuple("0123456789")
    assert found.ignored == "0; 1; 2; 3; 4; 5; 6; 7; 8; 9"


def test_the_host_is_one_whatever_it_looks_like() -> None:
    """A name without a dot is the configured registry, not Docker Hub's shorthand."""
    assert push_event("harbor", "team/app", "1").repository == Repository("harbor", "team/app")


@pytest.mark.parametrize("registry", ["", "ex ample", "a/b", "https://r.io"])
def test_what_is_no_host_is_malformed(registry: str) -> None:
    """It may come from a plain call, where the host is a stranger's word."""
    with pytest.raises(MalformedNotification, match="not a registry"):
        push_event(registry, "team/app", "1")
