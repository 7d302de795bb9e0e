"""The result of parsing a push notification: events, a handshake to answer, or the reason for neither."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from image_syncer.errors import ImageSyncerError, InvalidReference
from image_syncer.oci import Digest, Repository
from image_syncer.oci.reference import is_tag
from image_syncer.oci.referrer import referrers_tag

ENTRIES_LIMIT: Final = 4096  # A body of 1 MiB holds fewer real events, but up to half a million tiny entries.
_REASONS_LIMIT: Final = 10
_PATH_LIMIT: Final = 255
_DELIVERY_LIMIT: Final = 200
_QUOTE_LIMIT: Final = 80


class MalformedNotification(ImageSyncerError):
    """Its kind of sender cannot have sent this notification (answer 400); the message says why."""


class Oversized(MalformedNotification):
    """The notification is too large (answer 413)."""


@dataclass(frozen=True, slots=True)
class PushEvent:
    """A pushed tag. It is a hint: the tag is resolved before it is copied.

    *digest* is the sender's, None if it sends none. *delivery* is the sender's id of the message (at most 200 printable
    characters), None without one. A message may hold several events, so (delivery, repository, tag, digest) identifies
    a repetition.
    """

    repository: Repository
    tag: str
    digest: Digest | None = None
    delivery: str | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """The pushes of a message (answer 202), or the reason why it holds none (*ignored*; answer 200).

    Exactly one of *events* and *ignored* is set. *left_out* has the reasons for entries without an event, at most ten.
    """

    events: tuple[PushEvent, ...]
    ignored: str | None
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.events) == (self.ignored is not None):
            raise ValueError("a notification has events or a reason to be ignored, never both and never neither")


@dataclass(frozen=True, slots=True)
class Handshake:
    """The answer (200) that confirms a subscription to the sender."""

    body: bytes
    content_type: str


Answer = Notification | Handshake

_Entry = TypeVar("_Entry")


def push_event(registry: str, path: str, tag: str, *, digest: str = "", delivery: str = "") -> PushEvent:
    """Return the event of a push of *path*:*tag* at *registry*; `MalformedNotification` outside the spec's grammar.

    An unusable *digest* or *delivery* is ignored, since both only save work.
    """
    if not is_tag(tag):
        raise MalformedNotification(f"{quoted(tag)} is not a tag")
    return PushEvent(located(registry, path), tag, _usable_digest(digest), _usable_delivery(delivery))


def referrer_event(registry: str, path: str, subject: str, *, delivery: str = "") -> PushEvent | None:
    """Return the event of a push of a referrer of *subject*; None if *subject* is no digest.

    It has the tag of the tag schema, which stands for everything that is attached to the subject.
    """
    digest = _usable_digest(subject)
    return None if digest is None else push_event(registry, path, referrers_tag(digest), delivery=delivery)


def located(registry: str, path: str) -> Repository:
    """Return the repository *path* at *registry*, which is always taken as a host."""
    if len(path) > _PATH_LIMIT:
        raise MalformedNotification(f"a repository name is longer than {_PATH_LIMIT} characters")
    try:
        return Repository.of(registry, path)
    except InvalidReference as error:
        raise MalformedNotification(error.message) from error


def one(event: PushEvent) -> Notification:
    """Return the notification of a single event."""
    return Notification((event,), None)


def ignored(reason: str) -> Notification:
    """Return a notification without events."""
    return Notification((), reason)


def gather(
    entries: Iterable[_Entry], read: Callable[[_Entry], Notification | PushEvent | str], *, refusing: bool = True
) -> Notification:
    """Return one notification of all *entries*; *read* returns the event of an entry, or the reason why it has none.

    A malformed entry is left out, so that it does not affect the others. If all are malformed, the first error is
    raised, unless *refusing* is false: for senders that stall, disable themselves or never stop when refused.
    """
    gathered = _Gathered()
    for count, entry in enumerate(entries):
        if count >= ENTRIES_LIMIT:
            raise Oversized(f"more than {ENTRIES_LIMIT} entries in one notification")
        try:
            gathered.add(read(entry))
        except MalformedNotification as error:
            gathered.add_malformed(error)
    if refusing and gathered.malformed is not None and gathered.is_all_malformed:
        raise gathered.malformed
    return gathered.notification()


@dataclass(slots=True)
class _Gathered:
    """The events and reasons of the entries so far, without duplicates, in their order."""

    events: dict[PushEvent, None] = field(default_factory=dict[PushEvent, None])
    reasons: dict[str, None] = field(default_factory=dict[str, None])
    malformed: MalformedNotification | None = None
    is_all_malformed: bool = True

    def add(self, found: Notification | PushEvent | str) -> None:
        self.is_all_malformed = False
        if isinstance(found, PushEvent):
            self.events[found] = None
        elif isinstance(found, str):
            self._add_reason(found)
        else:
            self.events.update(dict.fromkeys(found.events))
            for reason in found.left_out or filter(None, [found.ignored]):
                self._add_reason(reason)

    def add_malformed(self, error: MalformedNotification) -> None:
        self.malformed = self.malformed or error
        self._add_reason(error.message)

    def notification(self) -> Notification:
        nothing = None if self.events else "; ".join(self.reasons) or "it names no image"
        return Notification(tuple(self.events), nothing, tuple(self.reasons))

    def _add_reason(self, reason: str) -> None:
        if len(self.reasons) < _REASONS_LIMIT:
            self.reasons[reason] = None


def quoted(text: str) -> str:
    """Return untrusted *text* for a message: truncated, unprintable characters escaped."""
    return repr(text if len(text) <= _QUOTE_LIMIT else f"{text[:_QUOTE_LIMIT]}...")


def _usable_digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except InvalidReference:
        return None


def _usable_delivery(text: str) -> str | None:
    if not (text and text.isascii() and text.isprintable()):
        return None
    # Azure's ids are long paths; the digest stands for an overlong one.
    return text if len(text) <= _DELIVERY_LIMIT else str(Digest.of(text.encode()))
