"""Which part goes with which request."""

import pytest

from image_syncer.errors import Refused, TooLarge
from image_syncer.registry.habits import Habits, habits_of
from image_syncer.registry.quirks import Quirks
from image_syncer.registry.session import Session
from image_syncer.registry.ways import Part, Ways

MIB = 1024 * 1024
SIZE = 100 * MIB
AT = "/v2/app/blobs/uploads/x"


def ways(size: int | None = SIZE, habits: Habits | None = None) -> tuple[Ways, Quirks]:
    """Return the ways of a blob at a registry with *habits*, and what is learnt of that; chunks of 32 MiB."""
    quirks = Quirks.of("r.example", 32 * MIB)
    quirks.habits = habits or Habits()
    return Ways(quirks, size, lambda: 0.0), quirks


def parts(way: Ways, size: int, least: int = 0) -> list[tuple[int, bool]]:
    """Return the length of every part of a blob of *size*, and whether it closes the upload."""
    found, offset = list[tuple[int, bool]](), 0
    while True:
        part = way.next_part(Session(AT, offset, least))
        assert part.start == offset
        assert part.length is not None
        found.append((part.length, part.closes))
        if part.closes:
            return found
        offset += part.length


@pytest.mark.parametrize(
    ("size", "habits", "expected"),
    [
        (0, Habits(), [(0, True)]),
        (32 * MIB, Habits(), [(32 * MIB, True)]),
        (70 * MIB, Habits(), [(32 * MIB, False), (32 * MIB, False), (6 * MIB, True)]),
        (70 * MIB, Habits(chunks=False), [(70 * MIB, True)]),
        (70 * MIB, Habits(patches=True, chunks=False), [(70 * MIB, False), (0, True)]),
        (40 * MIB, Habits(patches=True), [(32 * MIB, False), (8 * MIB, False), (0, True)]),
        (40 * MIB, Habits(least_bytes=35 * MIB), [(35 * MIB, False), (5 * MIB, True)]),
        (9 * MIB, Habits(most_bytes=4 * MIB), [(4 * MIB, False), (4 * MIB, False), (MIB, True)]),
    ],
)
def test_a_blob_goes_in_parts(size: int, habits: Habits, expected: list[tuple[int, bool]]) -> None:
    """By what the registry is known to take."""
    assert parts(ways(size, habits)[0], size) == expected


def test_the_least_that_a_session_asks_for_holds() -> None:
    """OCI-Chunk-Min-Length: every chunk but the last."""
    assert parts(ways()[0], SIZE, least=48 * MIB) == [(48 * MIB, False), (48 * MIB, False), (4 * MIB, True)]


def test_a_blob_of_unknown_size_goes_whole() -> None:
    """In a PATCH, with an empty PUT after it."""
    way, _ = ways(None)
    assert way.next_part(Session(AT)) == Part(0, None, closes=False, is_last=True)
    assert way.next_part(Session(AT, 77)) == Part(77, 0, closes=True, is_last=True)


def test_only_chunks_say_their_range() -> None:
    """Without a unit, as the specification has it; a whole body needs none."""
    way, _ = ways()
    assert way.headers(Part(10, 5, closes=False, is_last=False))["Content-Range"] == "10-14"
    assert "Content-Range" not in way.headers(Part(0, SIZE, closes=True, is_last=True))
    assert "Content-Range" not in way.headers(Part(SIZE, 0, closes=True, is_last=True))


def test_what_has_worked_is_kept_for_the_registry() -> None:
    """And what was only tried is not."""
    way, quirks = ways()
    chunk = Part(0, 32 * MIB, closes=False, is_last=False)
    assert way.changed(Refused("no", status=400), chunk)
    assert quirks.habits == Habits()
    way.succeeded()
    assert quirks.habits == Habits(chunks=False)


def test_a_whole_body_that_is_refused_goes_with_a_patch_once() -> None:
    """There is no third way."""
    way, _ = ways(MIB)
    whole = way.next_part(Session(AT))
    assert way.changed(Refused("no", status=415), whole)
    patched = way.next_part(Session(AT))
    assert not patched.closes
    assert not way.changed(Refused("no", status=415), patched)
    assert not ways(MIB)[0].changed(Refused("no", status=409), whole)


def test_a_patch_that_was_only_a_try_is_taken_back() -> None:
    """What the registry said of the other way stands, and comes out."""
    way, _ = ways(MIB)
    way.doubt()
    patched = way.next_part(Session(AT))
    assert not patched.closes
    assert way.changed(Refused("no", status=405), patched)
    assert way.next_part(Session(AT)).closes


def test_a_chunk_that_is_too_large_becomes_smaller_down_to_a_bound() -> None:
    """1 MiB, or what the registry wants at least."""
    way, _ = ways()
    lengths = list[int | None]()
    while True:
        part = way.next_part(Session(AT))
        lengths.append(part.length)
        if not way.changed(TooLarge("no", status=413), part):
            break
    assert lengths == [n * MIB for n in (32, 16, 8, 4, 2, 1)]


@pytest.mark.parametrize(
    ("registry", "habits"),
    [
        ("x.jfrog.io", Habits(patches=True, chunks=False)),
        ("eu.gcr.io", Habits(chunks=False)),
        ("europe-docker.pkg.dev:443", Habits(chunks=False)),
        ("012345678901.dkr.ecr.eu-central-1.amazonaws.com", Habits(patches=True, least_bytes=5 * MIB)),
        ("registry.example.com:5000", Habits()),
        ("notgcr.io", Habits()),
    ],
)
def test_what_is_known_of_registries(registry: str, habits: Habits) -> None:
    """By the name of their host."""
    assert habits_of(registry) == habits
