"""CloudEvents over HTTP: the modes of its binding, and the consent that some senders ask for first."""

import base64
import json

import pytest

from image_syncer.events import DIALECTS, Notification
from image_syncer.events.dialects.envelope import CloudEvent, answer_to_options, entries, event_of
from unit.events.payloads import SAMPLES, ZOT, ZOT_HEADERS, cloud


def test_attributes_in_headers_are_decoded() -> None:
    """Binary mode percent-encodes them (HTTP binding, section 3.1.3.2)."""
    headers = {"ce-type": "t", "ce-id": "1", "ce-source": "urn:a%20b"}
    assert entries(headers, b"") == [CloudEvent("1", "urn:a b", "t", "", None)]


def test_data_may_be_in_base64() -> None:
    """As `data_base64`, which stands for `data`."""
    event = cloud("zotregistry.image.updated", None, "zotregistry.dev")
    event["data_base64"] = base64.b64encode(json.dumps(ZOT).encode()).decode()
    sample = SAMPLES["zot"]
    in_base64 = DIALECTS["zot"](sample.registry, {}, json.dumps(event).encode())
    assert in_base64 == DIALECTS["zot"](sample.registry, ZOT_HEADERS, sample.content)


def test_an_event_without_source_or_id_has_no_identity() -> None:
    """Only both together tell a repetition."""
    event = event_of({"specversion": "1.0", "id": "1", "type": "t"})
    assert event is not None
    assert event.identity == ""


@pytest.mark.parametrize("kind", ["zot", "cloudevents"])
def test_an_unwanted_type_is_ignored_in_binary_mode(kind: str) -> None:
    """The type is in the header alone."""
    headers = ZOT_HEADERS | {"ce-type": "zotregistry.repository.created"}
    answer = DIALECTS[kind]("zot.example.com", headers, b'{"name":"team/app"}')
    assert isinstance(answer, Notification)
    assert "zotregistry.repository.created" in (answer.ignored or "")


def test_zots_type_may_have_a_prefix_of_ones_own() -> None:
    """Its documentation of 2.1.21 names the key `typePrefix`."""
    headers = ZOT_HEADERS | {"ce-type": "com.example.registry.image.updated"}
    answer = DIALECTS["zot"]("zot.example.com", headers, json.dumps(ZOT).encode())
    assert isinstance(answer, Notification)
    assert answer.events[0].tag == "1.4.2"


def test_consent_is_given_to_who_asks_for_it() -> None:
    """Event Grid sends CloudEvents only after an OPTIONS request was answered so."""
    found = answer_to_options({"webhook-request-origin": "eventgrid.azure.net"})
    assert found == {"webhook-allowed-origin": "eventgrid.azure.net", "webhook-allowed-rate": "*"}


@pytest.mark.parametrize("origin", ["", "*", "a\r\nset-cookie: x", "https://a.example", "a" * 300])
def test_what_is_no_host_gets_no_consent(origin: str) -> None:
    """Nothing of it comes back in a header."""
    assert answer_to_options({"webhook-request-origin": origin}) == {}
