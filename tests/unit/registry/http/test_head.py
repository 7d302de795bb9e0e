"""Request heads and response heads."""

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


def test_a_head_is_removed_and_the_rest_stays() -> None:
    """The rest belongs to the body."""
    received = bytearray(OK + b"Content-Length: 4\r\nX-A:\t b \r\n\r\nbody")
    head = take_head(received)
    assert head is not None
    assert (head.status, head.length, head.chunked, head.keep_alive) == (200, 4, False, True)
    assert (head.headers.get("x-a"), bytes(received)) == ("b", b"body")


@given(st.integers(0, 40))
def test_an_incomplete_head_is_left_in_place(size: int) -> None:
    """Bytes arrive in pieces of any size."""
    received = bytearray((OK + b"Content-Length: 4\r\n\r\n")[:size])
    head = take_head(received)
    assert (head is None) == (size < 38)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_incomplete_or_not_http(noise: bytes) -> None:
    """No other exception comes out."""
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
def test_an_ambiguous_head_is_refused(fields: bytes) -> None:
    """Request smuggling relies on such heads."""
    with pytest.raises(NotHttp):
        parsed(fields)


@pytest.mark.parametrize(
    "status", [b"HTTP/2 200\r\n", b"HTTP/1.1 099 A\r\n", b"HTTP/1.1 20\r\n", b"HTTP/1.1 101 A\r\n", b"220 mail\r\n"]
)
def test_an_invalid_status_line_is_refused(status: bytes) -> None:
    """So is a protocol upgrade, which we never ask for."""
    with pytest.raises(NotHttp):
        parsed(b"", status)


def test_chunked_encoding_in_http_1_0_is_refused() -> None:
    """HTTP/1.0 has no chunked encoding."""
    with pytest.raises(NotHttp):
        parsed(b"Transfer-Encoding: chunked\r\n", b"HTTP/1.0 200 OK\r\n")


def test_the_size_of_a_head_is_bounded() -> None:
    """A server cannot use up our memory."""
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
def test_keep_alive_follows_version_and_connection_header(status: bytes, fields: bytes, lasting: bool) -> None:
    """An HTTP/1.0 connection is never kept."""
    assert parsed(fields, status).keep_alive is lasting


@pytest.mark.parametrize(
    ("status", "method", "expected"), [(200, "GET", True), (200, "HEAD", False), (204, "PUT", False)]
)
def test_some_responses_have_no_body(status: int, method: str, expected: bool) -> None:
    """Whatever their Content-Length."""
    assert parsed(b"Content-Length: 9\r\n", b"HTTP/1.1 %d A\r\n" % status).has_body(method) is expected


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://a.example", "/"),
        ("http://a.example?x=1/2", "/?x=1/2"),
        ("http://a.example/v2/?sig=a%2Fb&z=~#part", "/v2/?sig=a%2Fb&z=~"),
    ],
)
def test_the_request_line_has_the_url_unchanged(url: str, target: str) -> None:
    """Without its fragment, and with `/` for an empty path."""
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
def test_control_characters_are_refused(url: str, headers: dict[str, str]) -> None:
    """No untrusted URL or token can add a header, and the message repeats neither."""
    origin = Origin("http", "a.example", 80)
    with pytest.raises(ProtocolError, match=r"^a\.example: ") as raised:
        request_head("GET", url, origin, header_fields(origin, headers), None)
    assert "Evil" not in str(raised.value)
