"""The decisions of an upload: `next_step`, without any I/O."""

import pytest

from image_syncer.errors import ContentMismatch, ProtocolError, Refused, StoreError, TooLarge, Unavailable
from image_syncer.oci import Descriptor, Digest
from image_syncer.oci import media_type as types
from image_syncer.registry.blobs.chunk_size import ChunkSize
from image_syncer.registry.blobs.upload_events import (
    Action,
    AttemptFailed,
    BlobChecked,
    BlobPosted,
    CheckBlob,
    ContentDelayed,
    EndAttempt,
    Event,
    Fail,
    Finish,
    OffsetQueried,
    OpenSession,
    PartPatched,
    PartRefused,
    PostBlob,
    PostRefused,
    QueryOffset,
    SendPart,
    SessionOpened,
    SlotTaken,
    Started,
    TakeSlot,
    UploadClosed,
)
from image_syncer.registry.blobs.upload_session import UploadSession
from image_syncer.registry.blobs.upload_steps import UploadState, next_step
from image_syncer.registry.blobs.upload_strategy import Part, UploadFacts, UploadStrategy
from image_syncer.registry.vendors.vendor_profile import UploadProfile
from image_syncer.structs import replace

MIB = 1024 * 1024
CHUNK = 8 * MIB
OTHER = Digest.of(b"other")
BROKEN = Unavailable("the connection broke")


class Upload:
    """An upload that is driven by events; checks that no step changes the state it was given."""

    def __init__(self, size: int = 20 * MIB, profile: UploadProfile | None = None) -> None:
        blob = Descriptor(types.OCI_LAYER, Digest.of(b"blob"), size)
        self.facts = UploadFacts(profile or UploadProfile(), ChunkSize.of(CHUNK), closing_put_carries=False, now=0.0)
        self.state = UploadState(blob, "r.test/app@sha256:0", "r.test", UploadStrategy.of(size, self.facts))

    def step(self, event: Event) -> Action:
        """Apply *event* and return the action."""
        before = replace(self.state)
        step = next_step(self.state, event, self.facts)
        assert self.state == before
        self.state, self.facts, action = step
        return action

    def opened(self) -> Action:
        """Start an attempt up to an open session, and return the first action after it."""
        assert self.step(Started()) == TakeSlot()
        assert self.step(SlotTaken()) == OpenSession()
        return self.step(SessionOpened(UploadSession("/0")))

    def patched(self, held: int, status: int = 202, digest: Digest | None = None, stated: int | None = -1) -> Action:
        """Have the current PATCH succeed with *held* bytes sent in all; the registry states *stated* (-1: *held*)."""
        location = f"/{held}"
        return self.step(PartPatched(status, held if stated == -1 else stated, location, digest, held, 10.0))


def sent(action: Action) -> tuple[str, Part]:
    """Return where *action* sends which part."""
    assert isinstance(action, SendPart)
    return action.session.location, action.part


def error_of(action: Action) -> StoreError:
    """Return the error that *action* raises."""
    assert isinstance(action, Fail | EndAttempt)
    return action.error


def test_a_blob_goes_in_chunks_each_to_the_location_of_the_response_before() -> None:
    """POST, two PATCHes, and the closing PUT with the rest."""
    upload = Upload()
    assert sent(upload.opened()) == ("/0", Part(0, CHUNK, closes=False, is_last=False))
    assert sent(upload.patched(CHUNK)) == (f"/{CHUNK}", Part(CHUNK, CHUNK, closes=False, is_last=False))
    last = upload.patched(2 * CHUNK)
    assert sent(last) == (f"/{2 * CHUNK}", Part(2 * CHUNK, 4 * MIB, closes=True, is_last=True))
    assert upload.step(UploadClosed(201, None)) == Finish()
    assert upload.state.session is None
    assert upload.facts.closing_put_carries


def test_the_offset_is_unknown_while_a_part_is_under_way() -> None:
    """So after a break the registry is asked."""
    upload = Upload()
    upload.opened()
    assert upload.state.session is not None
    assert not upload.state.session.is_acknowledged
    action = upload.step(AttemptFailed(BROKEN, read_to=MIB))
    assert action == EndAttempt(BROKEN, None, may_retry=True)
    assert upload.step(Started()) == TakeSlot()
    assert upload.step(SlotTaken()) == QueryOffset(upload.state.session)


