"""Nonsense: whatever a stranger sends is an answer or `Malformed`, and nothing else."""

import copy
import json
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_syncer.events import DIALECTS, Handshake, MalformedNotification, Notification, Oversized, PushEvent
from unit.events.payloads import SAMPLES, Sample, cloud, distribution_entry

VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
# These stall, switch themselves off or never stop when they are refused: their entries are left out instead.
PATIENT = {"distribution", "gitlab", "quay", "pubsub"}

WRONG_SHAPES: list[tuple[str, Any, str]] = [
    ("acr", [{"eventType": VALIDATION, "data": {"validationCode": "x" * 300}}], "256 characters"),
    ("acr", [{"eventType": VALIDATION, "data": {}}], "validationCode is missing"),
    ("cloudevents", SAMPLES["harbor"].body, "not a CloudEvent"),
    ("zot", SAMPLES["harbor"].body, "not a CloudEvent"),
    ("ecr", cloud("com.amazon.ecr.image.push", {}, "urn:stranger"), "names no repository of ECR"),
    ("distribution", {"event": []}, "events is missing"),
    ("dockerhub", {}, "repository.repo_name is missing"),
    ("harbor", {"type": 5}, "type is not a text"),
    ("harbor", {"type": "PUSH_ARTIFACT", "event_data": {"resources": {}}}, "resources is not a list"),
    ("pubsub", {"message": "x"}, "message is not an object"),
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
samples = st.sampled_from(list(SAMPLES.values()))


def members(value: Any) -> dict[Any, Any]:
    """Return what is directly in *value*, by key or index."""
    if isinstance(value, list):
        return dict(enumerate(cast("list[Any]", value)))
    return cast("dict[Any, Any]", value) if isinstance(value, dict) else {}


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return (container, key) of every member below *value*."""
    inner = members(value)
    return [(value, key) for key in inner] + [place for member in inner.values() for place in places(member)]


def outcome(sample: Sample, content: bytes) -> tuple[tuple[PushEvent, ...], str]:
    """Return the events in *content* and what is said where there are none; any error but `Malformed` fails a test."""
    try:
        answer = DIALECTS[sample.kind](sample.registry, sample.headers, content)
    except MalformedNotification as error:
        return (), error.message
    return ((), "handshake") if isinstance(answer, Handshake) else (answer.events, answer.ignored or "")


def check(sample: Sample, content: bytes) -> None:
    """Read *content* with the dialect of *sample*: it is events, or a reason."""
    events, reason = outcome(sample, content)
    assert bool(events) != bool(reason)


@given(samples, st.binary(max_size=200))
def test_any_bytes_are_answered_or_malformed(sample: Sample, content: bytes) -> None:
    """No input causes an unexpected error."""
    check(sample, content)


@given(samples, json_values)
def test_any_json_is_answered_or_malformed(sample: Sample, value: object) -> None:
    """Whatever its types are."""
    check(sample, json.dumps(value).encode())


@settings(max_examples=400)
@given(samples, st.data())
def test_a_real_notification_with_any_member_replaced_is_answered_or_malformed(
    sample: Sample, data: st.DataObject
) -> None:
    """Each member of each real shape may have any other type."""
    body = copy.deepcopy(sample.body)
    container, key = data.draw(st.sampled_from(places(body)))
    container[key] = data.draw(json_values)
    check(sample, json.dumps(body).encode())


@pytest.mark.parametrize("kind", sorted(DIALECTS))
@pytest.mark.parametrize("body", [b" ", b"{", b"\xff\xfe", b"5", b'"x"', b"null", b"[" * 100_000, b'{"a":NaN}'])
def test_a_body_that_is_no_json_object_is_malformed(kind: str, body: bytes) -> None:
    """Blank, cut, not UTF-8, no object, or very deep."""
    headers = {"x-github-event": "package", "x-gitea-event": "package"}
    with pytest.raises(MalformedNotification):
        DIALECTS[kind]("registry.example.com", headers, body)


@pytest.mark.parametrize("kind", sorted(DIALECTS))
def test_a_body_of_two_mebibytes_is_oversized(kind: str) -> None:
    """It is not even parsed."""
    headers = {"x-github-event": "package", "x-gitea-event": "package"}
    with pytest.raises(Oversized):
        DIALECTS[kind]("registry.example.com", headers, b" " * 2 * 1024 * 1024)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_tag_outside_the_grammar_is_never_an_event(name: str) -> None:
    """Control characters and paths stop here: nothing of them reaches a URL."""
    sample = SAMPLES[name]
    wrong: list[object] = []
    for tag in ("a\x00b", "a\nb", "..", "a b", "\u202e", "x" * 129, "a/b", "a?x=1"):
        events, reason = outcome(sample, sample.with_other("1.4.2", tag))
        if events or not reason.isprintable():
            wrong.append((tag, events, reason))
    assert wrong == []


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_repository_outside_the_grammar_is_never_an_event(name: str) -> None:
    """The message about it is short and printable."""
    sample = SAMPLES[name]
    wrong: list[object] = []
    for path in ("../../etc", "Team/App", "a//b", "", "a\x00", "x" * 5000, "team/app:x", "team/app@x"):
        events, reason = outcome(sample, sample.with_other("team/app", path))
        if any(event.repository.path == path for event in events) or not reason.isprintable() or len(reason) >= 600:
            wrong.append((path, events, reason))
    assert wrong == []


def test_a_malformed_entry_does_not_affect_the_others() -> None:
    """An envelope with one bad tag still gives the good one, and says what was left out."""
    entries = [distribution_entry(tag="bad tag"), 5, distribution_entry()]
    answer = DIALECTS["distribution"]("r.example.com", {}, json.dumps({"events": entries}).encode())
    assert isinstance(answer, Notification)
    assert len(answer.events) == 1
    assert "'bad tag' is not a tag" in answer.left_out


@pytest.mark.parametrize("kind", sorted(PATIENT))
def test_a_sender_that_reacts_badly_to_refusals_is_not_refused_for_an_entry(kind: str) -> None:
    """Distribution would resend it and hold back all later ones; Quay would disable the hook."""
    sample = SAMPLES[kind]
    answer = DIALECTS[kind](sample.registry, sample.headers, sample.with_other("1.4.2", "a b"))
    assert isinstance(answer, Notification)
    assert "not" in (answer.ignored or "")


@pytest.mark.parametrize("kind", sorted(set(DIALECTS) - PATIENT))
def test_any_other_sender_is_refused_for_a_malformed_entry(kind: str) -> None:
    """So its operator sees that something is wrong."""
    sample = SAMPLES[kind]
    with pytest.raises(MalformedNotification, match="is not a tag"):
        DIALECTS[kind](sample.registry, sample.headers, sample.with_other("1.4.2", "a b"))


@pytest.mark.parametrize(("kind", "body", "reason"), WRONG_SHAPES)
def test_the_reason_names_the_wrong_shape(kind: str, body: Any, reason: str) -> None:
    """So a wrong kind in the configuration is noticed."""
    with pytest.raises(MalformedNotification, match=reason):
        DIALECTS[kind]("registry.example.com", {}, json.dumps(body).encode())


def test_too_many_entries_are_refused() -> None:
    """A list is bounded by number too."""
    with pytest.raises(Oversized, match="4096"):
        DIALECTS["distribution"]("r.example.com", {}, json.dumps({"events": [0] * 5000}).encode())
