"""Heads of requests and answers, written and read by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.errors import ProtocolError
from image_syncer.registry.http.head import HEAD_BYTES, Head, NotHttp, header_fields, request_head, take_head
from image_syncer.registry.http.urls import Origin, origin_of

OK = b"HTTP/1.1 200 OK\r\n"


def parsed(fields: bytes, status: bytes = OK) -> Head:
    """Return the head with *fields*."""
    head = take_head(bytearray(status + fields + b"\r\n"))
    assert head is not None
    return head


def test_a_head_is_cut_off_and_the_rest_stays() -> None:
    """What follows is the body's."""
    received = bytearray(OK + b"Content-Length: 4\r\nX-A:\t b \r\n\r\nbody")
    head = take_head(received)
    assert head is not None
    assert (head.status, head.length, head.chunked, head.keep_alive) == (200, 4, False, True)
    assert (head.headers.get("x-a"), bytes(received)) == ("b", b"body")


@given(st.integers(0, 40))
def test_half_a_head_is_waited_for(size: int) -> None:
    """Bytes come in pieces of any size."""
    received = bytearray((OK + b"Content-Length: 4\r\n\r\n")[:size])
    head = take_head(received)
    assert (head is None) == (size < 38)


@given(st.binary(max_size=200))
def test_no_bytes_lead_out_of_the_tree(noise: bytes) -> None:
    """Whatever comes is a head, not yet one, or no HTTP."""
    for content in (noise, OK + noise + b"\r\n\r\n", b"HTTP/1.1 " + noise + b"\r\n\r\n"):
        try:
            head = take_head(bytearray(content))
        except NotHttp:
            continue
        assert head is None or 100 <= head.status < 600


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 5_0\r\n",
        b"Content-Length: \xd9\xa5\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: 1111111111111111111\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"X-A: b\r\n folded: c\r\n",
        b"X-A: b\nContent-Length: 5\r\n",
        b"X-A: b\rContent-Length: 5\r\n",
        b"X-A: b\x00\r\n",
        b"X-A : b\r\n",
        b": b\r\n",
        b"no colon\r\n",
        b"X-A: b\r\n" * 257,
        b"X-A: " + b"b" * HEAD_BYTES + b"\r\n",
    ],
)
def test_what_two_programs_read_differently_is_refused(fields: bytes) -> None:
    """Such a head is how requests are smuggled."""
    with pytest.raises(NotHttp):
        parsed(fields)


@pytest.mark.parametrize(
    "status", [b"HTTP/2 200\r\n", b"HTTP/1.1 099 A\r\n", b"HTTP/1.1 20\r\n", b"HTTP/1.1 101 A\r\n", b"220 mail\r\n"]
)
def test_what_is_no_status_is_no_answer(status: bytes) -> None:
    """Nor is an upgrade that nobody asked for."""
    with pytest.raises(NotHttp):
        parsed(b"", status)


def test_an_old_coding_is_refused() -> None:
    """HTTP/1.0 has no chunks."""
    with pytest.raises(NotHttp):
        parsed(b"Transfer-Encoding: chunked\r\n", b"HTTP/1.0 200 OK\r\n")


def test_a_head_without_end_is_bounded() -> None:
    """Memory is ours."""
    with pytest.raises(NotHttp):
        take_head(bytearray(OK + b"X-A: " + b"b" * HEAD_BYTES))


@pytest.mark.parametrize(
    ("status", "fields", "lasting"),
    [
        (OK, b"", True),
        (OK, b"Connection: keep-alive\r\n", True),
        (OK, b"Connection: Keep-Alive, CLOSE\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", b"", False),
    ],
)
def test_a_server_says_whether_its_connection_lasts(status: bytes, fields: bytes, lasting: bool) -> None:
    """And an old one never means it."""
    assert parsed(fields, status).keep_alive is lasting


@pytest.mark.parametrize(
    ("status", "method", "expected"), [(200, "GET", True), (200, "HEAD", False), (204, "PUT", False)]
)
def test_some_answers_have_no_body(status: int, method: str, expected: bool) -> None:
    """Whatever length they announce."""
    assert parsed(b"Content-Length: 9\r\n", b"HTTP/1.1 %d A\r\n" % status).has_body(method) is expected


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://a.example", "/"),
        ("http://a.example?x=1/2", "/?x=1/2"),
        ("http://a.example/v2/?sig=a%2Fb&z=~#part", "/v2/?sig=a%2Fb&z=~"),
    ],
)
def test_a_request_asks_for_its_address_as_it_stands(url: str, target: str) -> None:
    """Without its fragment, and never for nothing."""
    origin = origin_of(url)
    head = request_head("GET", url, origin, header_fields(origin, {"Accept": "*/*"}), None)
    assert head == f"GET {target} HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://a.example/v2/\r\nX-Evil: 1", {}),
        ("http://a.example/v2/ HTTP/1.1", {}),
        ("http://a.example/\x00", {}),
        ("http://a.example/\xe4", {}),
        ("http://a.example/", {"Authorization": "Bearer a\r\nX-Evil: 1"}),
        ("http://a.example/", {"Authorization": "Bearer a\n"}),
        ("http://a.example/", {"X-A": "\x7f"}),
        ("http://a.example/", {"X-A": "\ud800"}),
        ("http://a.example/", {"X A": "b"}),
    ],
)
def test_nothing_breaks_out_of_its_line(url: str, headers: dict[str, str]) -> None:
    """Neither an address nor a token of a stranger adds a header, and the message repeats neither."""
    origin = Origin("http", "a.example", 80)
    with pytest.raises(ProtocolError, match=r"^a\.example: ") as raised:
        request_head("GET", url, origin, header_fields(origin, headers), None)
    assert "Evil" not in str(raised.value)
