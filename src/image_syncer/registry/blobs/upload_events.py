"""The events and actions of one blob upload: the vocabulary between `upload_steps`, which decides, and its driver."""

from image_syncer.errors import Refused, StoreError
from image_syncer.oci import Digest
from image_syncer.registry.blobs.upload_session import UploadSession
from image_syncer.registry.blobs.upload_strategy import Part
from image_syncer.structs import Struct

# Events: what happened.


class Started(Struct):
    """An attempt begins."""


class SlotTaken(Struct):
    """The upload slot is ours: for the first time in this attempt, or again after `ContentDelayed`."""


class ContentDelayed(Struct):
    """The content did not open in time, so the slot was released and the part was not sent."""


class BlobChecked(Struct):
    """The registry said whether it holds the blob; *exists* is its answer."""

    exists: bool


class SessionOpened(Struct):
    """The registry opened *session*, or a refused mount had left it."""

    session: UploadSession


class BlobPosted(Struct):
    """The POST with the whole blob got *status*: 201 if the blob is stored, 202 if the registry ignored the content.

    *digest* is what the registry says it stored. *session* is the empty one that a 202 opened; None without one.
    """

    status: int
    digest: Digest | None = None
    session: UploadSession | None = None


class PostRefused(Struct):
    """The registry refused the POST with the whole blob."""

    error: StoreError


class OffsetQueried(Struct):
    """The registry stated the offset and location of the session, or failed to."""

    result: UploadSession | StoreError


class PartPatched(Struct):
    """A PATCH got *status*.

    *held_bytes* is the offset that its Range states (None: not stated), *sent_end* the end of the part.
    """

    status: int
    held_bytes: int | None
    location: str
    digest: Digest | None
    sent_end: int
    seconds: float


class UploadClosed(Struct):
    """The closing PUT got *status*; *digest* is what the registry says it stored."""

    status: int
    digest: Digest | None


class PartRefused(Struct):
    """The registry refused the last part, or what it made of it."""

    error: Refused


class AttemptFailed(Struct):
    """The attempt ended with *error*. *is_from_content*: reading the content failed, so the target is not to blame."""

    error: StoreError
    is_from_content: bool = False
    was_opened: bool = True
    read_to: int = 0


Event = (
    Started
    | SlotTaken
    | ContentDelayed
    | BlobChecked
    | SessionOpened
    | BlobPosted
    | PostRefused
    | OffsetQueried
    | PartPatched
    | UploadClosed
    | PartRefused
    | AttemptFailed
)


# Actions: what to do next.


class TakeSlot(Struct):
    """Take an upload slot, and read a small blob whole."""


class CheckBlob(Struct):
    """Ask whether the registry holds the blob."""


class OpenSession(Struct):
    """Open a session, or take the one that a refused mount has left."""


class PostBlob(Struct):
    """Store *part*, the whole blob, with one POST."""

    part: Part


class QueryOffset(Struct):
    """Ask how many bytes *session* has."""

    session: UploadSession


class SendPart(Struct):
    """Send *part* to *session*: with the closing PUT if it closes, otherwise with a PATCH."""

    session: UploadSession
    part: Part


class Finish(Struct):
    """The blob is stored."""


class Fail(Struct):
    """Raise *error*; the attempt has failed."""

    error: StoreError


class EndAttempt(Struct):
    """End the attempt with *error*; delete *cancel* at the registry. Retry only if *may_retry*."""

    error: StoreError
    cancel: UploadSession | None
    may_retry: bool


Action = TakeSlot | CheckBlob | OpenSession | PostBlob | QueryOffset | SendPart | Finish | Fail | EndAttempt
