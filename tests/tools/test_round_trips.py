"""The round trips in sequence of a copy are a budget, counted behind relays that delay all bytes."""

import pytest

from round_trips import BUDGET, CASES, Causality, Trip, longest_chain

_RUNS = 3
"""A busy machine lengthens a chain and never shortens it, so the best of a few runs counts."""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", CASES)
def test_round_trips_in_sequence_stay_within_the_budget(name: str) -> None:
    """The longest chain of requests that wait for each other is as short as agreed; the message shows it."""
    shortest: Trip | None = None
    for _ in range(_RUNS):
        trip = longest_chain(CASES[name])
        if shortest is None or trip.depth < shortest.depth:
            shortest = trip
        if shortest.depth <= BUDGET[name]:
            return
    assert shortest is not None
    pytest.fail(f"{shortest.depth} round trips, {BUDGET[name]} are allowed:\n" + "\n".join(shortest.chain()))


def test_requests_that_need_no_response_share_one_round_trip() -> None:
    """Three requests before the first response are as deep as one."""
    causality = Causality()
    opening = causality.send("connect")
    causality.receive(opening)
    trips = [causality.send(f"HEAD {number}", opening) for number in range(3)]
    assert [trip.depth for trip in trips] == [2, 2, 2]


def test_a_request_after_a_response_is_one_round_trip_deeper() -> None:
    """It follows the deepest response so far, from whichever server; a late shallow one changes nothing."""
    causality = Causality()
    first = causality.send("GET manifest")
    causality.receive(first)
    second = causality.send("GET blob")
    causality.receive(second)
    causality.receive(first)
    third = causality.send("PUT blob", first)
    assert (third.depth, third.chain()) == (3, ("GET manifest", "GET blob", "PUT blob"))


def test_a_request_follows_the_opening_of_its_connection() -> None:
    """A client may send before the handshake has ended here; on a real line it cannot."""
    causality = Causality()
    opening = causality.send("connect")
    assert causality.send("GET manifest", opening).depth == 2
