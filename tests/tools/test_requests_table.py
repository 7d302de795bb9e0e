from image_syncer.testing.request_log import Request, RequestLog
from requests_table import RunRequests, budget_problems

_PING, _TAGS = Request("GET", "/v2/"), Request("GET", "/v2/demo/app/tags/list")
_HEAD, _GET = (Request(method, "/v2/demo/app/manifests/v1") for method in ("HEAD", "GET"))


def _problems(*source: Request, copied: int = 0) -> list[str]:
    first = RunRequests(1, 1, 0, RequestLog(), RequestLog())
    second = RunRequests(2, copied, 1, RequestLog(source), RequestLog([_PING, _HEAD]))
    return budget_problems(first, second)


def test_one_request_per_tag_and_side_is_within_the_budget() -> None:
    """Pings, tokens and tag lists are extra."""
    assert _problems(_PING, _TAGS, _HEAD) == []


def test_a_second_request_for_a_tag_exceeds_the_budget() -> None:
    """The message names the side and the figures."""
    assert _problems(_HEAD, _HEAD) == ["the second run made 2 requests at the source for 1 tags"]


def test_reading_a_manifest_exceeds_the_budget() -> None:
    """Only HEAD is within it: a GET counts as a pull where pulls are limited."""
    assert _problems(_GET) == ["the second run made requests other than HEAD at the source"]


def test_copying_again_exceeds_the_budget() -> None:
    """Nothing has changed between the two runs."""
    assert _problems(_HEAD, copied=1) == ["the second run copied 1 images and skipped 1 of 1"]
