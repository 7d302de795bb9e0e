"""Which part goes with which request."""

import pytest

from image_syncer.errors import Refused, TooLarge
from image_syncer.registry.blobs.upload_session import UploadSession
from image_syncer.registry.blobs.upload_strategy import Part, UploadStrategy
from image_syncer.registry.http.messages import Headers
from image_syncer.registry.vendor_profiles import (
    LearntProfile,
    UploadProfile,
    upload_profile_from_headers,
    upload_profile_of,
)

MIB = 1024 * 1024
SIZE = 100 * MIB
AT = "/v2/app/blobs/uploads/x"
ONE_PATCH = UploadProfile(patches=True, chunks=False)
ARTIFACTORY = Headers([("X-JFrog-Version", "Artifactory/7.98.9 79809900")])


def ways(size: int | None = SIZE, habits: UploadProfile | None = None) -> tuple[UploadStrategy, LearntProfile]:
    """Return the ways of a blob at a registry with *habits*, and what is learnt of that; chunks of 32 MiB."""
    quirks = LearntProfile.of("r.example", 32 * MIB)
    quirks.uploads = habits or UploadProfile()
    return UploadStrategy(quirks, size, lambda: 0.0), quirks


def parts(way: UploadStrategy, size: int, least: int = 0) -> list[tuple[int, bool]]:
    """Return the length of every part of a blob of *size*, and whether it closes the upload."""
    found, offset = list[tuple[int, bool]](), 0
    while True:
        part = way.next_part(UploadSession(AT, offset, least))
        assert part.start == offset
        assert part.length is not None
        found.append((part.length, part.closes))
        if part.closes:
            return found
        offset += part.length


@pytest.mark.parametrize(
    ("size", "habits", "expected"),
    [
        (0, UploadProfile(), [(0, True)]),
        (0, ONE_PATCH, [(0, True)]),
        (32 * MIB, UploadProfile(), [(32 * MIB, True)]),
        (70 * MIB, UploadProfile(), [(32 * MIB, False), (32 * MIB, False), (6 * MIB, True)]),
        (70 * MIB, UploadProfile(chunks=False), [(70 * MIB, True)]),
        (70 * MIB, UploadProfile(patches=True, chunks=False), [(70 * MIB, False), (0, True)]),
        (40 * MIB, UploadProfile(patches=True), [(32 * MIB, False), (8 * MIB, False), (0, True)]),
        (40 * MIB, UploadProfile(least_bytes=35 * MIB), [(35 * MIB, False), (5 * MIB, True)]),
        (9 * MIB, UploadProfile(most_bytes=4 * MIB), [(4 * MIB, False), (4 * MIB, False), (MIB, True)]),
    ],
)
def test_a_blob_goes_in_parts(size: int, habits: UploadProfile, expected: list[tuple[int, bool]]) -> None:
    """By what the registry is known to take."""
    assert parts(ways(size, habits)[0], size) == expected


def test_the_least_that_a_session_asks_for_holds() -> None:
    """OCI-Chunk-Min-Length: every chunk but the last."""
    assert parts(ways()[0], SIZE, least=48 * MIB) == [(48 * MIB, False), (48 * MIB, False), (4 * MIB, True)]


def test_a_blob_of_unknown_size_goes_whole() -> None:
    """In a PATCH, with an empty PUT after it."""
    way, _ = ways(None)
    assert way.next_part(UploadSession(AT)) == Part(0, None, closes=False, is_last=True)
    assert way.next_part(UploadSession(AT, 77)) == Part(77, 0, closes=True, is_last=True)


def test_only_chunks_say_their_range() -> None:
    """Without a unit, as the specification has it; a whole body needs none."""
    way, _ = ways()
    assert way.headers(Part(10, 5, closes=False, is_last=False))["Content-Range"] == "10-14"
    assert "Content-Range" not in way.headers(Part(0, SIZE, closes=True, is_last=True))
    assert "Content-Range" not in way.headers(Part(SIZE, 0, closes=True, is_last=True))


@pytest.mark.parametrize(("start", "closes"), [(0, True), (32 * MIB, False)])
def test_who_refuses_the_second_chunk_gets_the_whole_with_a_patch(start: int, closes: bool) -> None:
    """That it takes; who refuses the first chunk gets it with the PUT."""
    way, _ = ways()
    assert way.fall_back_after(Refused("no", status=405), way.next_part(UploadSession(AT, start)))
    assert way.next_part(UploadSession(AT)) == Part(0, SIZE, closes=closes, is_last=True)


def test_what_has_worked_is_kept_for_the_registry() -> None:
    """And what was only tried is not."""
    way, quirks = ways()
    chunk = Part(0, 32 * MIB, closes=False, is_last=False)
    assert way.fall_back_after(Refused("no", status=400), chunk)
    assert quirks.uploads == UploadProfile()
    way.after_commit(way.next_part(UploadSession(AT)))
    assert quirks.uploads == UploadProfile(chunks=False)


