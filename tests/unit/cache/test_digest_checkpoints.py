"""Reads that go on from the middle, and what is checked then."""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from image_syncer.cache import DigestCheckpoints, skipped, verified
from image_syncer.errors import ContentMismatch
from image_syncer.oci import Descriptor, Digest, Repository
from image_syncer.oci import media_type as types
from image_syncer.roles import Chunk

HERE = Repository("source.test", "app")
STEP = 64 * 1024
CONTENT = b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() * 2048 for number in range(160))  # 10 MiB.
BLOB = Descriptor(types.OCI_LAYER, Digest.of(CONTENT), len(CONTENT))


async def chunks(content: bytes) -> AsyncGenerator[Chunk]:
    """Yield *content* in steps."""
    for start in range(0, len(content), STEP):
        yield content[start : start + STEP]


async def read(trails: DigestCheckpoints, start: int, end: int, content: bytes = CONTENT) -> tuple[int, bytes]:
    """Read *content* from *start* to *end* and return from where it was read, and what."""
    verifier, trail = trails.begin(HERE, BLOB, start, "blob")
    begin, got = verifier.seen_bytes, bytearray()
    async with aclosing(verified(chunks(content[begin:]), verifier, trail)) as checked:
        async for chunk in checked:
            got += chunk
            if begin + len(got) >= end:
                break
    return begin, bytes(got)


@pytest.mark.parametrize("start", [4_000_000, 6_000_000, 6_291_456, 6_300_000])
async def test_a_read_goes_on_close_before_where_it_is_wanted(start: int) -> None:
    """So that little is read twice, and all of it is checked."""
    trails = DigestCheckpoints()
    await read(trails, 0, 6_300_000)
    begin, got = await read(trails, start, len(CONTENT))
    assert 0 <= start - begin < 3 * STEP
    assert got == CONTENT[begin:]


@pytest.mark.parametrize("wrong", [1_000_000, 9_000_000])
async def test_a_wrong_byte_is_found_on_either_side_of_the_break(wrong: int) -> None:
    """The last chunk is held back, whichever of the two reads the damage was in."""
    damaged = CONTENT[:wrong] + b"?" + CONTENT[wrong + 1 :]
    trails = DigestCheckpoints()
    await read(trails, 0, 5_000_000, damaged)
    with pytest.raises(ContentMismatch, match="blob: the bytes have digest"):
        await read(trails, 5_000_000, len(CONTENT), damaged)


async def test_what_nobody_has_read_can_not_be_checked() -> None:
    """An earlier process did: it is read from the very byte, and its size holds."""
    assert await read(DigestCheckpoints(), 3_000_001, len(CONTENT)) == (3_000_001, CONTENT[3_000_001:])
    assert (await read(DigestCheckpoints(), 9_000_000, len(CONTENT), CONTENT[:-1] + b"?"))[1].endswith(b"?")
    for length in (len(CONTENT) - 1, len(CONTENT) + 1):
        with pytest.raises(ContentMismatch, match="10485760"):
            await read(DigestCheckpoints(), 9_000_000, length + 1, (CONTENT + b"?")[:length])


async def test_what_was_wrong_is_forgotten() -> None:
    """The next read from the middle does not build on it."""
    trails = DigestCheckpoints()
    await read(trails, 0, 5_000_000)
    trails.forget(HERE, BLOB.digest)
    assert (await read(trails, 4_999_999, len(CONTENT)))[0] == 4_999_999


async def test_a_beginning_far_before_is_of_no_use() -> None:
    """Reading so much again to check it would be starting over."""
    trails = DigestCheckpoints()
    await read(trails, 0, 1_000_000)
    assert (await read(trails, 9_000_000, len(CONTENT)))[0] == 9_000_000


async def test_few_blobs_are_remembered() -> None:
    """The oldest is forgotten, so memory is bounded."""
    trails = DigestCheckpoints()
    await read(trails, 0, 5_000_000)
    for number in range(64):
        trails.begin(HERE, Descriptor(types.OCI_LAYER, Digest.of(bytes([number])), 1), 0, "other")
    assert (await read(trails, 5_000_000, len(CONTENT)))[0] == 5_000_000


@pytest.mark.parametrize("count", [0, 1, STEP, STEP + 1, len(CONTENT)])
async def test_bytes_are_skipped_exactly(count: int) -> None:
    """Across chunks, and within one."""
    assert b"".join([bytes(chunk) async for chunk in skipped(chunks(CONTENT), count)]) == CONTENT[count:]


async def test_what_was_read_elsewhere_proves_nothing_here() -> None:
    """Another repository may have sent other bytes before the break."""
    trails = DigestCheckpoints()
    await read(trails, 0, 5_000_000)
    there = trails.begin(Repository("other.test", "app"), BLOB, 5_000_000, "blob")[0]
    here = trails.begin(HERE, BLOB, 5_000_000, "blob")[0]
    assert there.seen_bytes == 5_000_000
    assert here.seen_bytes < 5_000_000
