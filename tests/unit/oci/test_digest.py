"""The verifier: wrong content is noticed before its last byte is handed out."""

import pytest

from image_syncer.errors import ContentMismatch
from image_syncer.oci import Digest, Verifier
from image_syncer.oci import digest as digests


def test_right_content_passes() -> None:
    """Chunks of any size add up."""
    verifier = Verifier(Digest.of(b"abcdef"), 6, "blob")
    for chunk in (b"ab", b"", bytearray(b"cde"), memoryview(b"f")):
        verifier.update(chunk)
    verifier.finish()


def test_a_wrong_digest_is_noticed_on_the_last_chunk() -> None:
    """So whoever receives the chunks cannot commit them."""
    verifier = Verifier(Digest.of(b"abcdef"), 6, "blob")
    verifier.update(b"abc")
    with pytest.raises(ContentMismatch, match="digest"):
        verifier.update(b"deX")


def test_too_many_bytes_are_noticed_at_once() -> None:
    """A stream that does not end is cut."""
    with pytest.raises(ContentMismatch, match="more bytes"):
        Verifier(Digest.of(b"abc"), 3, "blob").update(b"abcd")


def test_missing_bytes_are_noticed_at_the_end() -> None:
    """The message tells how far it came."""
    verifier = Verifier(Digest.of(b"abc"), 3, "blob")
    verifier.update(b"ab")
    with pytest.raises(ContentMismatch, match="2 of 3"):
        verifier.finish()


def test_empty_content_is_checked_too() -> None:
    """Size 0 with the digest of something else is a lie."""
    with pytest.raises(ContentMismatch):
        Verifier(Digest.of(b"x"), 0, "blob")


def test_an_unknown_size_is_checked_at_the_end() -> None:
    """Docker schema 1 does not say how large its layers are."""
    verifier = Verifier(Digest.of(b"abc"), None, "blob")
    verifier.update(b"abX")
    with pytest.raises(ContentMismatch):
        verifier.finish()


def test_content_of_unknown_size_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Just so many pass; an endless stream ends."""
    monkeypatch.setattr(digests, "UNSIZED_LIMIT_BYTES", 5)
    verifier = Verifier(Digest.of(b"12345"), None, "blob")
    verifier.update(b"12345")
    verifier.finish()
    with pytest.raises(ContentMismatch, match="more bytes than the 5 "):
        verifier.update(b"6")
