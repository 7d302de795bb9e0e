"""The steps of one blob upload as a pure state machine: `next_step(state, event)` says what to do. No I/O.

An attempt takes an upload slot, opens a session (or queries the offset of an earlier one), and sends parts with PATCHes
until the rest, if any, goes with the closing PUT. Then it checks what the registry stored. The state outlives the
attempt, so the next one resumes where this one broke off.
"""

from enum import Enum, auto
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Self

from image_syncer.errors import ContentMismatch, Postponed, ProtocolError, RateLimited, Refused, StoreError, Unavailable
from image_syncer.oci import Descriptor, Digest
from image_syncer.registry.blobs.download import GAIN_BYTES
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
from image_syncer.registry.blobs.upload_strategy import Part, UploadFacts, UploadStrategy
from image_syncer.structs import Struct, replace

LASTING_BYTES: Final = 8 * 1024 * 1024
"""Uploads of smaller blobs are not resumed: asking for their offset costs more than sending them again."""

_TRIAL_BYTES: Final = 64 * 1024  # A server that ignores the content of a POST reads this much and keeps the connection.
_NO_POST: Final = frozenset({400, 405, 411, 413, 415, 501})
_MAX_WAYS: Final = 16  # How many ways one attempt tries, and how many unexpected offsets it accepts.
_UNCONFIRMED: Final = frozenset(
    {HTTPStatus.OK, HTTPStatus.ACCEPTED}
)  # Only a HEAD of the blob proves a PUT with these.
_SESSION_LOST: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}
)


class CheckReason(Enum):
    """Why the registry is asked whether it holds the blob."""

    LOST_PUT = auto()
    """The last attempt sent the closing PUT, and got no response."""
    EARLY_COMMIT = auto()
    """A PATCH got 201: ECR commits early, and then refuses the PUT."""
    CLOSING_PUT = auto()
    """The closing PUT got a status that does not confirm it."""
    FIRST_POST = auto()
    """The first POST with content at this registry got 201 without a digest."""


class UploadState(Struct):
    """What an upload knows between its steps. *what* names the blob in errors.

    *session* is None without an upload to continue; *is_inherited*: an earlier push or process sent some of its bytes;
    *is_kept*: the registry refused the last part for the moment, so the session is empty still.
    *part* is the last part that this attempt sent. *broken* is the part that was on its way when the connection broke,
    with the number of bytes that were sent of it. *stuck_at* is the start of the part that broke before that one.
    *may_post*: one POST may store the blob, which has not been tried yet. *is_post_trial*: this upload finds out
    whether the registry does that; *takes_post* is the result, to be remembered.
    *progress_bytes* is the highest offset that counted as progress, *has_advanced* whether there was some since the
    last failure. *check* is the reason of a running check, which *early_commit* or *closing_status* caused.
    """

    blob: Descriptor
    what: str
    registry: str
    strategy: UploadStrategy
    session: UploadSession | None = None
    is_inherited: bool = False
    is_kept: bool = False
    is_unproved: bool = False
    failed_queries: int = 0
    part: Part | None = None
    check: CheckReason | None = None
    early_commit: PartPatched | None = None
    closing_status: int = 0
    broken: tuple[Part, int] | None = None
    stuck_at: int | None = None
    may_post: bool = False
    is_post_trial: bool = False
    takes_post: bool | None = None
    progress_bytes: int = 0
    has_advanced: bool = False
    ways: int = 0
    surprises: int = 0

    @property
    def is_lasting(self) -> bool:
        """Whether the blob is large enough to resume its upload."""
        return (self.blob.size or 0) > LASTING_BYTES

    @property
    def is_resumable(self) -> bool:
        """Whether the upload can continue after a break."""
        return self.is_lasting and self.strategy.can_chunk

    def inherit(self, session: UploadSession) -> Self:
        """Return the state with *session*, which an earlier push has begun."""
        return replace(self, session=session, is_inherited=True, is_unproved=True)

    def without_session(self) -> Self:
        """Return the state without a session: it has ended, or is of no use."""
        return replace(self, session=None, is_inherited=False, is_kept=False)


class Step(NamedTuple):
    """The state after an event, what is now known about the registry, and what to do next."""

    state: UploadState
    facts: UploadFacts
    action: Action


