"""Body framing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.registry.http.body import BrokenBody, ChunkedFraming, CloseFraming, ContentLengthFraming, Framing


def feed_in_pieces(framing: Framing, content: bytes, piece: int) -> bytes:
    """Feed *content* to *framing* in pieces; return the body."""
    found = bytearray()
    for start in range(0, len(content), piece):
        for part in framing.feed(memoryview(content[start : start + piece])):
            found += part
    return bytes(found)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.integers(1, 40), st.booleans())
def test_chunks_are_parsed_in_pieces_of_any_size(chunks: list[bytes], piece: int, trailer: bool) -> None:
    """The network may split the bytes anywhere."""
    content = b"".join(b"%X;a=b\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    framing = ChunkedFraming()
    found = feed_in_pieces(framing, content + b"0\r\n" + (b"X-A: b\r\n" if trailer else b"") + b"\r\n", piece)
    assert (found, framing.has_ended, framing.is_clean) == (b"".join(chunks), True, True)


@given(st.binary(max_size=100), st.integers(1, 30))
def test_any_bytes_are_chunks_or_a_broken_body(noise: bytes, piece: int) -> None:
    """No other exception comes out."""
    try:
        feed_in_pieces(ChunkedFraming(), noise, piece)
    except BrokenBody:
        return


@pytest.mark.parametrize(
    "content",
    [
        b"x\r\n",
        b"-1\r\n",
        b"\r\n",
        b"5\n",
        b"0x5\r\n",
        b"5 5\r\n",
        b"1111111111111111\r\n",
        b"1\r\nabc\r\n",
        b"1" * 2000,
        b"1;" + b"a" * 2000 + b"\r\n",
        b"0\r\n" + b"X-A: b\r\n" * 3000,
    ],
)
def test_chunk_lines_are_bounded_and_exact(content: bytes) -> None:
    """A size is a few hexadecimal digits, and lines end with CR LF."""
    with pytest.raises(BrokenBody):
        feed_in_pieces(ChunkedFraming(), content, 1000)


@pytest.mark.parametrize("framing", [ContentLengthFraming(5), ChunkedFraming()], ids=["measured", "chunked"])
def test_a_body_that_ends_early_is_broken(framing: Framing) -> None:
    """An incomplete body is never taken for a complete one."""
    framing.feed(memoryview(b"2\r\n"))
    with pytest.raises(BrokenBody):
        framing.close()


def test_a_body_may_end_with_its_connection() -> None:
    """Old servers send no length; such a connection is not reused."""
    framing = CloseFraming()
    assert feed_in_pieces(framing, b"content", 3) == b"content"
    framing.close()
    assert (framing.has_ended, framing.is_clean) == (True, False)


def test_bytes_beyond_the_length_are_noticed() -> None:
    """The connection cannot be reused."""
    framing = ContentLengthFraming(3)
    assert feed_in_pieces(framing, b"abcd", 10) == b"abc"
    assert (framing.has_ended, framing.is_clean) == (True, False)


def test_no_byte_beyond_the_body_is_received() -> None:
    """The bytes of the next response stay in the socket."""
    framing = ContentLengthFraming(10)
    framing.feed(memoryview(b"abcd"))
    assert (framing.wanted(100), framing.wanted(2)) == (6, 2)
