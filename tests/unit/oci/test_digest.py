"""The verifier detects wrong content before it passes on the last byte."""

import pytest

from image_syncer.errors import ContentMismatch
from image_syncer.oci import Digest, Verifier
from image_syncer.oci import digest as digests


def test_correct_content_passes() -> None:
    """Chunks of any size add up."""
    verifier = Verifier(Digest.of(b"abcdef"), 6, "blob")
    for chunk in (b"ab", b"", bytearray(b"cde"), memoryview(b"f")):
        verifier.update(chunk)
    verifier.finish()


def test_a_wrong_digest_is_detected_on_the_last_chunk() -> None:
    """So the receiver never gets the last chunk, and cannot commit."""
    verifier = Verifier(Digest.of(b"abcdef"), 6, "blob")
    verifier.update(b"abc")
    with pytest.raises(ContentMismatch, match="digest"):
        verifier.update(b"deX")


def test_surplus_bytes_are_detected_at_once() -> None:
    """An endless stream ends here."""
    with pytest.raises(ContentMismatch, match="more than the promised 3 bytes"):
        Verifier(Digest.of(b"abc"), 3, "blob").update(b"abcd")


def test_missing_bytes_are_detected_at_the_end() -> None:
    """The message says how many bytes arrived."""
    verifier = Verifier(Digest.of(b"abc"), 3, "blob")
    verifier.update(b"ab")
    with pytest.raises(ContentMismatch, match="2 of 3"):
        verifier.finish()


def test_empty_content_is_checked_too() -> None:
    """Size 0 with the digest of other content is wrong."""
    with pytest.raises(ContentMismatch):
        Verifier(Digest.of(b"x"), 0, "blob")


def test_content_of_unknown_size_is_checked_at_the_end() -> None:
    """Docker schema 1 does not state the size of its layers."""
    verifier = Verifier(Digest.of(b"abc"), None, "blob")
    verifier.update(b"abX")
    with pytest.raises(ContentMismatch):
        verifier.finish()


def test_content_of_unknown_size_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly that many bytes pass, one more does not."""
    monkeypatch.setattr(digests, "UNSIZED_LIMIT_BYTES", 5)
    verifier = Verifier(Digest.of(b"12345"), None, "blob")
    verifier.update(b"12345")
    verifier.finish()
    with pytest.raises(ContentMismatch, match="more than the promised 5 bytes"):
        verifier.update(b"6")