def test_a_broken_upload_resumes_at_the_offset_of_the_registry() -> None:
    """That is progress if it grew."""
    upload = Upload()
    upload.opened()
    upload.step(AttemptFailed(BROKEN, read_to=CHUNK))
    upload.step(Started())
    upload.step(SlotTaken())
    action = upload.step(OffsetQueried(UploadSession("/moved", 3 * MIB)))
    assert sent(action) == ("/moved", Part(3 * MIB, CHUNK, closes=False, is_last=False))
    assert upload.state.has_advanced


def test_a_lost_session_is_opened_again_with_smaller_chunks() -> None:
    """Smaller chunks count as progress, so patience begins again."""
    upload = Upload()
    upload.opened()
    upload.step(AttemptFailed(BROKEN, read_to=6 * MIB))
    upload.step(Started())
    upload.step(SlotTaken())
    assert upload.step(OffsetQueried(Unavailable("gone", status=404))) == OpenSession()
    assert upload.state.session is None
    assert upload.facts.chunk.at(0.0) < CHUNK
    assert upload.state.has_advanced


def test_an_offset_that_cannot_be_queried_fails_the_attempt_and_keeps_the_session() -> None:
    """The registry may just be down; the next attempt asks again."""
    upload = Upload()
    upload.opened()
    upload.step(AttemptFailed(BROKEN))
    for _ in range(3):
        upload.step(Started())
        assert isinstance(upload.step(SlotTaken()), QueryOffset)
        down = Unavailable("down", status=503)
        assert upload.step(OffsetQueried(down)) == Fail(down)
        assert upload.step(AttemptFailed(down)) == EndAttempt(down, None, may_retry=True)
    assert upload.state.session is not None


def test_an_inherited_session_is_lost_after_two_failed_queries() -> None:
    """It may never work again; one failure may be chance."""
    upload = Upload()
    upload.state = upload.state.inherit(UploadSession("/old", CHUNK, is_acknowledged=False))
    down = Unavailable("down", status=503)
    for expected in (Fail(down), OpenSession()):
        upload.step(Started())
        assert isinstance(upload.step(SlotTaken()), QueryOffset)
        assert upload.step(OffsetQueried(down)) == expected
        upload.step(AttemptFailed(down))


def test_an_offset_beyond_the_blob_means_that_the_session_is_lost() -> None:
    """It holds bytes of something else."""
    upload = Upload()
    upload.state = upload.state.inherit(UploadSession("/old", CHUNK, is_acknowledged=False))
    upload.step(Started())
    upload.step(SlotTaken())
    assert upload.step(OffsetQueried(UploadSession("/old", 20 * MIB + 1))) == OpenSession()


@pytest.mark.parametrize(("offset", "resumes"), [(0, True), (CHUNK, False), (20 * MIB, True)])
def test_a_registry_without_chunks_resumes_an_inherited_session_only_if_empty_or_complete(
    offset: int, resumes: bool
) -> None:
    """A complete one only needs to be closed."""
    upload = Upload(profile=UploadProfile(chunks=False))
    upload.state = upload.state.inherit(UploadSession("/old", offset, is_acknowledged=False))
    upload.step(Started())
    upload.step(SlotTaken())
    action = upload.step(OffsetQueried(UploadSession("/old", offset)))
    assert isinstance(action, SendPart if resumes else OpenSession)


def test_a_put_without_a_response_is_checked_before_anything_is_sent_again() -> None:
    """The registry may have stored the blob."""
    upload = Upload(MIB)
    upload.opened()
    upload.step(AttemptFailed(BROKEN, read_to=MIB))
    assert upload.step(Started()) == CheckBlob()
    assert upload.step(BlobChecked(exists=True)) == Finish()
    again = Upload(MIB)
    again.opened()
    again.step(AttemptFailed(BROKEN, read_to=MIB))
    again.step(Started())
    assert again.step(BlobChecked(exists=False)) == TakeSlot()
    assert again.step(SlotTaken()) == OpenSession()  # Too small to resume.


def test_a_content_that_broke_is_not_the_fault_of_the_target() -> None:
    """So the target is not asked whether it stored the blob; a useless session is deleted there."""
    upload = Upload(MIB)
    upload.opened()
    session = upload.state.session
    action = upload.step(AttemptFailed(BROKEN, is_from_content=True, was_opened=True))
    assert action == EndAttempt(BROKEN, session, may_retry=True)
    assert upload.step(Started()) == TakeSlot()


