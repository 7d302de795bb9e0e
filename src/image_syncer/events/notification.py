"""What a push notification comes to: events, an answer to a handshake, or the reason why neither."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from image_syncer.errors import ImageSyncerError, InvalidReference
from image_syncer.oci import Digest, Repository
from image_syncer.oci.reference import is_tag

ENTRIES_LIMIT: Final = 4096  # A body of 1 MiB holds no more real events; small nonsense could be half a million.
_REASONS_LIMIT: Final = 10
_PATH_LIMIT: Final = 255
_DELIVERY_LIMIT: Final = 200
_QUOTE_LIMIT: Final = 80


class MalformedNotification(ImageSyncerError):
    """A notification is not what its kind of sender sends (answer 400); the message says what is wrong with it."""


class Oversized(MalformedNotification):
    """A notification is larger than we read (answer 413)."""


@dataclass(frozen=True, slots=True)
class PushEvent:
    """A tag was pushed, says the registry: a hint, so the tag is looked up before anything is copied.

    *digest* is what the sender saw, None where it does not say. *delivery* is the sender's own id of the message (at
    most 200 printable characters), None where it has none; one message may hold several events, so (delivery,
    repository, tag) tells a repetition.
    """

    repository: Repository
    tag: str
    digest: Digest | None = None
    delivery: str | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """The pushes that a message announces (answer 202), or why nothing in it is wanted (*ignored*; answer 200).

    Exactly one of *events* and *ignored* is there. *left_out* says for some of the entries that gave no event (at most
    ten) why not.
    """

    events: tuple[PushEvent, ...]
    ignored: str | None
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.events) == (self.ignored is not None):
            raise ValueError("a notification has events or a reason to be ignored, never both and never neither")


@dataclass(frozen=True, slots=True)
class Handshake:
    """The answer (200) by which we show a sender that we want its notifications."""

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


def located(registry: str, path: str) -> Repository:
    """Return the repository *path* at *registry*, which is a host whatever it looks like."""
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
    """Return the notification in which nothing is wanted."""
    return Notification((), reason)


def gather(
    entries: Iterable[_Entry], read: Callable[[_Entry], Notification | PushEvent | str], *, refusing: bool = True
) -> Notification:
    """Return one notification of all *entries*; *read* gives what one announces, or the reason why it is nothing.

    A malformed entry is left out like an unwanted one, since the others must not suffer for it. Where every entry is
    malformed, the first error is raised; not so if *refusing* is false, which is for senders that stall, switch
    themselves off or never stop when they are refused.
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
    """What the entries so far came to; equal events and equal reasons are kept once, in the order of their arrival."""

    events: dict[PushEvent, None] = field(default_factory=dict[PushEvent, None])
    reasons: dict[str, None] = field(default_factory=dict[str, None])
    malformed: MalformedNotification | None = None
    is_all_malformed: bool = True

    def add(self, found: Notification | PushEvent | str) -> None:
        self.is_all_malformed = False
        if isinstance(found, PushEvent):
            self.events[found] = None
        elif isinstance(found, str):
            self._note(found)
        else:
            self.events.update(dict.fromkeys(found.events))
            for reason in found.left_out or filter(None, [found.ignored]):
                self._note(reason)

    def add_malformed(self, error: MalformedNotification) -> None:
        self.malformed = self.malformed or error
        self._note(error.message)

    def notification(self) -> Notification:
        nothing = None if self.events else "; ".join(self.reasons) or "it names no image"
        return Notification(tuple(self.events), nothing, tuple(self.reasons))

    def _note(self, reason: str) -> None:
        if len(self.reasons) < _REASONS_LIMIT:
            self.reasons[reason] = None


def quoted(text: str) -> str:
    """Return a stranger's *text* for a message: cut, and with everything unprintable escaped."""
    return repr(text if len(text) <= _QUOTE_LIMIT else f"{text[:_QUOTE_LIMIT]}...")


def _usable_digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except InvalidReference:
        return None


def _usable_delivery(text: str) -> str | None:
    if not (text and text.isascii() and text.isprintable()):
        return None
    # Azure's are long paths; one too long to be kept is known by its digest.
    return text if len(text) <= _DELIVERY_LIMIT else str(Digest.of(text.encode()))
