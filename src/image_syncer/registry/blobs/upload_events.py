"""The events and actions of one blob upload: the vocabulary between `upload_steps`, which decides, and its driver."""

from dataclasses import dataclass

from image_syncer.errors import Refused, StoreError
from image_syncer.oci import Digest
from image_syncer.registry.blobs.upload_session import UploadSession
from image_syncer.registry.blobs.upload_strategy import Part

# Events: what happened.


@dataclass(frozen=True, slots=True)
class Started:
    """An attempt begins."""


@dataclass(frozen=True, slots=True)
class SlotTaken:
    """The upload slot is ours: for the first time in this attempt, or again after `ContentDelayed`."""


@dataclass(frozen=True, slots=True)
class ContentDelayed:
    """The content did not open in time, so the slot was released and the part was not sent."""


@dataclass(frozen=True, slots=True)
class BlobChecked:
    """The registry said whether it holds the blob; *exists* is its answer."""

    exists: bool


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """The registry opened *session*, or a refused mount had left it."""

    session: UploadSession


@dataclass(frozen=True, slots=True)
class OffsetQueried:
    """The registry stated the offset and location of the session, or failed to."""

    result: UploadSession | StoreError


@dataclass(frozen=True, slots=True)
class PartPatched:
    """A PATCH got *status*.

    *held_bytes* is the offset that its Range states (None: not stated), *sent_end* the end of the part.
    """

    status: int
    held_bytes: int | None
    location: str
    digest: Digest | None
    sent_end: int
    seconds: float


@dataclass(frozen=True, slots=True)
class UploadClosed:
    """The closing PUT got *status*; *digest* is what the registry says it stored."""

    status: int
    digest: Digest | None


@dataclass(frozen=True, slots=True)
class PartRefused:
    """The registry refused the last part, or what it made of it."""

    error: Refused


@dataclass(frozen=True, slots=True)
class AttemptFailed:
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
    | OffsetQueried
    | PartPatched
    | UploadClosed
    | PartRefused
    | AttemptFailed
)


# Actions: what to do next.


@dataclass(frozen=True, slots=True)
class TakeSlot:
    """Take an upload slot, and read a small blob whole."""


@dataclass(frozen=True, slots=True)
class CheckBlob:
    """Ask whether the registry holds the blob."""


@dataclass(frozen=True, slots=True)
class OpenSession:
    """Open a session, or take the one that a refused mount has left."""


@dataclass(frozen=True, slots=True)
class QueryOffset:
    """Ask how many bytes *session* has."""

    session: UploadSession


@dataclass(frozen=True, slots=True)
class SendPart:
    """Send *part* to *session*: with the closing PUT if it closes, otherwise with a PATCH."""

    session: UploadSession
    part: Part


@dataclass(frozen=True, slots=True)
class Finish:
    """The blob is stored."""


@dataclass(frozen=True, slots=True)
class Fail:
    """Raise *error*; the attempt has failed."""

    error: StoreError


@dataclass(frozen=True, slots=True)
class EndAttempt:
    """End the attempt with *error*; delete *cancel* at the registry. Retry only if *may_retry*."""

    error: StoreError
    cancel: UploadSession | None
    may_retry: bool


Action = TakeSlot | CheckBlob | OpenSession | QueryOffset | SendPart | Finish | Fail | EndAttempt