def test_a_content_that_cannot_be_opened_is_not_retried() -> None:
    """Its opener has retried. A resumable session is kept for later."""
    upload = Upload()
    upload.opened()
    action = upload.step(AttemptFailed(BROKEN, is_from_content=True, was_opened=False))
    assert action == EndAttempt(BROKEN, None, may_retry=False)
    assert upload.state.session is not None


@pytest.mark.parametrize("status", [200, 202])
@pytest.mark.parametrize("exists", [True, False])
def test_a_closing_put_that_confirms_nothing_is_checked(status: int, exists: bool) -> None:
    """Only the blob itself proves that it is stored."""
    upload = Upload(MIB)
    upload.opened()
    assert upload.step(UploadClosed(status, None)) == CheckBlob()
    action = upload.step(BlobChecked(exists))
    if exists:
        assert action == Finish()
    else:
        error = error_of(action)
        assert isinstance(error, ProtocolError)
        assert error.status == status
        assert f"r.test answered {status}, but does not hold it" in error.message


def test_another_digest_is_a_mismatch_and_the_next_attempt_sends_one_patch() -> None:
    """The registry may have ignored the content of the PUT."""
    upload = Upload(MIB)
    upload.opened()
    error = error_of(upload.step(UploadClosed(201, OTHER)))
    assert isinstance(error, ContentMismatch)
    upload.step(AttemptFailed(error))
    upload.step(Started())
    upload.step(BlobChecked(exists=False))
    upload.step(SlotTaken())
    assert sent(upload.step(SessionOpened(UploadSession("/1")))) == ("/1", Part(0, MIB, closes=False, is_last=True))


@pytest.mark.parametrize(
    ("exists", "digest", "accepted"), [(True, None, True), (False, None, False), (False, Digest.of(b"blob"), True)]
)
def test_a_patch_that_commits_early_ends_the_upload(exists: bool, digest: Digest | None, accepted: bool) -> None:
    """If the registry holds the blob, or names its digest; otherwise the upload continues."""
    upload = Upload(profile=UploadProfile(patches=True))
    upload.opened()
    assert upload.patched(CHUNK, 201, digest) == CheckBlob()
    action = upload.step(BlobChecked(exists))
    assert action == Finish() if accepted else sent(action)[1].start == CHUNK


def test_an_early_commit_of_other_content_is_a_mismatch() -> None:
    """The digest in the response to the PATCH counts like that of a PUT."""
    upload = Upload(profile=UploadProfile(patches=True))
    upload.opened()
    upload.patched(CHUNK, 201, OTHER)
    assert isinstance(error_of(upload.step(BlobChecked(exists=True))), ContentMismatch)


def test_fewer_bytes_than_were_sent_are_sent_again() -> None:
    """From the offset that the registry states."""
    upload = Upload()
    upload.opened()
    assert sent(upload.patched(CHUNK, stated=3 * MIB))[1].start == 3 * MIB


@pytest.mark.parametrize(
    ("status", "stated", "reason"),
    [
        (202, CHUNK + 1, "the registry got 8388609 of 20971520 bytes"),
        (416, None, "the upload was lost"),
    ],
)
def test_an_impossible_offset_fails_the_attempt(status: int, stated: int | None, reason: str) -> None:
    """More than was sent, or an unknown offset after a 416."""
    upload = Upload()
    upload.opened()
    error = error_of(upload.patched(CHUNK, status, stated=stated))
    assert isinstance(error, Unavailable)
    assert reason in error.message


def test_a_registry_that_keeps_losing_bytes_is_given_up() -> None:
    """After 16 times in one attempt."""
    upload = Upload()
    action = upload.opened()
    count = 0
    while isinstance(action, SendPart):
        start, length = action.part.start, action.part.length or 0
        action = upload.patched(start + length, stated=start + 1)
        count += 1
    assert count == 16
    assert "keeps losing bytes" in error_of(action).message


def test_a_refused_chunk_is_sent_in_another_way_in_a_new_session() -> None:
    """Whole, since the registry does not take chunks; nothing can resume then."""
    upload = Upload()
    upload.opened()
    assert upload.step(PartRefused(Refused("no", status=405))) == OpenSession()
    assert sent(upload.step(SessionOpened(UploadSession("/1")))) == ("/1", Part(0, 20 * MIB, closes=True, is_last=True))


