"""Digests: validated before they enter a URL or a path, and verified while bytes flow."""

import copy
import hashlib
import re
import sys
from typing import Final, Self, cast

from image_syncer.errors import ContentMismatch, InvalidReference
from image_syncer.structs import Struct

_GRAMMAR = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
CANONICAL_ALGORITHM: Final = "sha256"
"""The algorithm of the digests that registries compute themselves."""

# image-spec descriptor.md, "Registered algorithms": exact lengths, lower-case hex.
_HEX_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}
_HEX = {length: re.compile(rf"[0-9a-f]{{{length}}}") for length in _HEX_LENGTH.values()}


class Digest(Struct):
    """A content digest such as `sha256:<64 hex digits>` (image-spec descriptor.md, "Digests")."""

    algorithm: str
    encoded: str

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return self.encoded == cast("Digest", other).encoded and self.algorithm == cast("Digest", other).algorithm

    def __hash__(self) -> int:
        return hash(self.encoded)  # Every blob is looked up by its digest, and a string computes its hash once.

    def __lt__(self, other: "Digest") -> bool:
        return (self.algorithm, self.encoded) < (other.algorithm, other.encoded)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the digest in *text*; `InvalidReference` for anything that this tool cannot verify."""
        algorithm, _, encoded = text.partition(":")
        length = _HEX_LENGTH.get(algorithm)
        if length is None:
            kind = "unsupported algorithm in" if _GRAMMAR.fullmatch(text) else "not"
            raise InvalidReference(f"{text[:200]!r}: {kind} a digest; expected sha256:<64 hex digits>")
        if not _HEX[length].fullmatch(encoded):
            raise InvalidReference(
                f"{text[:200]!r}: not a digest; {algorithm} needs exactly {length} lower-case hex digits"
            )
        return cls(sys.intern(algorithm), encoded)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Self:
        """Return the digest of *content*."""
        return cls(algorithm, hashlib.new(algorithm, content).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"

    @property
    def short(self) -> str:
        """The first 12 digits, for display."""
        return self.encoded[:12]


UNSIZED_LIMIT_BYTES: Final = 64 * 1024**3
"""The most that is read of content of unknown size: the blobs of Docker schema 1."""


class Verifier:
    """Counts and hashes bytes while they flow, and detects content that differs from its digest or size.

    Call `update` with every chunk *before* you pass it on. It raises `ContentMismatch` as soon as there are more than
    *size_bytes*, and on the chunk that completes the size if the digest is wrong. So the last chunk of wrong content is
    never passed on, and the receiver cannot commit it. Call `finish` at the end of the stream.

    A verifier with *start* sees only the bytes from there on, so it checks the size alone.
    """

    def __init__(self, digest: Digest, size_bytes: int | None, what: str, *, start: int = 0) -> None:
        self._digest = digest
        self._size = size_bytes
        self._what = what
        self._hash = None if start else hashlib.new(digest.algorithm, usedforsecurity=False)
        self.seen_bytes = start
        if size_bytes == 0:
            self._check_digest()

    def copy(self) -> Self:
        """Return an independent verifier that has seen the same bytes."""
        twin = copy.copy(self)
        twin._hash = None if self._hash is None else self._hash.copy()  # noqa: SLF001 - an instance of this class
        return twin

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Add *chunk*; `ContentMismatch` if it proves the content wrong."""
        self.seen_bytes += len(chunk)
        limit = UNSIZED_LIMIT_BYTES if self._size is None else self._size
        if self.seen_bytes > limit:
            raise ContentMismatch(f"{self._what}: more than the promised {limit} bytes")
        if self._hash is not None:
            self._hash.update(chunk)
        if self.seen_bytes == self._size:
            self._check_digest()

    def finish(self) -> None:
        """Raise `ContentMismatch` if bytes are missing or, for content of unknown size, if the digest is wrong."""
        if self._size is None:
            self._check_digest()
        elif self.seen_bytes != self._size:
            raise ContentMismatch(
                f"{self._what}: ended after {self.seen_bytes} of {self._size} bytes",
            )

    def _check_digest(self) -> None:
        if self._hash is None:
            return
        found = Digest(self._digest.algorithm, self._hash.hexdigest())
        if found != self._digest:
            raise ContentMismatch(
                f"{self._what}: the bytes have digest {found}, not {self._digest}",
                remedy="damaged in storage or in transit: if it happens again, push the image to that registry again",
            )
