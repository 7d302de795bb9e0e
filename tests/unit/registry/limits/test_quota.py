from datetime import UTC, datetime
from math import inf

import pytest

from image_syncer.registry.http.messages import Headers
from image_syncer.registry.limits.quota import Quota, QuotaState, read_quota

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
HUB = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600", "docker-ratelimit-source": "192.0.2.1"}
EMPTY = Quota(0, 100, 21_600)


def parsed(headers: dict[str, str]) -> Quota | None:
    """Return the quota in *headers* at noon."""
    return read_quota(Headers(headers.items()), lambda: NOON)


@pytest.mark.parametrize(
    ("headers", "quota"),
    [
        (HUB, Quota(76, 100, 21_600)),
        (
            {"RateLimit-Limit": "100, 100;w=60", "RateLimit-Remaining": "0", "RateLimit-Reset": "30"},
            Quota(0, 100, 60, 30),
        ),
        ({"RateLimit": '"default";r=50;t=30', "RateLimit-Policy": '"default";q=100;w=60'}, Quota(50, 100, 60, 30)),
        ({"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "90"}, Quota(0, 60, None, 90)),
        (
            {"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": str(int(NOON.timestamp()) + 45)},
            Quota(1, None, None, 45),
        ),
        ({"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "1600000000"}, Quota(1, None, None, 0)),
        (
            {"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": str((int(NOON.timestamp()) + 45) * 1000)},
            Quota(1, None, None, 45),
        ),
        ({"RateLimit-Remaining": "3"}, Quota(3)),
    ],
)
def test_every_form_of_quota_headers_is_parsed(headers: dict[str, str], quota: Quota) -> None:
    """Docker's, those of both drafts, and the older ones with Unix times or seconds."""
    assert parsed(headers) == quota


@pytest.mark.parametrize("text", ["", "many", "-1", "9" * 40, ";w=60", "\x00"])
def test_malformed_headers_are_no_quota(text: str) -> None:
    """They are treated like absent ones."""
    assert parsed({"RateLimit-Remaining": text}) is None
    assert parsed({"RateLimit": text}) is None


def test_announced_windows_are_bounded() -> None:
    """A week is the longest accepted window."""
    quota = parsed({"RateLimit-Remaining": "0;w=99999999999", "RateLimit-Reset": "999999999"})
    assert quota == Quota(0, None, 7 * 86_400, 7 * 86_400)


@pytest.mark.parametrize(
    ("quota", "words"),
    [
        (Quota(0, 100, 21_600), "100 per 6 h"),
        (Quota(0, 60, 60), "60 per 1 min"),
        (Quota(0, 5, 90), "5 per 90 s"),
        (Quota(0, 60), "60"),
        (Quota(0), ""),
    ],
)
def test_a_quota_reads_well(quota: Quota, words: str) -> None:
    """As a limit and its window."""
    assert str(quota) == words


@pytest.mark.parametrize(
    ("quota", "seconds"),
    [
        (Quota(0, 100, 21_600), 900),
        (Quota(0, 100, 60), 60),
        (Quota(0, 100, 30), 30),
        (Quota(0, 100, 21_600, 77), 77),
        (Quota(0, 100, None, 0), 1),
        (Quota(0, 100), None),
    ],
)
def test_the_next_check_follows_from_reset_or_window(quota: Quota, seconds: float | None) -> None:
    """At an announced reset; else 24 times per window, and at most every minute."""
    assert quota.next_check_in == seconds


def test_the_remaining_quota_bounds_requests_in_flight() -> None:
    """So that none is refused: 32 readers with 3 pulls left would cause 29 refusals."""
    assert QuotaState().concurrency == inf
    assert QuotaState().after_answer(Quota(3, 100, 60), 1, 1, counted=False).concurrency == 3
    assert QuotaState().after_answer(EMPTY, 1, 1, counted=False).concurrency == 1


def test_an_exhausted_quota_holds_back_counted_requests_only() -> None:
    """HEADs and blob reads are not counted; unchanged images are still recognised."""
    state = QuotaState().after_answer(EMPTY, 1, 1, counted=False)
    assert state.delay(1, counted=True) == 900
    assert state.delay(1, counted=False) == 0
    assert state.delay(901, counted=True) == 0


def test_after_a_refusal_every_request_is_held_back() -> None:
    """Registries lock out clients that continue for longer."""
    state = QuotaState().after_refusal(EMPTY, None, 10)
    assert state.delay(10, counted=False) == state.delay(10, counted=True) == 900
    assert QuotaState().after_refusal(EMPTY, 5000, 10).delay(10, counted=False) == 5000
    assert QuotaState().after_refusal(Quota(0), None, 10).delay(10, counted=True) == 60


def test_a_response_with_remaining_quota_ends_the_wait() -> None:
    """Also a HEAD's: then the window has been reset."""
    state = QuotaState().after_refusal(EMPTY, None, 10).after_answer(Quota(100, 100, 21_600), 20, 21, counted=False)
    assert state.delay(21, counted=True) == 0
    assert state.used_up_at is None


def test_late_responses_cannot_raise_the_remaining_quota() -> None:
    """A HEAD answered before the latest pull was counted cannot give one back; a later one can."""
    state = QuotaState().after_answer(Quota(4, 100, 60), 5, 6, counted=True)
    assert state.after_answer(Quota(5, 100, 60), 5.5, 7, counted=False).concurrency == 4
    assert state.after_answer(Quota(3, 100, 60), 5.5, 7, counted=False).concurrency == 3
    assert state.after_answer(Quota(100, 100, 60), 6.5, 7, counted=False).concurrency == 100


def test_uncounted_responses_do_not_postpone_the_next_check() -> None:
    """HEADs continue and say each time that nothing is left; after the check the next one is due later."""
    state = QuotaState().after_answer(EMPTY, 1, 1, counted=False).after_answer(EMPTY, 500, 500, counted=False)
    assert state.delay(500, counted=True) == 401
    again = state.after_answer(EMPTY, 901, 902, counted=False)
    assert (again.delay(902, counted=True), again.used_up_at) == (900, 1)


def test_an_exhausted_quota_without_a_window_does_not_stop_requests() -> None:
    """Only a refusal does."""
    assert QuotaState().after_answer(Quota(0), 1, 1, counted=False).delay(1, counted=True) == 0
