from datetime import UTC, datetime
from math import inf

import pytest

from image_syncer.registry.http.messages import Headers
from image_syncer.registry.limits.quota import Quota, QuotaState, read_quota

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
HUB = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600", "docker-ratelimit-source": "192.0.2.1"}
EMPTY = Quota(0, 100, 21_600)


def told(headers: dict[str, str]) -> Quota | None:
    """Return what *headers* tell at noon."""
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
        ({"RateLimit-Remaining": "3"}, Quota(3)),
    ],
)
def test_every_form_of_the_headers_is_understood(headers: dict[str, str], quota: Quota) -> None:
    """Docker's, those of both drafts, and the older ones with instants or with seconds."""
    assert told(headers) == quota


@pytest.mark.parametrize("text", ["", "many", "-1", "9" * 40, ";w=60", "\x00"])
def test_nonsense_is_no_quota(text: str) -> None:
    """A registry that writes what nobody understands is treated as one that writes nothing."""
    assert told({"RateLimit-Remaining": text}) is None
    assert told({"RateLimit": text}) is None


def test_nobody_makes_us_wait_for_ever() -> None:
    """A week is the longest window that is believed."""
    quota = told({"RateLimit-Remaining": "0;w=99999999999", "RateLimit-Reset": "999999999"})
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
def test_it_is_told_as_people_say_it(quota: Quota, words: str) -> None:
    """A limit and its window."""
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
def test_when_it_is_worth_a_look(quota: Quota, seconds: float | None) -> None:
    """When the window turns, where that is told; else 24 times in a window, and not oftener than every minute."""
    assert quota.next_check_in == seconds


def test_what_is_left_bounds_what_is_on_its_way() -> None:
    """So that none is refused: 32 readers and 3 pulls would make 29 refusals."""
    assert QuotaState().concurrency == inf
    assert QuotaState().after_answer(Quota(3, 100, 60), 1, 1, counted=False).concurrency == 3
    assert QuotaState().after_answer(EMPTY, 1, 1, counted=False).concurrency == 1


def test_with_nothing_left_only_pulls_are_held_back() -> None:
    """Questions by HEAD and blobs of images that were begun are not counted; images that are unchanged are found so."""
    allowance = QuotaState().after_answer(EMPTY, 1, 1, counted=False)
    assert allowance.delay(1, counted=True) == 900
    assert allowance.delay(1, counted=False) == 0
    assert allowance.delay(901, counted=True) == 0


def test_after_a_refusal_nothing_is_asked() -> None:
    """Who goes on asking is shut out for longer."""
    allowance = QuotaState().after_refusal(EMPTY, None, 10)
    assert allowance.delay(10, counted=False) == allowance.delay(10, counted=True) == 900
    assert QuotaState().after_refusal(EMPTY, 5000, 10).delay(10, counted=False) == 5000
    assert QuotaState().after_refusal(Quota(0), None, 10).delay(10, counted=True) == 60


def test_an_answer_with_something_left_ends_it() -> None:
    """Also that to a HEAD: then the window has turned."""
    allowance = QuotaState().after_refusal(EMPTY, None, 10).after_answer(Quota(100, 100, 21_600), 20, 21, counted=False)
    assert allowance.delay(21, counted=True) == 0
    assert allowance.used_up_at is None


def test_answers_may_come_in_another_order_than_they_were_made() -> None:
    """A HEAD that was answered before our latest pull was counted can not give one back; a later one can."""
    allowance = QuotaState().after_answer(Quota(4, 100, 60), 5, 6, counted=True)
    assert allowance.after_answer(Quota(5, 100, 60), 5.5, 7, counted=False).concurrency == 4
    assert allowance.after_answer(Quota(3, 100, 60), 5.5, 7, counted=False).concurrency == 3
    assert allowance.after_answer(Quota(100, 100, 60), 6.5, 7, counted=False).concurrency == 100


def test_looking_does_not_put_off_the_next_look() -> None:
    """HEADs go on, and say every time that nothing is left; after the look the next one is due a quarter later."""
    allowance = QuotaState().after_answer(EMPTY, 1, 1, counted=False).after_answer(EMPTY, 500, 500, counted=False)
    assert allowance.delay(500, counted=True) == 401
    again = allowance.after_answer(EMPTY, 901, 902, counted=False)
    assert (again.delay(902, counted=True), again.used_up_at) == (900, 1)


def test_nothing_left_for_nobody_knows_how_long_is_found_out_by_a_refusal() -> None:
    """A number without a window is no reason to stop."""
    assert QuotaState().after_answer(Quota(0), 1, 1, counted=False).delay(1, counted=True) == 0