def test_a_chunk_that_is_too_large_continues_in_its_session() -> None:
    """The registry is asked for the offset first, since part of the chunk may have arrived."""
    upload = Upload()
    upload.opened()
    action = upload.step(PartRefused(TooLarge("no", status=413)))
    assert isinstance(action, QueryOffset)
    assert upload.facts.chunk.at(0.0) == CHUNK // 2


def test_a_refusal_without_another_way_is_raised() -> None:
    """A 409 is not about the way."""
    upload = Upload(MIB)
    upload.opened()
    refusal = Refused("no", status=409)
    assert upload.step(PartRefused(refusal)) == Fail(refusal)
    assert upload.step(AttemptFailed(refusal)) == EndAttempt(refusal, None, may_retry=True)


def test_a_wait_for_the_content_continues_with_the_open_session() -> None:
    """Nothing was sent to it, so there is no second POST and no query."""
    upload = Upload()
    first = upload.opened()
    assert upload.step(ContentDelayed()) == TakeSlot()
    assert upload.step(SlotTaken()) == first


def posted(size: int = 1000, *, known: bool | None = None) -> Upload:
    """Return an upload whose next event is the answer to the POST with its content."""
    upload = Upload(size)
    upload.state = replace(upload.state, may_post=True)
    upload.facts = replace(upload.facts, single_post=known)
    assert upload.step(Started()) == TakeSlot()
    assert upload.step(SlotTaken()) == PostBlob(Part(0, size, closes=True, is_last=True))
    return upload


def test_a_trial_keeps_other_uploads_from_posting() -> None:
    """Until it has an answer; a failure is none."""
    upload = posted()
    assert upload.facts.single_post is False
    assert isinstance(upload.step(AttemptFailed(BROKEN)), EndAttempt)
    assert (upload.facts.single_post, upload.state.takes_post) == (False, None)
    assert upload.opened() == SendPart(UploadSession("/0"), Part(0, 1000, closes=True, is_last=True))


@pytest.mark.parametrize(("known", "learnt"), [(None, True), (True, None)])
def test_a_blob_that_the_post_stored_is_finished(known: bool | None, learnt: bool | None) -> None:
    """What was known already is not stored again."""
    upload = posted(known=known)
    assert upload.step(BlobPosted(201, upload.state.blob.digest)) == Finish()
    assert (upload.facts.single_post, upload.state.takes_post) == (True, learnt)


@pytest.mark.parametrize("known", [None, True])
def test_a_202_to_the_post_opens_the_session(known: bool | None) -> None:
    """Without a usable one, another is opened."""
    upload = posted(known=known)
    location, part = sent(upload.step(BlobPosted(202, session=UploadSession("/1"))))
    assert (location, part.is_whole, upload.facts.single_post, upload.state.takes_post) == ("/1", True, False, False)
    assert posted(known=known).step(BlobPosted(202)) == OpenSession()


def test_a_post_is_tried_with_tiny_blobs_and_never_as_patch() -> None:
    """A server may close the connection after content that it ignores."""
    for size, known, profile, action in [
        (64 * 1024, None, None, PostBlob(Part(0, 64 * 1024, closes=True, is_last=True))),
        (64 * 1024 + 1, None, None, OpenSession()),
        (1000, False, None, OpenSession()),
        (1000, True, UploadProfile(patches=True), OpenSession()),
    ]:
        upload = Upload(size, profile)
        upload.state = replace(upload.state, may_post=True)
        upload.facts = replace(upload.facts, single_post=known)
        upload.step(Started())
        assert upload.step(SlotTaken()) == action


def test_only_an_answer_to_the_post_itself_is_remembered() -> None:
    """Other refusals end the trial, and fail the upload where the registry is known to store blobs so."""
    upload = posted()
    assert upload.step(PostRefused(Refused("no", status=405))) == OpenSession()
    assert upload.state.takes_post is False
    upload = posted()
    assert upload.step(PostRefused(Refused("no", status=409))) == OpenSession()
    assert (upload.facts.single_post, upload.state.takes_post) == (False, None)
    error = Refused("no", status=409)
    assert posted(known=True).step(PostRefused(error)) == Fail(error)