def next_step(state: UploadState, event: Event, facts: UploadFacts) -> Step:  # noqa: C901, PLR0911 - one per event
    """Return what follows from *event*."""
    match event:
        case Started():
            return _start(state, facts)
        case SlotTaken() | ContentDelayed():
            return _after_slot(state, facts, event)
        case BlobChecked():
            return _after_check(state, facts, exists=event.exists)
        case SessionOpened():
            return _send(state, facts, event.session, broken=None, strategy=state.strategy.refresh(facts))
        case BlobPosted() | PostRefused():
            return _after_post(state, facts, event)
        case OffsetQueried():
            return _after_query(state, facts, event.result)
        case PartPatched():
            return _after_patch(state, facts, event)
        case UploadClosed():
            return _verify(state, facts, event.status, event.digest)
        case PartRefused():
            return _change_way(state, facts, event.error)
        case AttemptFailed():
            return _fail(state, facts, event)


def _start(state: UploadState, facts: UploadFacts) -> Step:
    if state.part is not None and state.part.closes:
        return Step(replace(state, check=CheckReason.LOST_PUT), facts, CheckBlob())
    return Step(state, facts, TakeSlot())


def _after_slot(state: UploadState, facts: UploadFacts, event: SlotTaken | ContentDelayed) -> Step:
    if isinstance(event, SlotTaken):
        return _begin(state, facts, part=None, ways=0)
    session = None if state.session is None else replace(state.session, is_acknowledged=True)  # Nothing was sent.
    return Step(replace(state, part=None, session=session), facts, TakeSlot())


def _begin(state: UploadState, facts: UploadFacts, **changes: Any) -> Step:
    ways = changes.pop("ways", state.ways)
    if ways == _MAX_WAYS:
        error = Unavailable(f"{state.what}: the registry accepted it in none of {_MAX_WAYS} ways")
        return Step(state, facts, Fail(error))
    session = state.session
    is_query = session is not None and not session.is_acknowledged
    broken = state.broken if is_query else None
    state = replace(state, ways=ways + 1, surprises=0, broken=broken, **changes)
    if session is None:
        return _open(state, facts)
    return Step(state, facts, QueryOffset(session)) if is_query else _send(state, facts)


def _open(state: UploadState, facts: UploadFacts) -> Step:
    """Open a session, unless one POST may store the blob. The first one at a registry is the trial, with a tiny blob.

    Other uploads open sessions until the trial has ended: if it fails without an answer, that stays so.
    """
    size = state.blob.size or 0
    is_trial = facts.single_post is None and size <= _TRIAL_BYTES
    if not state.may_post or state.strategy.patches or not (facts.single_post or is_trial):
        return Step(state, facts, OpenSession())
    state = replace(state, may_post=False, is_post_trial=is_trial)
    facts = replace(facts, single_post=False) if is_trial else facts
    return Step(state, facts, PostBlob(Part(0, size, closes=True, is_last=True)))


def _after_post(state: UploadState, facts: UploadFacts, event: BlobPosted | PostRefused) -> Step:
    """Finish if the POST has stored the blob; otherwise send it to a session. Errors that a retry heals do not come."""
    if isinstance(event, PostRefused):
        refusal = event.error
        is_answer = isinstance(refusal, Refused) and refusal.status in _NO_POST
        if not is_answer and not state.is_post_trial and not isinstance(refusal, ContentMismatch):
            return Step(state, facts, Fail(refusal))
        # After any other refusal of a trial, no POST is tried in this process; the next process tries again.
        return Step(*_learn_post(state, facts, takes_post=False) if is_answer else (state, facts), OpenSession())
    if event.status == HTTPStatus.CREATED:
        if event.digest is not None and event.digest != state.blob.digest:
            message = f"{state.what}: the registry stored it as {event.digest}"
            return Step(state, facts, Fail(ContentMismatch(message)))
        if event.digest is None and state.is_post_trial:
            return Step(replace(state, check=CheckReason.FIRST_POST), facts, CheckBlob())
        return Step(*_learn_post(state, facts, takes_post=True), Finish())
    state, facts = _learn_post(state, facts, takes_post=False)
    if event.session is None:
        return Step(state, facts, OpenSession())
    return _send(replace(state, session=event.session), facts)


def _learn_post(state: UploadState, facts: UploadFacts, *, takes_post: bool) -> tuple[UploadState, UploadFacts]:
    """Return both with the answer to a POST with content."""
    if facts.single_post is takes_post and not state.is_post_trial:
        return state, facts
    return replace(state, is_post_trial=False, takes_post=takes_post), replace(facts, single_post=takes_post)


