"""Which part of a blob goes with which request."""

import pytest

from image_syncer.errors import Refused, TooLarge
from image_syncer.registry.blobs.chunk_size import ChunkSize
from image_syncer.registry.blobs.upload_session import UploadSession
from image_syncer.registry.blobs.upload_strategy import Part, UploadFacts, UploadStrategy
from image_syncer.registry.http.messages import Headers
from image_syncer.registry.settings import HostLimits, Limits
from image_syncer.registry.vendor_profiles import (
    LearntProfile,
    upload_profile_from_headers,
    upload_profile_of,
)
from image_syncer.registry.vendors.vendor_profile import UploadProfile
from image_syncer.structs import replace

MIB = 1024 * 1024
SIZE = 100 * MIB
LOCATION = "/v2/app/blobs/uploads/x"
EMPTY = UploadSession(LOCATION)
ONE_PATCH = UploadProfile(patches=True, chunks=False)
ARTIFACTORY = Headers([("X-JFrog-Version", "Artifactory/7.98.9 79809900")])


def facts(profile: UploadProfile | None = None) -> UploadFacts:
    """Return what is known of a registry with *profile*; chunks have 32 MiB."""
    return UploadFacts(profile or UploadProfile(), ChunkSize.of(32 * MIB), closing_put_carries=False, now=0.0)


def begun(size: int | None = SIZE, known: UploadFacts | None = None) -> UploadStrategy:
    """Return the strategy for a blob of *size*."""
    return UploadStrategy.of(size, known or facts())


def parts(strategy: UploadStrategy, size: int, known: UploadFacts, least: int = 0) -> list[tuple[int, bool]]:
    """Return the length of each part of a blob of *size*, and whether it closes the upload."""
    found, offset = list[tuple[int, bool]](), 0
    while True:
        part = strategy.next_part(UploadSession(LOCATION, offset, least), known)
        assert part.start == offset
        assert part.length is not None
        found.append((part.length, part.closes))
        if part.closes:
            return found
        offset += part.length


@pytest.mark.parametrize(
    ("size", "profile", "expected"),
    [
        (0, UploadProfile(), [(0, True)]),
        (0, ONE_PATCH, [(0, True)]),
        (32 * MIB, UploadProfile(), [(32 * MIB, True)]),
        (75 * MIB, UploadProfile(), [(32 * MIB, False), (32 * MIB, False), (11 * MIB, True)]),
        (70 * MIB, UploadProfile(chunks=False), [(70 * MIB, True)]),
        (70 * MIB, UploadProfile(patches=True, chunks=False), [(70 * MIB, False), (0, True)]),
        (45 * MIB, UploadProfile(patches=True), [(32 * MIB, False), (13 * MIB, False), (0, True)]),
        (45 * MIB, UploadProfile(least_bytes=35 * MIB), [(35 * MIB, False), (10 * MIB, True)]),
        # A last part of up to a quarter of a chunk goes with the one before it,
        (40 * MIB, UploadProfile(), [(40 * MIB, True)]),
        (70 * MIB, UploadProfile(), [(32 * MIB, False), (38 * MIB, True)]),
        (40 * MIB, UploadProfile(patches=True), [(40 * MIB, False), (0, True)]),
        # unless the registry has a bound.
        (33 * MIB, UploadProfile(most_bytes=32 * MIB), [(32 * MIB, False), (MIB, True)]),
        (9 * MIB, UploadProfile(most_bytes=4 * MIB), [(4 * MIB, False), (4 * MIB, False), (MIB, True)]),
    ],
)
def test_the_profile_of_a_registry_divides_a_blob(
    size: int, profile: UploadProfile, expected: list[tuple[int, bool]]
) -> None:
    """Into PATCHes and the closing PUT."""
    known = facts(profile)
    assert parts(begun(size, known), size, known) == expected


