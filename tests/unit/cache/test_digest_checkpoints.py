"""Verified reads that resume in the middle."""

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
    """Yield *content* in chunks of 64 KiB."""
    for start in range(0, len(content), STEP):
        yield content[start : start + STEP]


async def read(checkpoints: DigestCheckpoints, start: int, end: int, content: bytes = CONTENT) -> tuple[int, bytes]:
    """Read *content* from *start* to *end*; return the offset where the read began, and its bytes."""
    verifier, recorded = checkpoints.begin(HERE, BLOB, start, "blob")
    begin, got = verifier.seen_bytes, bytearray()
    async with aclosing(verified(chunks(content[begin:]), verifier, recorded)) as checked:
        async for chunk in checked:
            got += chunk
            if begin + len(got) >= end:
                break
    return begin, bytes(got)


@pytest.mark.parametrize("start", [4_000_000, 6_000_000, 6_291_456, 6_300_000])
async def test_a_read_resumes_shortly_before_its_start(start: int) -> None:
    """Few bytes are read twice, and all bytes are verified."""
    checkpoints = DigestCheckpoints()
    await read(checkpoints, 0, 6_300_000)
    begin, got = await read(checkpoints, start, len(CONTENT))
    assert 0 <= start - begin < 3 * STEP
    assert got == CONTENT[begin:]


@pytest.mark.parametrize("wrong", [1_000_000, 9_000_000])
async def test_a_wrong_byte_is_detected_on_either_side_of_the_break(wrong: int) -> None:
    """The last chunk is withheld, whichever of the two reads was damaged."""
    damaged = CONTENT[:wrong] + b"?" + CONTENT[wrong + 1 :]
    checkpoints = DigestCheckpoints()
    await read(checkpoints, 0, 5_000_000, damaged)
    with pytest.raises(ContentMismatch, match="blob: the bytes have digest"):
        await read(checkpoints, 5_000_000, len(CONTENT), damaged)


async def test_without_the_bytes_before_only_the_size_is_checked() -> None:
    """An earlier process read them: the read begins exactly at its start."""
    assert await read(DigestCheckpoints(), 3_000_001, len(CONTENT)) == (3_000_001, CONTENT[3_000_001:])
    assert (await read(DigestCheckpoints(), 9_000_000, len(CONTENT), CONTENT[:-1] + b"?"))[1].endswith(b"?")
    for length in (len(CONTENT) - 1, len(CONTENT) + 1):
        with pytest.raises(ContentMismatch, match="10485760"):
            await read(DigestCheckpoints(), 9_000_000, length + 1, (CONTENT + b"?")[:length])


async def test_forgotten_checkpoints_are_not_used() -> None:
    """A read after wrong bytes does not resume from them."""
    checkpoints = DigestCheckpoints()
    await read(checkpoints, 0, 5_000_000)
    checkpoints.forget(HERE, BLOB.digest)
    assert (await read(checkpoints, 4_999_999, len(CONTENT)))[0] == 4_999_999


async def test_a_checkpoint_far_before_the_start_is_not_used() -> None:
    """Reading that much again would be starting over."""
    checkpoints = DigestCheckpoints()
    await read(checkpoints, 0, 1_000_000)
    assert (await read(checkpoints, 9_000_000, len(CONTENT)))[0] == 9_000_000


async def test_checkpoints_of_64_blobs_are_kept() -> None:
    """Those of the blob that was read first are dropped, so memory is bounded."""
    checkpoints = DigestCheckpoints()
    await read(checkpoints, 0, 5_000_000)
    for number in range(64):
        checkpoints.begin(HERE, Descriptor(types.OCI_LAYER, Digest.of(bytes([number])), 1), 0, "other")
    assert (await read(checkpoints, 5_000_000, len(CONTENT)))[0] == 5_000_000


@pytest.mark.parametrize("count", [0, 1, STEP, STEP + 1, len(CONTENT)])
async def test_bytes_are_skipped_exactly(count: int) -> None:
    """Across chunks, and within one."""
    assert b"".join([bytes(chunk) async for chunk in skipped(chunks(CONTENT), count)]) == CONTENT[count:]


async def test_checkpoints_of_another_repository_are_not_used() -> None:
    """It may have sent other bytes before the break."""
    checkpoints = DigestCheckpoints()
    await read(checkpoints, 0, 5_000_000)
    there = checkpoints.begin(Repository("other.test", "app"), BLOB, 5_000_000, "blob")[0]
    here = checkpoints.begin(HERE, BLOB, 5_000_000, "blob")[0]
    assert there.seen_bytes == 5_000_000
    assert here.seen_bytes < 5_000_000
