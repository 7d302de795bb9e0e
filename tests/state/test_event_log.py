"""The event log: events are durable, dispatched, and get the outcome of their copies."""

from datetime import UTC, datetime, timedelta

import pytest

from image_syncer.state import CopyEnd, EventFilter, EventStatus, NewEvent, State, open_state
from image_syncer.state.event_log import RECORD_LIMIT, REPETITION_WINDOW

NOW = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SOURCE = "harbor.test/team/app:1"
TARGET = "mirror.test/team/app:1"


def event(tag: str = "1", *, delivery: str | None = None, repository: str = "harbor.test/team/app") -> NewEvent:
    """Return an event of the hook `harbor`."""
    return NewEvent("harbor", repository, tag, f"sha256:{'a' * 64}", delivery)


def end(began_at: datetime, outcome: str = "copied", reason: str | None = None) -> CopyEnd:
    """Return the end of the one copy."""
    return CopyEnd(SOURCE, TARGET, began_at, began_at + SECOND, outcome, reason)


async def test_a_recorded_event_is_pending_and_unchanged(state: State) -> None:
    """The database neither loses nor rounds anything."""
    [number] = await state.events.record([event(delivery="d1")], now=NOW)
    [waiting] = await state.events.list_pending()
    assert (waiting.id, waiting.status, waiting.received_at) == (number, EventStatus.RECEIVED, NOW)
    assert (waiting.source, waiting.repository, waiting.tag) == ("harbor", "harbor.test/team/app", "1")
    assert (waiting.digest, waiting.delivery, waiting.repetitions) == (f"sha256:{'a' * 64}", "d1", 0)


async def test_events_survive_the_process(state_url: str) -> None:
    """They are there after a restart."""
    async with open_state(state_url) as first:
        ids = await first.events.record([event("1"), event("2")], now=NOW)
    async with open_state(state_url) as second:
        assert [waiting.id for waiting in await second.events.list_pending()] == ids


async def test_identifiers_come_in_the_order_of_the_events(state: State) -> None:
    """Each event of a message gets its own identifier, in the same position."""
    ids = await state.events.record([event(str(n), delivery="d") for n in range(20)], now=NOW)
    tags = {waiting.id: waiting.tag for waiting in await state.events.list_pending()}
    assert [tags[number] for number in ids] == [str(n) for n in range(20)]


async def test_a_repeated_delivery_is_the_same_event(state: State) -> None:
    """A sender that missed the answer sends again; one copy is enough."""
    first = await state.events.record([event(delivery="d1")], now=NOW)
    assert await state.events.record([event(delivery="d1")], now=NOW + SECOND) == first
    [waiting] = await state.events.list_pending()
    assert (waiting.repetitions, waiting.received_at) == (1, NOW)


async def test_a_claim_and_an_event_from_the_future_do_not_wait_for_it(state: State) -> None:
    """A clock jumped ahead by 30 days and back: the event is dispatched and settled now."""
    future = NOW + timedelta(days=30)
    [number] = await state.events.record([event()], now=future)
    assert [claimed.id for claimed in await state.events.claim(now=future)] == [number]
    assert [claimed.id for claimed in await state.events.claim(now=NOW)] == [number]
    await state.events.assign({number: [(SOURCE, TARGET)]})
    await state.events.mark_dispatched([number], now=NOW)
    assert await state.events.settle(end(NOW)) == 1


async def test_an_event_that_was_decided_in_the_future_counts_as_old(state: State) -> None:
    """A wrong clock recorded it: once a clock is right, its copies do not wait 30 days for the reconciler."""
    [number] = await state.events.record([event()], now=NOW)
    await state.events.assign({number: [("a.test/app:1", "b.test/app:1")]})
    await state.events.mark_dispatched([number], now=NOW + timedelta(days=30))
    before = NOW - timedelta(minutes=2)
    assert await state.events.list_unsettled(decided_before=before, now=NOW) == [("a.test/app:1", "b.test/app:1")]
    assert await state.events.list_unsettled(decided_before=before, now=NOW + timedelta(days=30)) == []


async def test_the_same_delivery_twice_in_one_message_is_one_event(state: State) -> None:
    """A message that repeats itself is not two events."""
    first, second = await state.events.record([event(delivery="d1")] * 2, now=NOW)
    assert first == second