def test_the_minimum_of_a_session_holds() -> None:
    """OCI-Chunk-Min-Length: for every chunk but the last."""
    assert parts(begun(), SIZE, facts(), least=40 * MIB) == [(40 * MIB, False), (40 * MIB, False), (20 * MIB, True)]


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        (ChunkSize.of(32 * MIB).after_413(64 * MIB), [(32 * MIB, False), (MIB, True)]),
        (ChunkSize.of(32 * MIB).after_break(32 * MIB, 32 * MIB, 0.0), [(8 * MIB, False)] * 4 + [(MIB, True)]),
    ],
    ids=["a refused chunk", "a break"],
)
def test_no_part_is_larger_than_a_chunk_that_trouble_has_limited(
    chunk: ChunkSize, expected: list[tuple[int, bool]]
) -> None:
    """The limit has a reason then."""
    known = replace(facts(), chunk=chunk)
    assert parts(begun(33 * MIB, known), 33 * MIB, known) == expected


def test_a_blob_of_unknown_size_goes_whole() -> None:
    """In one PATCH, with an empty PUT after it."""
    strategy = begun(None)
    assert strategy.next_part(EMPTY, facts()) == Part(0, None, closes=False, is_last=True)
    last = strategy.next_part(UploadSession(LOCATION, 77), facts())
    assert (last, last.has_body) == (Part(77, 0, closes=True, is_last=True), False)


def test_only_chunks_have_a_content_range() -> None:
    """Without a unit, as the specification has it; a whole body needs none."""
    known = facts()
    assert known.headers(Part(10, 5, closes=False, is_last=False))["Content-Range"] == "10-14"
    assert "Content-Range" not in known.headers(Part(0, SIZE, closes=True, is_last=True))
    assert "Content-Range" not in known.headers(Part(SIZE, 0, closes=True, is_last=True))


@pytest.mark.parametrize(("start", "closes"), [(0, True), (32 * MIB, False)])
def test_after_a_refused_chunk_the_blob_goes_whole(start: int, closes: bool) -> None:
    """With a PATCH if the registry has accepted one, otherwise with the PUT."""
    strategy, known = begun(), facts()
    session = UploadSession(LOCATION, start)
    changed = strategy.fall_back_after(Refused("no", status=405), strategy.next_part(session, known), session, known)
    assert changed is not None
    assert changed[0].next_part(EMPTY, known) == Part(0, SIZE, closes=closes, is_last=True)


def test_a_commit_teaches_what_worked() -> None:
    """A refusal alone teaches nothing yet."""
    known = facts()
    chunk = Part(0, 32 * MIB, closes=False, is_last=False)
    changed = begun().fall_back_after(Refused("no", status=400), chunk, EMPTY, known)
    assert changed is not None
    strategy, after = changed
    assert after == known
    assert strategy.after_commit(strategy.next_part(EMPTY, known), known).profile == UploadProfile(chunks=False)


def test_a_refused_whole_body_goes_with_a_patch_once() -> None:
    """There is no third way."""
    strategy, known = begun(MIB), facts()
    whole = strategy.next_part(EMPTY, known)
    changed = strategy.fall_back_after(Refused("no", status=415), whole, EMPTY, known)
    assert changed is not None
    patched = changed[0].next_part(EMPTY, known)
    assert not patched.closes
    assert changed[0].fall_back_after(Refused("no", status=415), patched, EMPTY, known) is None
    assert strategy.fall_back_after(Refused("no", status=409), whole, EMPTY, known) is None


@pytest.mark.parametrize("refusal", [Refused("no", status=405), TooLarge("no", status=413)])
def test_a_refused_trial_is_undone(refusal: Refused) -> None:
    """What the registry said about the other way was right, and comes out."""
    strategy, known = begun(), facts()
    before = parts(strategy, SIZE, known)
    trial = strategy.try_single_patch(known, inherited=False)
    assert parts(trial, SIZE, known) == [(SIZE, False), (0, True)]
    changed = trial.fall_back_after(refusal, trial.next_part(EMPTY, known), EMPTY, known)
    assert changed is not None
    assert parts(changed[0], SIZE, known) == before


def test_a_registry_that_has_stored_content_of_a_put_gets_no_trial() -> None:
    """It does not ignore that content, so something else caused the mismatch."""
    first, known = begun(MIB), facts()
    after = first.after_commit(first.next_part(EMPTY, known), known)
    assert after.closing_put_carries
    strategy = begun(SIZE, after)
    assert strategy.try_single_patch(after, inherited=False) == strategy