def _send(state: UploadState, facts: UploadFacts, opened: UploadSession | None = None, **changes: Any) -> Step:
    """Send the next part to the session, or to the *opened* one; *changes* are those to the state, copied once."""
    session = opened or _session(state)
    strategy: UploadStrategy = changes.get("strategy", state.strategy)
    part = strategy.next_part(session, facts)
    # From now on the offset is unknown until the registry acknowledges it.
    unsure = replace(session, is_acknowledged=False)
    return Step(replace(state, part=part, session=unsure, **changes), facts, SendPart(session, part))


def _after_query(state: UploadState, facts: UploadFacts, result: UploadSession | StoreError) -> Step:
    """Resume the session, or give it up if it is lost. An inherited one is lost too if its query fails twice."""
    if isinstance(result, UploadSession):
        return _resume(replace(state, is_unproved=False), facts, result)
    if isinstance(result, Postponed):
        failed = state.failed_queries + state.is_unproved
        state = replace(state, failed_queries=failed)
        if result.status not in _SESSION_LOST and failed <= 1:
            return Step(state, facts, Fail(result))
    return _resume(state, facts, None)


def _resume(state: UploadState, facts: UploadFacts, session: UploadSession | None) -> Step:
    """Continue with *session*, which has the registry's own offset, or with a new one if it is lost (None)."""
    if session is not None and session.offset_bytes > (state.blob.size or 0):
        session = None
    was_inherited = state.is_inherited
    state = state.without_session() if session is None else replace(state, session=session)
    if was_inherited:
        state = replace(state, strategy=state.strategy.refresh(facts))
        if session is None:
            facts = state.strategy.after_loss(facts)
        elif not state.is_resumable and session.offset_bytes not in {0, state.blob.size}:
            # The blob goes whole here, so the session is of use only if it is empty or complete.
            session, state = None, state.without_session()
    state, facts = _learn_from_break(state, facts, session)
    state = replace(state, broken=None)
    return Step(state, facts, OpenSession()) if session is None else _send(state, facts)


def _learn_from_break(
    state: UploadState, facts: UploadFacts, session: UploadSession | None
) -> tuple[UploadState, UploadFacts]:
    """Learn from *session*, as it was left after a break, or None if it was lost."""
    if session is not None and session.offset_bytes >= state.progress_bytes + GAIN_BYTES:
        return replace(state, progress_bytes=session.offset_bytes, has_advanced=True), facts
    if state.broken is None:
        return state, facts
    part, sent = state.broken
    is_stuck = state.stuck_at == part.start and sent >= GAIN_BYTES
    state = replace(state, stuck_at=part.start)
    if session is None or is_stuck:
        learnt = state.strategy.after_break(part, sent, facts)
        is_smaller = learnt.chunk.at(facts.now) < facts.chunk.at(facts.now)
        return replace(state, has_advanced=state.has_advanced or is_smaller), learnt
    return state, facts


def _after_patch(state: UploadState, facts: UploadFacts, event: PartPatched) -> Step:
    facts = facts.after_success(_part(state), event.seconds)
    if event.status == HTTPStatus.CREATED:
        return Step(replace(state, check=CheckReason.EARLY_COMMIT, early_commit=event), facts, CheckBlob())
    return _acknowledge(state, facts, event)


def _acknowledge(state: UploadState, facts: UploadFacts, event: PartPatched) -> Step:
    """Continue at the offset that the registry acknowledges, if that is possible."""
    held, end = event.held_bytes, event.sent_end
    is_out_of_order = event.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    if held is None and is_out_of_order:
        return Step(state, facts, Fail(Unavailable(f"{state.what}: the upload was lost", status=event.status)))
    if held is None or held == end:
        held = end
    elif held > end or not state.is_resumable or (held <= _part(state).start and not is_out_of_order):
        size = end if state.blob.size is None else state.blob.size
        message = f"{state.what}: the registry got {held} of {size} bytes"
        return Step(state, facts, Fail(Unavailable(message, status=event.status)))
    session = replace(_session(state), location=event.location, offset_bytes=held, is_acknowledged=True)
    state = replace(state, session=session, surprises=state.surprises + (held != end))
    if state.surprises == _MAX_WAYS:
        return Step(state, facts, Fail(Unavailable(f"{state.what}: the registry keeps losing bytes of the upload")))
    return _send(state, facts)


