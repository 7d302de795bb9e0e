"""Every exception that leaves image-syncer, split by what its reader can do.

    ImageSyncerError
    ├── UsageError                  the command line or an input file is wrong: nothing was contacted (exit 2)
    │   ├── ConfigError             the same with a file and a line
    │   └── InvalidReference        a text that is no reference, digest or platform
    ├── StoreError                  a registry or layout did not do what was asked; says where
    │   ├── NotFound                repository, tag, manifest or blob is not there
    │   ├── Unauthorized            it does not know us: no, wrong or expired credentials
    │   ├── Denied                  it knows us and says no: a right or a repository is missing
    │   ├── Refused                 it does not take this content or request
    │   │   ├── TooLarge            beyond a limit, theirs or ours
    │   │   ├── TagImmutable        the tag exists with other content and may not move
    │   │   └── MissingContent      a manifest names content that the store does not (yet) hold
    │   ├── ContentMismatch         bytes are not what their digest or size promised
    │   ├── ProtocolError           the answer breaks the specification
    │   ├── InsecureConnection      TLS cannot be trusted, or is not spoken where it must be
    │   ├── UnknownHost             the registry's name does not exist
    │   ├── Unexpected              a mistake of ours, met with one image
    │   ├── Interrupted             we were told to stop while we waited for it
    │   └── Postponed               later it may work; may say when                            (retryable)
    │       ├── RateLimited         asked to slow down
    │       │   └── QuotaUsedUp     nothing is left of a quota, and its window turns too late for us
    │       └── Unavailable         network trouble, time-out or a 5xx answer
    │           └── RegistryDown    nothing gets through for so long that it is not asked any more
    └── CopyFailed                  one copy failed: side, step and the cause of it

A message says what happened to which reference; `remedy` says what the reader can do about it. Neither ever holds a
secret: texts are built from references, never from URLs with queries.
"""

from typing import ClassVar, Literal

from image_syncer.text import printable

__all__ = [
    "ConfigError",
    "ContentMismatch",
    "CopyFailed",
    "Denied",
    "ImageSyncerError",
    "InsecureConnection",
    "Interrupted",
    "InvalidReference",
    "MissingContent",
    "NotFound",
    "Postponed",
    "ProtocolError",
    "QuotaUsedUp",
    "RateLimited",
    "Refused",
    "RegistryDown",
    "Side",
    "StoreError",
    "TagImmutable",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "Unexpected",
    "UnknownHost",
    "UsageError",
]

Side = Literal["source", "target"]


class ImageSyncerError(Exception):
    """The root: catch it to catch everything that this package raises on purpose."""

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class UsageError(ImageSyncerError):
    """What was asked for cannot be understood; nothing was contacted or changed."""


class ConfigError(UsageError):
    """A configuration file is wrong at *line* (1-based; None where the file as a whole is meant)."""

    def __init__(self, message: str, *, file: str, line: int | None = None, remedy: str | None = None) -> None:
        where = file if line is None else f"{file}:{line}"
        super().__init__(f"{where}: {message}", remedy=remedy)
        self.file = file
        self.line = line


class InvalidReference(UsageError, ValueError):
    """A text is not a reference, digest, tag or platform; the message names the text."""


class StoreError(ImageSyncerError):
    """A registry or layout did not do what was asked of it.

    Its texts are often a stranger's: they are made harmless here, so that nobody further on has to think of it.

    *status* is the HTTP status where there was one, *code* the registry's own error code (such as
    `MANIFEST_UNKNOWN`), both None where the failure came before an answer.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(printable(message), remedy=None if remedy is None else printable(remedy))
        self.status = status
        self.code = None if code is None else printable(code)


class NotFound(StoreError):
    """The repository, tag, manifest or blob is not there."""


class Unauthorized(StoreError):
    """The registry does not know us: credentials are missing, wrong or expired."""


class Denied(StoreError):
    """The registry knows us and says no."""


class Refused(StoreError):
    """The registry does not take this content or this request; asking again will not help."""


class TooLarge(Refused):
    """Something is beyond a limit of the registry's or of ours."""


class TagImmutable(Refused):
    """The tag exists with other content and the registry does not let it move."""


class MissingContent(Refused):
    """A manifest was refused because the store does not (yet) hold what it names (MANIFEST_BLOB_UNKNOWN)."""


class ContentMismatch(StoreError):
    """Bytes are not what their digest or size promised: damaged on the way, or a lie."""

    retryable = True  # A truncated or corrupted transfer is the usual cause; a liar fails again.


class ProtocolError(StoreError):
    """The answer breaks the specification in a way that leaves nothing to go on with."""


class InsecureConnection(StoreError):
    """TLS cannot be trusted here, or is not spoken where it must be."""


class UnknownHost(StoreError):
    """The registry's name does not exist, so nobody can be asked."""


class Unexpected(StoreError):
    """A mistake of ours, met with one image, which must not be the end of all others; `__cause__` is what it was."""

    def __init__(self, cause: Exception) -> None:
        # Its own text is nobody's promise: it may hold anything, a signed address for instance.
        super().__init__(f"an unexpected {type(cause).__name__}", remedy="please report it, with what --debug shows")
        self.__cause__ = cause


class Interrupted(StoreError):
    """We were told to stop while we waited for a registry; nothing is wrong with what was asked of it."""


class Postponed(StoreError):
    """A later attempt may succeed; *retry_after* is the delay in seconds that the server asks for, None without one.

    *limiter_holds*: the host's limiter holds back further requests, so a caller may retry at once: the limiter makes
    the retry wait until it is worthwhile.
    """

    retryable = True

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        limiter_holds: bool = False,
        status: int | None = None,
        code: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, status=status, code=code, remedy=remedy)
        self.retry_after = retry_after
        self.limiter_holds = limiter_holds


class RateLimited(Postponed):
    """The registry asks us to slow down."""


class QuotaUsedUp(RateLimited):
    """Nothing is left of a quota, and it is longer until its window can turn than we want to wait: *retry_after*.

    Nobody was asked: it is known from an earlier answer.
    """


class Unavailable(Postponed):
    """Network trouble, a time-out or a server error."""


class RegistryDown(Unavailable):
    """Nothing has got through to the registry for so long that it is not asked any more, but by a probe now and then.

    The message ends with the last real failure, whose status, code and remedy are its own.
    """


class CopyFailed(ImageSyncerError):
    """One copy failed: on which *side* (None: it is not one of them), at which *step*, and why (*cause*).

    Steps are words a reader can place: "list tags", "resolve", "read manifest", "read blob", "push blob",
    "push manifest"; "copy" is all of them together.
    """

    def __init__(self, cause: StoreError, *, side: Side | None, step: str) -> None:
        super().__init__(": ".join(filter(None, (side, step, cause.message))), remedy=cause.remedy)
        self.cause = cause
        self.side: Side | None = side
        self.step = step

    @property
    def is_permanent(self) -> bool:
        """True where trying again cannot help."""
        return not self.cause.retryable

    @property
    def is_interrupted(self) -> bool:
        """True where nothing failed: we were told to stop."""
        return isinstance(self.cause, Interrupted)