@pytest.mark.parametrize(("inherited", "learnt"), [(False, ONE_PATCH), (True, UploadProfile())])
def test_a_successful_trial_is_learnt(inherited: bool, learnt: UploadProfile) -> None:
    """Unless the bytes of another process may have been the wrong ones."""
    trial = begun().try_single_patch(facts(), inherited=inherited)
    assert trial.after_commit(Part(SIZE, 0, closes=True, is_last=True), facts()).profile == learnt


def test_lessons_of_other_uploads_apply_when_the_strategy_is_refreshed() -> None:
    """An upload under way continues as it began."""
    known = facts(ONE_PATCH)
    strategy = begun()
    assert not strategy.next_part(EMPTY, known).is_whole
    assert strategy.refresh(known).next_part(EMPTY, known) == Part(0, SIZE, closes=False, is_last=True)


@pytest.mark.parametrize(("least", "expected"), [(0, [32, 16, 8, 4, 2, 1]), (3 * MIB, [32, 16, 8, 4, 3])])
def test_a_chunk_that_is_too_large_becomes_smaller_down_to_a_bound(least: int, expected: list[int]) -> None:
    """1 MiB, or the registry's minimum."""
    strategy, known = begun(), facts()
    session = UploadSession(LOCATION, least_bytes=least)
    lengths = list[int | None]()
    while True:
        part = strategy.next_part(session, known)
        lengths.append(part.length)
        changed = strategy.fall_back_after(TooLarge("no", status=413), part, session, known)
        if changed is None:
            break
        strategy, known = changed
    assert lengths == [n * MIB for n in expected]


def test_a_chunk_size_of_the_user_is_a_bound_that_quick_chunks_do_not_raise() -> None:
    """A proxy in front of the registry may refuse larger requests, so a small excess is not added either."""
    limits = Limits(host_limits={"r.example": HostLimits(chunk_bytes=2 * MIB)})
    chunk = LearntProfile.of("r.example", limits).chunk
    assert chunk.after_success(2 * MIB, 0.1, 1.0).at(2.0) == 2 * MIB
    assert not chunk.may_exceed(2.0)
    assert chunk.after_413(2 * MIB).at(2.0) == MIB
    assert LearntProfile.of("other.example", limits).chunk == ChunkSize.of(limits.chunk_bytes)


def test_facts_are_stored_where_the_next_upload_finds_them() -> None:
    """`save` is the inverse of `of`."""
    learnt = LearntProfile.of("r.example", Limits(chunk_bytes=MIB))
    changed = replace(UploadFacts.of(learnt, 5.0), profile=ONE_PATCH, closing_put_carries=True)
    changed = replace(changed, chunk=changed.chunk.after_413(4 * MIB))
    changed.save(learnt)
    assert UploadFacts.of(learnt, 5.0) == changed


@pytest.mark.parametrize(
    ("registry", "profile"),
    [
        ("x.jfrog.io", ONE_PATCH),
        ("eu.gcr.io", UploadProfile(chunks=False)),
        ("europe-docker.pkg.dev:443", UploadProfile(chunks=False)),
        ("012345678901.dkr.ecr.eu-central-1.amazonaws.com", UploadProfile(patches=True, least_bytes=5 * MIB)),
        ("registry.example.com:5000", UploadProfile()),
        ("notgcr.io", UploadProfile()),
    ],
)
def test_some_registries_are_known_by_their_host(registry: str, profile: UploadProfile) -> None:
    """With or without a port."""
    assert upload_profile_of(registry) == profile


@pytest.mark.parametrize(
    ("name", "value", "profile"),
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
def test_a_product_is_known_by_its_response_headers(name: str, value: str, profile: UploadProfile | None) -> None:
    """Artifactory runs under any name."""
    assert upload_profile_from_headers(Headers([(name, value)])) == profile


def test_headers_count_only_if_nothing_better_is_known() -> None:
    """Neither the host's name nor experience."""
    unknown, named, learnt, proved = (LearntProfile.of(name, Limits()) for name in ("r.io", "gcr.io", "a.io", "b.io"))
    learnt.uploads = UploadProfile(patches=True)
    proved.closing_put_carries = True
    for profile in (unknown, named, learnt, proved):
        profile.learn_from_headers(ARTIFACTORY)
    assert unknown.uploads == ONE_PATCH
    assert [named.uploads, learnt.uploads, proved.uploads] == [
        UploadProfile(chunks=False),
        UploadProfile(patches=True),
        UploadProfile(),
    ]
