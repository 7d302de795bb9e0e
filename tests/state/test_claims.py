"""Claims: one dispatcher of a fleet handles an event, and its death only delays it."""

import asyncio
from datetime import UTC, datetime, timedelta

from image_syncer.state import Event, EventStatus, NewEvent, State, open_state
from image_syncer.state.event_log import CLAIM_SECONDS

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=CLAIM_SECONDS)
MOMENT = timedelta(microseconds=1)


async def record(state: State, count: int) -> list[int]:
    """Return the identifiers of *count* new events."""
    return await state.events.record([NewEvent("harbor", "harbor.test/app", str(n)) for n in range(count)], now=NOW)


def ids(claimed: list[Event]) -> list[int]:
    """Return the identifiers of events."""
    return [event.id for event in claimed]


async def test_a_claim_takes_the_oldest_up_to_its_limit(state: State) -> None:
    """The next claim takes the following ones."""
    recorded = await record(state, 5)
    assert ids(await state.events.claim(3, now=NOW)) == recorded[:3]
    assert ids(await state.events.claim(3, now=NOW)) == recorded[3:]
    assert await state.events.claim(3, now=NOW) == []


async def test_concurrent_claims_get_disjoint_events(state_url: str) -> None:
    """Two processes of a fleet, each with its own connections, and nothing is left out."""
    async with open_state(state_url) as one, open_state(state_url) as two:
        recorded = await record(one, 400)

        async def work(state: State) -> list[int]:
            mine: list[int] = []
            while claimed := await state.events.claim(7, now=NOW):
                mine += ids(claimed)
            return mine

        found = await asyncio.gather(*(work(state) for state in (one, two, one, two)))
    assert sorted(number for mine in found for number in mine) == recorded
    assert sum(1 for mine in found if mine) > 1


async def test_a_claim_of_a_dead_dispatcher_expires(state: State) -> None:
    """After its lease, not before."""
    recorded = await record(state, 2)
    await state.events.claim(now=NOW)
    assert await state.events.claim(now=LATER - MOMENT) == []
    assert ids(await state.events.claim(now=LATER)) == recorded


async def test_a_decided_event_is_not_claimed_again(state: State) -> None:
    """Neither dispatched nor unmatched events."""
    one, two, three = await record(state, 3)
    await state.events.claim(now=NOW)
    await state.events.mark_dispatched([one], now=NOW)
    await state.events.mark_unmatched([two], now=NOW)
    assert ids(await state.events.claim(now=LATER)) == [three]


async def test_an_unmatched_event_that_is_delivered_again_is_free_at_once(state: State) -> None:
    """Its old claim has ended."""
    again = [NewEvent("harbor", "harbor.test/app", "1", delivery="d")]
    recorded = await state.events.record(again, now=NOW)
    await state.events.claim(now=NOW)
    await state.events.mark_unmatched(recorded, now=NOW)
    await state.events.record(again, now=NOW)
    assert ids(await state.events.claim(now=NOW)) == recorded


async def test_a_single_dispatcher_does_not_wait_for_old_claims(state: State) -> None:
    """Claims that are released are free at once."""
    recorded = await record(state, 2)
    await state.events.claim(1, now=NOW)
    assert await state.events.release_claims() == 1
    assert ids(await state.events.claim(now=NOW)) == recorded


async def test_a_claimed_event_still_waits(state: State) -> None:
    """It is listed, and counts for the age of the oldest pending event."""
    recorded = await record(state, 2)
    await state.events.claim(now=NOW)
    tally = await state.events.count_by_status()
    assert ids(await state.events.list_pending()) == recorded
    assert (tally.counts, tally.waiting_since) == ({("harbor", EventStatus.RECEIVED): 2}, NOW)
    await state.events.mark_dispatched(recorded, now=NOW)
    tally = await state.events.count_by_status()
    assert (tally.counts, tally.waiting_since) == ({("harbor", EventStatus.DISPATCHED): 2}, None)