@pytest.mark.parametrize("other", [event("2", delivery="d"), event(), event(delivery="e")])
async def test_other_events_are_not_repetitions(state: State, other: NewEvent) -> None:
    """Another tag of the same message, no identifier, another identifier: each is an event."""
    [first] = await state.events.record([event(delivery="d")], now=NOW)
    [second] = await state.events.record([other], now=NOW)
    assert first != second


async def test_a_delivery_with_another_digest_is_another_push(state: State) -> None:
    """The sender reuses its identifier, for example a counter that restarted."""
    pushes = [NewEvent("harbor", "harbor.test/team/app", "1", f"sha256:{letter * 64}", "d") for letter in "ab"]
    [first] = await state.events.record(pushes[:1], now=NOW)
    [second] = await state.events.record(pushes[1:], now=NOW + SECOND)
    [again] = await state.events.record(pushes[:1], now=NOW + SECOND)
    assert first == again != second


@pytest.mark.parametrize(("outcome", "is_pending"), [("failed", True), ("copied", False), (None, False)])
async def test_a_redelivery_after_a_final_failure_is_pending_again(
    state: State, outcome: str | None, *, is_pending: bool
) -> None:
    """An operator removed the cause and redelivers. A copy that succeeded or still runs needs nothing more."""
    [number] = await state.events.record([event(delivery="d1")], now=NOW)
    await state.events.assign({number: [(SOURCE, TARGET)]})
    await state.events.mark_dispatched([number], now=NOW)
    if outcome is not None:
        await state.events.settle(end(NOW, outcome))
    assert await state.events.record([event(delivery="d1")], now=NOW + SECOND) == [number]
    assert [waiting.id for waiting in await state.events.list_pending()] == ([number] if is_pending else [])


async def test_a_redelivery_counts_as_received_when_it_is_pending_again(state: State) -> None:
    """Otherwise it would be reported as an event that waits since yesterday."""
    ids = await state.events.record([event(delivery="d1")], now=NOW)
    await state.events.mark_unmatched(ids, now=NOW)
    await state.events.record([event(delivery="d1")], now=NOW + 60 * SECOND)
    assert (await state.events.count_by_status()).waiting_since == NOW + 60 * SECOND


async def test_a_large_message_keeps_its_order_and_its_repetitions(state: State) -> None:
    """4 096 events, with and without a delivery, some of them twice."""
    message = [event(str(n), delivery="d" if n % 2 else None) for n in range(4000)] + [
        event(str(n), delivery="d") for n in range(1, 193, 2)
    ]
    ids = await state.events.record(message, now=NOW)
    tags: dict[int, str] = {}
    after = 0
    while page := await state.events.list_pending(1000, after=after):
        tags |= {waiting.id: waiting.tag for waiting in page}
        after = page[-1].id
        assert all(waiting.repetitions == (waiting.tag in {str(n) for n in range(1, 193, 2)}) for waiting in page)
    assert [tags[number] for number in ids] == [push.tag for push in message]
    assert len(tags) == 4000


async def test_the_counts_follow_every_change(state: State) -> None:
    """They equal a count of all rows after decisions, redeliveries and the removal of old events."""
    ids = await state.events.record([event(str(n), delivery="d" if n % 2 else None) for n in range(10)], now=NOW)
    await state.events.mark_dispatched(ids[:6], now=NOW)
    await state.events.mark_unmatched(ids[6:9], now=NOW)
    await state.events.record([event("7", delivery="d")], now=NOW + SECOND)
    await state.events.record([NewEvent("quay", "harbor.test/team/app", "1")], now=NOW)
    assert (await state.events.count_by_status()).counts == {
        ("harbor", EventStatus.DISPATCHED): 6,
        ("harbor", EventStatus.UNMATCHED): 2,
        ("harbor", EventStatus.RECEIVED): 2,
        ("quay", EventStatus.RECEIVED): 1,
    }
    later = NOW + 2 * REPETITION_WINDOW
    await state.events.prune(older_than=later, now=later)
    assert (await state.events.count_by_status()).counts == {
        ("harbor", EventStatus.RECEIVED): 2,
        ("quay", EventStatus.RECEIVED): 1,
    }


async def test_another_hook_may_use_the_same_identifiers(state: State) -> None:
    """Identifiers belong to their sender."""
    [first] = await state.events.record([event(delivery="1")], now=NOW)
    [second] = await state.events.record([NewEvent("quay", "harbor.test/team/app", "1", delivery="1")], now=NOW)
    assert first != second