def test_a_whole_body_that_is_refused_goes_with_a_patch_once() -> None:
    """There is no third way."""
    way, _ = ways(MIB)
    whole = way.next_part(UploadSession(AT))
    assert way.fall_back_after(Refused("no", status=415), whole)
    patched = way.next_part(UploadSession(AT))
    assert not patched.closes
    assert not way.fall_back_after(Refused("no", status=415), patched)
    assert not ways(MIB)[0].fall_back_after(Refused("no", status=409), whole)


@pytest.mark.parametrize("refusal", [Refused("no", status=405), TooLarge("no", status=413)])
def test_a_patch_that_was_only_a_try_is_taken_back(refusal: Refused) -> None:
    """What the registry said of the other way stands, and comes out."""
    way, _ = ways()
    before = parts(way, SIZE)
    way.try_single_patch()
    assert parts(way, SIZE) == [(SIZE, False), (0, True)]
    assert way.fall_back_after(refusal, way.next_part(UploadSession(AT)))
    assert parts(way, SIZE) == before


def test_a_mismatch_is_no_reason_to_doubt_a_way_that_has_proved_right() -> None:
    """A blob whose content came with the closing PUT is stored, so that is not overlooked here."""
    first, quirks = ways(MIB)
    first.after_commit(first.next_part(UploadSession(AT)))
    second = UploadStrategy(quirks, SIZE, lambda: 0.0)
    before = parts(second, SIZE)
    second.try_single_patch()
    assert parts(second, SIZE) == before


@pytest.mark.parametrize(("inherited", "learnt"), [(False, ONE_PATCH), (True, UploadProfile())])
def test_a_patch_that_was_a_try_and_went_well_is_remembered(inherited: bool, learnt: UploadProfile) -> None:
    """Unless what was wrong may have been the bytes of another process."""
    way, quirks = ways()
    way.try_single_patch(inherited=inherited)
    way.after_commit(Part(SIZE, 0, closes=True, is_last=True))
    assert quirks.uploads == learnt


def test_what_others_have_found_out_holds_from_the_next_session_on() -> None:
    """Pushes that began before it was known go on as they began."""
    way, quirks = ways()
    quirks.uploads = ONE_PATCH
    assert not way.next_part(UploadSession(AT)).is_whole
    way.refresh()
    assert way.next_part(UploadSession(AT)) == Part(0, SIZE, closes=False, is_last=True)


def test_a_chunk_that_is_too_large_becomes_smaller_down_to_a_bound() -> None:
    """1 MiB, or what the registry wants at least."""
    way, _ = ways()
    lengths = list[int | None]()
    while True:
        part = way.next_part(UploadSession(AT))
        lengths.append(part.length)
        if not way.fall_back_after(TooLarge("no", status=413), part):
            break
    assert lengths == [n * MIB for n in (32, 16, 8, 4, 2, 1)]


@pytest.mark.parametrize(
    ("registry", "habits"),
    [
        ("x.jfrog.io", ONE_PATCH),
        ("eu.gcr.io", UploadProfile(chunks=False)),
        ("europe-docker.pkg.dev:443", UploadProfile(chunks=False)),
        ("012345678901.dkr.ecr.eu-central-1.amazonaws.com", UploadProfile(patches=True, least_bytes=5 * MIB)),
        ("registry.example.com:5000", UploadProfile()),
        ("notgcr.io", UploadProfile()),
    ],
)
def test_what_is_known_of_registries(registry: str, habits: UploadProfile) -> None:
    """By the name of their host."""
    assert upload_profile_of(registry) == habits


@pytest.mark.parametrize(
    ("name", "value", "habits"),
    [
        ("x-jfrog-version", "Artifactory/7.98.9 79809900", ONE_PATCH),
        ("X-Artifactory-Id", "", ONE_PATCH),
        ("X-Artifactory-Node-Id", "artifactory-0", ONE_PATCH),
        ("Server", " artifactory/6.11.6", ONE_PATCH),
        ("Server", "nginx", None),
        ("Server", "not Artifactory/6", None),
        ("X-JFrog-Version", "Xray/3.1", None),
        ("X-Artifactory", "7", None),
    ],
)
def test_products_are_known_by_what_their_answers_say(name: str, value: str, habits: UploadProfile | None) -> None:
    """Artifactory runs under any name."""
    assert upload_profile_from_headers(Headers([(name, value)])) == habits


def test_what_answers_say_counts_where_nothing_better_is_known() -> None:
    """Neither by the name, nor by what has worked or has not."""
    unknown, named, learnt, proved = (LearntProfile.of(name, MIB) for name in ("r.io", "gcr.io", "a.io", "b.io"))
    learnt.uploads = UploadProfile(patches=True)
    proved.closing_put_carries = True
    for quirks in (unknown, named, learnt, proved):
        quirks.learn_from_headers(ARTIFACTORY)
    assert unknown.uploads == ONE_PATCH
    assert [named.uploads, learnt.uploads, proved.uploads] == [
        UploadProfile(chunks=False),
        UploadProfile(patches=True),
        UploadProfile(),
    ]