def _verify(state: UploadState, facts: UploadFacts, status: int, stored: Digest | None) -> Step:
    wanted = state.blob.digest
    if stored is not None and stored.algorithm == wanted.algorithm and stored != wanted:
        return Step(state, facts, Fail(ContentMismatch(f"{state.what}: the registry stored it as {stored}")))
    if status in _UNCONFIRMED:
        return Step(replace(state, check=CheckReason.CLOSING_PUT, closing_status=status), facts, CheckBlob())
    return _finish(state, facts)


def _after_check(state: UploadState, facts: UploadFacts, *, exists: bool) -> Step:
    check, early = state.check, state.early_commit
    state = replace(state, check=None, early_commit=None)
    if check is CheckReason.FIRST_POST:
        return Step(*_learn_post(state, facts, takes_post=exists), Finish() if exists else OpenSession())
    if check is CheckReason.LOST_PUT:
        return Step(state.without_session(), facts, Finish()) if exists else Step(state, facts, TakeSlot())
    if check is CheckReason.EARLY_COMMIT and early is not None:
        if exists or early.digest is not None:
            return _verify(state, facts, early.status, early.digest)
        return _acknowledge(state, facts, early)
    if exists:
        return _finish(state, facts)
    status = state.closing_status
    message = f"{state.what}: {state.registry} answered {status}, but does not hold it"
    return Step(state, facts, Fail(ProtocolError(message, status=status)))


def _finish(state: UploadState, facts: UploadFacts) -> Step:
    return Step(state.without_session(), state.strategy.after_commit(state.part, facts), Finish())


def _change_way(state: UploadState, facts: UploadFacts, refusal: Refused) -> Step:
    changed = None
    if state.part is not None and state.session is not None:
        changed = state.strategy.fall_back_after(refusal, state.part, state.session, facts)
    if changed is None:
        return Step(state, facts, Fail(refusal))
    strategy, facts = changed
    state = replace(state, strategy=strategy)
    return _begin(state if state.is_resumable else state.without_session(), facts)


def _fail(state: UploadState, facts: UploadFacts, event: AttemptFailed) -> Step:
    """Keep the session for the next attempt if that can use it."""
    error, part, session = event.error, state.part, state.session
    is_sent_whole = session is not None and not (state.is_resumable or event.is_from_content)
    if session is not None and is_sent_whole and _is_refused_for_now(error, part, again=state.is_kept):
        kept = replace(state, session=replace(session, is_acknowledged=True), is_kept=True)
        # A 429 says that nothing was stored; after a 503 the next attempt checks that.
        kept = replace(kept, part=None) if isinstance(error, RateLimited) else kept
        return Step(kept, facts, EndAttempt(error, None, may_retry=True))
    is_mismatch = isinstance(error, ContentMismatch)
    is_over = is_mismatch or not state.is_resumable
    was_inherited = state.is_inherited or state.is_kept
    if is_over:
        state = state.without_session()
    if event.is_from_content:
        # The target did nothing wrong, so the next attempt need not check what became of the last part there.
        state = replace(state, part=None)
        return Step(state, facts, EndAttempt(error, session if is_over else None, may_retry=event.was_opened))
    if is_mismatch and part is not None and part.closes and part.length:
        state = replace(state, strategy=state.strategy.try_single_patch(facts, inherited=was_inherited))
    elif part is not None and isinstance(error, Unavailable) and error.status is None:
        state = replace(state, broken=(part, event.read_to - part.start))
    return Step(state, facts, EndAttempt(error, None, may_retry=True))


def _is_refused_for_now(error: StoreError, part: Part | None, *, again: bool) -> bool:
    """Whether the registry refused the whole blob as *part* without taking any of it, so that the session stays.

    A second 503 (*again*) may be about the session, so a new one follows.
    """
    if part is None or not part.is_whole:
        return False
    return isinstance(error, RateLimited) or (error.status == HTTPStatus.SERVICE_UNAVAILABLE and not again)


def _session(state: UploadState) -> UploadSession:
    if state.session is None:
        raise AssertionError("unreachable: a part is sent only to an open session")
    return state.session


def _part(state: UploadState) -> Part:
    if state.part is None:
        raise AssertionError("unreachable: a response to a part that was not sent")
    return state.part