async def test_events_without_a_delivery_are_all_kept(state: State) -> None:
    """Where nothing tells two pushes apart, both count: the second may be of another content."""
    ids = await state.events.record([event(), event()], now=NOW)
    assert len(set(ids)) == 2


async def test_after_the_window_a_delivery_is_new(state: State) -> None:
    """A counter that began again must not swallow pushes for ever."""
    [first] = await state.events.record([event(delivery="d1")], now=NOW)
    [same] = await state.events.record([event(delivery="d1")], now=NOW + REPETITION_WINDOW)
    [later] = await state.events.record([event(delivery="d1")], now=NOW + REPETITION_WINDOW + SECOND)
    assert first == same != later


async def test_an_unmatched_event_that_is_delivered_again_waits_again(state: State) -> None:
    """Somebody mended the rules and pressed "redeliver"."""
    ids = await state.events.record([event(delivery="d1")], now=NOW)
    await state.events.mark_unmatched(ids, now=NOW)
    await state.events.record([event(delivery="d1")], now=NOW + SECOND)
    assert [waiting.id for waiting in await state.events.list_pending()] == ids


async def test_a_dispatched_event_that_is_delivered_again_stays_dispatched(state: State) -> None:
    """The late repetition of a sender makes no second copy."""
    ids = await state.events.record([event(delivery="d1")], now=NOW)
    await state.events.mark_dispatched(ids, now=NOW)
    await state.events.record([event(delivery="d1")], now=NOW + SECOND)
    assert await state.events.list_pending() == []


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x" * 5000, "'; drop table image_syncer_events; --"])
async def test_any_text_of_a_stranger_can_be_recorded(state: State, text: str) -> None:
    """No delivery identifier keeps an event from being accepted, and the same one again is still known."""
    first = await state.events.record([event(delivery=text)], now=NOW)
    assert await state.events.record([event(delivery=text)], now=NOW) == first
    [waiting] = await state.events.list_pending()
    assert waiting.delivery is not None
    assert len(waiting.delivery) <= 200


async def test_more_events_than_a_message_can_hold_are_refused(state: State) -> None:
    """The size of one transaction is bounded, and nothing of it is half there."""
    with pytest.raises(ValueError, match="at most"):
        await state.events.record([event()] * (RECORD_LIMIT + 1), now=NOW)
    assert await state.events.count_pending() == 0


async def test_nothing_to_record_is_nothing(state: State) -> None:
    """An empty message needs no transaction."""
    assert await state.events.record([], now=NOW) == []


async def test_marking_is_done_once(state: State) -> None:
    """A dispatcher that is repeated after a crash changes nothing that is decided."""
    ids = await state.events.record([event("1"), event("2")], now=NOW)
    assert await state.events.mark_dispatched(ids, now=NOW) == 2
    assert await state.events.mark_dispatched(ids, now=NOW + SECOND) == 0
    assert await state.events.mark_unmatched(ids, now=NOW + SECOND) == 0
    assert {found.decided_at for found in await state.events.page()} == {NOW}


async def test_pending_goes_on_behind_an_event(state: State) -> None:
    """One event that cannot be dispatched does not hide those behind it."""
    ids = await state.events.record([event(str(n)) for n in range(5)], now=NOW)
    assert [waiting.id for waiting in await state.events.list_pending(2, after=ids[0])] == ids[1:3]


async def test_a_copy_tells_the_events_that_it_covers(state: State) -> None:
    """The outcome reaches the event, even if the job was done before the dispatcher marked it."""
    [number] = await state.events.record([event()], now=NOW)
    await state.events.assign({number: [(SOURCE, TARGET)]})
    assert await state.events.settle(end(NOW + SECOND)) == 1
    await state.events.mark_dispatched([number], now=NOW + 2 * SECOND)
    found = await state.events.get(number)
    assert found is not None
    assert [(copy.outcome, copy.finished_at) for copy in found.copies] == [("copied", NOW + 2 * SECOND)]


async def test_a_copy_that_began_before_the_push_does_not_cover_it(state: State) -> None:
    """A push during its own copy is not done until the next copy."""
    [number] = await state.events.record([event()], now=NOW)
    await state.events.assign({number: [(SOURCE, TARGET)]})
    assert await state.events.settle(end(NOW - SECOND)) == 0
    assert await state.events.settle(end(NOW + SECOND, "failed", "tag is immutable")) == 1


