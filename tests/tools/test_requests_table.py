import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from image_syncer.testing.request_log import Request, RequestLog

_PING, _TAGS = Request("GET", "/v2/"), Request("GET", "/v2/demo/app/tags/list")
_HEAD, _GET = (Request(method, "/v2/demo/app/manifests/v1") for method in ("HEAD", "GET"))


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module; the tools are scripts beside each other and no package."""
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2] / "tools"), *sys.path])
    return importlib.import_module("requests_table")


def _problems(table: Any, *source: Request, copied: int = 0) -> list[str]:
    first = table.RunRequests(1, 1, 0, RequestLog(), RequestLog())
    second = table.RunRequests(2, copied, 1, RequestLog(source), RequestLog([_PING, _HEAD]))
    return table.budget_problems(first, second)


def test_one_request_per_tag_and_side_is_within_the_budget(table: Any) -> None:
    """Pings, tokens and tag lists come on top of it."""
    assert _problems(table, _PING, _TAGS, _HEAD) == []


def test_a_second_request_for_a_tag_breaks_the_budget(table: Any) -> None:
    """The side and the figures are named."""
    assert _problems(table, _HEAD, _HEAD) == ["the second run made 2 requests at the source for 1 tags"]


def test_reading_a_manifest_breaks_the_budget(table: Any) -> None:
    """One request is allowed, but not any: a GET counts as a pull where pulls are counted."""
    assert _problems(table, _GET) == ["the second run made other requests than HEAD at the source"]


def test_copying_again_breaks_the_budget(table: Any) -> None:
    """Nothing has changed between the two runs."""
    assert _problems(table, _HEAD, copied=1) == ["the second run copied 1 images and left 1 of 1"]
