"""The plain form: the fork's statuses in the fork's order, however name and tag come."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.events.dialects.legacy import Decision, decide, decide_message
from image_syncer.events.notification import PushEvent
from image_syncer.oci import Repository

FORM = {"content-type": "application/x-www-form-urlencoded"}
EVENT = PushEvent(Repository("registry.example.com", "team/app"), "1.4.2")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (b"name=registry.example.com/team/app&tag=1.4.2", 200),
        (b"name=registry.example.com%2Fteam%2Fapp&tag=1.4.2", 200),
        (b"name=registry.example.com/team/a/b/c&tag=1", 200),
        (b"name=registry.example.com/app&tag=1", 200),
        (b"", 200),
        (b"name=", 200),
        (b"tag=1", 200),
        (b"tag=", 200),
        (b"name=app", 400),
        (b"name=app&tag=", 400),
        (b"name=app&tag=1", 406),
        (b"name=r.io/a/b&tag=1-SNAPSHOT", 406),
        (b"name=r.io/a/b&tag=Snapshot-1", 406),
        (b"name=r.io/a/b&tag=my-snapshot-1", 200),
        (b"name=r.io/a/b&tag=a%00b", 406),
        (b"name=r.io/a/b&tag=..", 406),
        (b"name=r.io/a//b&tag=1", 406),
        (b"name=r.io/../b&tag=1", 406),
        (b"name=R.io/A/b&tag=1", 406),
        (b"name=https://r.io/a/b&tag=1", 406),
        (b"name=/a/b&tag=1", 406),
        (b"name=r.io/&tag=1", 406),
        (b"name=" + b"a" * 100_000 + b"/b&tag=1", 406),
        (b"&".join([b"a=1"] * 100), 400),
        (b"x" * 2_000_000, 413),
    ],
)
def test_the_status_is_the_forks(query: bytes, status: int) -> None:
    """Empty name 200, empty tag 400, then 406; what the grammar refuses is 406 too."""
    assert decide(query, {}, b"").status == status


def test_the_readmes_call_is_an_event_of_its_first_segment() -> None:
    """The first segment is always the host, with or without a dot."""
    decision = decide(b"name=reponame/namespace/imagename&tag=1.0.3", {}, b"")
    assert decision == Decision(200, PushEvent(Repository("reponame", "namespace/imagename"), "1.0.3"), None)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (FORM, b"name=registry.example.com/team/app&tag=1.4.2"),
        ({"content-type": "application/json"}, b'{"name":"registry.example.com/team/app","tag":"1.4.2"}'),
        ({}, b'{"Name":"registry.example.com/team/app","Tag":"1.4.2"}'),
    ],
)
def test_a_form_and_json_say_the_same(headers: dict[str, str], body: bytes) -> None:
    """Each comes to the event of the query."""
    assert decide(b"", headers, body).event == EVENT


def test_the_query_goes_before_the_body() -> None:
    """Name and tag always come from one place, never half from each."""
    assert decide(b"name=r.io/a/b", {}, b'{"tag": "1"}').status == 400


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"name":5,"tag":"1"}', b'{"name":"r.io/a/b","tag":1}', b"[" * 1000])
def test_a_body_that_cannot_be_read_is_400(body: bytes) -> None:
    """Not JSON, no object, or no texts in it."""
    assert decide(b"", {}, body).status == 400


def test_a_message_of_a_queue_is_judged_alike() -> None:
    """Only that an empty tag, which the fork let through to copy every tag, is no event here."""
    assert decide_message(b'{"Name":"registry.example.com/team/app","Tag":"1.4.2"}').event == EVENT
    assert decide_message(b'{"Name":"registry.example.com/team/app","Tag":""}').status == 400


@given(st.binary(max_size=100), st.binary(max_size=100), st.booleans())
def test_any_call_is_decided(query: bytes, body: bytes, in_form: bool) -> None:
    """There is an event exactly where there is no reason against one, and only with 200."""
    decision = decide(query, FORM if in_form else {}, body)
    assert (decision.event is None) != (decision.reason is None)
    assert decision.event is None or decision.status == 200


@given(st.text(), st.text())
def test_any_name_and_tag_are_decided(name: str, tag: str) -> None:
    """Whatever they hold, reasons stay short and printable."""
    decision = decide_message(json.dumps({"name": name, "tag": tag}).encode())
    assert decision.reason is None or (decision.reason.isprintable() and len(decision.reason) < 600)