async def test_assigning_again_replaces_what_the_first_attempt_noted(state: State) -> None:
    """After a crash between job and mark the dispatcher does it all again, by the rules of then."""
    [number] = await state.events.record([event()], now=NOW)
    await state.events.assign({number: [(SOURCE, TARGET), (SOURCE, "old.test/app:1")]})
    await state.events.assign({number: [(SOURCE, TARGET), (SOURCE, TARGET)]})
    found = await state.events.get(number)
    assert found is not None
    assert [copy.target for copy in found.copies] == [TARGET]


async def test_a_dispatched_event_keeps_its_copies(state: State) -> None:
    """A dispatcher that comes too late changes nothing."""
    [number] = await state.events.record([event()], now=NOW)
    await state.events.assign({number: [(SOURCE, TARGET)]})
    await state.events.mark_dispatched([number], now=NOW)
    await state.events.assign({number: [], number + 1: [(SOURCE, TARGET)]})
    found = await state.events.get(number)
    assert found is not None
    assert len(found.copies) == 1


async def test_listing_filters_and_pages(state: State) -> None:
    """An operator finds events by status, source, repository and time, newest first."""
    ids = await state.events.record([event(str(n)) for n in range(4)], now=NOW)
    [other] = await state.events.record([event(repository="harbor.test/other")], now=NOW + SECOND)
    await state.events.mark_unmatched(ids[:2], now=NOW)
    assert [found.id for found in await state.events.page(limit=2)] == [other, ids[3]]
    assert [found.id for found in await state.events.page(before=ids[3], limit=2)] == [ids[2], ids[1]]
    unmatched = EventFilter(status=EventStatus.UNMATCHED, source="harbor", repository="harbor.test/team/app")
    assert [found.id for found in await state.events.page(unmatched)] == [ids[1], ids[0]]
    assert [found.id for found in await state.events.page(EventFilter(since=NOW + SECOND))] == [other]


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_page_is_bounded(state: State, limit: int) -> None:
    """No request reads the whole table."""
    with pytest.raises(ValueError, match="1 to 1000"):
        await state.events.page(limit=limit)


async def test_an_unknown_event_is_none(state: State) -> None:
    """Asking for what is not there is no error."""
    assert await state.events.get(12345) is None


async def test_pruning_removes_what_is_decided_and_old(state: State) -> None:
    """The table does not grow for ever, and no waiting event is ever removed."""
    waiting, decided = await state.events.record([event("1"), event("2")], now=NOW)
    await state.events.assign({decided: [(SOURCE, TARGET)]})
    await state.events.mark_dispatched([decided], now=NOW)
    late = NOW + timedelta(days=30)
    assert await state.events.prune(older_than=late, now=late) == 1
    assert [found.id for found in await state.events.page()] == [waiting]


async def test_pruning_spares_what_a_sender_may_repeat(state: State) -> None:
    """A short retention does not break the recognition of repetitions."""
    ids = await state.events.record([event(delivery="d")], now=NOW)
    await state.events.mark_dispatched(ids, now=NOW)
    assert await state.events.prune(older_than=NOW + SECOND, now=NOW + SECOND) == 0


async def test_more_than_one_batch_is_pruned(state: State) -> None:
    """Pruning goes on until nothing old is left."""
    ids = await state.events.record([event(str(n)) for n in range(1200)], now=NOW)
    assert await state.events.mark_unmatched(ids, now=NOW) == 1200
    late = NOW + timedelta(days=30)
    assert await state.events.prune(older_than=late, now=late) == 1200


async def test_an_identifier_is_never_given_twice(state: State) -> None:
    """A job that names an event never means another one."""
    ids = await state.events.record([event()], now=NOW)
    await state.events.mark_unmatched(ids, now=NOW)
    late = NOW + timedelta(days=30)
    assert await state.events.prune(older_than=late, now=late) == 1
    assert await state.events.record([event()], now=late) > ids


async def test_what_events_announced_is_known(state: State) -> None:
    """A scheduled pass can say which of its images no hook had told of."""
    await state.events.record([event("1"), event("old")], now=NOW - timedelta(days=2))
    await state.events.record([event("2")], now=NOW)
    app = "harbor.test/team/app"
    asked = {(app, "2"), (app, "old"), (app, "3"), ("harbor.test/other", "2")}
    assert await state.events.filter_announced(asked, since=NOW - timedelta(days=1)) == {(app, "2")}
