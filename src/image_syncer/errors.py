"""All exceptions of image-syncer, split by what the reader can do about them.

    ImageSyncerError
    ├── UsageError                  the command line or an input file is wrong; no registry was contacted (exit 2)
    │   ├── ConfigError             the same with a file and a line
    │   └── InvalidReference        a text is not a reference, digest or platform
    ├── StoreError                  a registry or layout could not do a request
    │   ├── NotFound                the repository, tag, manifest or blob does not exist
    │   ├── Unauthorized            credentials are missing, wrong or expired
    │   ├── Denied                  the login is valid, but lacks a permission or a repository
    │   ├── Refused                 the store does not accept this content or request
    │   │   ├── TooLarge            beyond a limit of the store or of this tool
    │   │   ├── UnsupportedDigest   the store does not know this digest algorithm for tags
    │   │   ├── CatalogueClosed     the registry does not list its repositories, or not to this login
    │   │   ├── TagImmutable        the tag exists with other content and may not move
    │   │   └── MissingContent      a manifest names content that the store does not hold (yet)
    │   ├── NotTrusted              a gate of the rule refuses the image: not signed as the rule demands
    │   ├── ContentMismatch         bytes do not have the digest or size that was promised
    │   ├── ProtocolError           the response breaks the specification
    │   ├── InsecureConnection      the TLS certificate is not trusted, or the server does not speak TLS
    │   ├── UnknownHost             the registry's host name does not exist
    │   ├── Unexpected              a bug of this tool, hit by one image
    │   ├── Interrupted             the run was stopped while it waited for the registry
    │   ├── LeaseLost               another worker may have taken over the job of this copy; no tag was written
    │   └── Postponed               a later attempt may succeed                                (retryable)
    │       ├── RateLimited         the registry asks for a slower pace
    │       │   └── QuotaUsedUp     the quota is used up, and its window resets later than we may wait
    │       ├── OutOfResources      this process or machine has no free file descriptor or thread
    │       └── Unavailable         a network error, a timeout or a 5xx response
    │           └── RegistryDown    the circuit breaker is open: only probes are sent
    └── CopyFailed                  one copy failed: side, step and cause

A message says what happened to which reference; `remedy` says what the reader can do about it. Neither ever contains a
secret: texts are built from references, never from URLs with queries.
"""

from typing import ClassVar, Literal

from image_syncer.text import printable

__all__ = [
    "CatalogueClosed",
    "ConfigError",
    "ContentMismatch",
    "CopyFailed",
    "Denied",
    "ImageSyncerError",
    "InsecureConnection",
    "Interrupted",
    "InvalidReference",
    "LeaseLost",
    "MissingContent",
    "NotFound",
    "NotTrusted",
    "OutOfResources",
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
    "UnsupportedDigest",
    "UsageError",
]

Side = Literal["source", "target"]


class ImageSyncerError(Exception):
    """Base class: catch it to catch every error that this package raises on purpose."""

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class UsageError(ImageSyncerError):
    """The command line or an input file is wrong; no registry was contacted, nothing was changed."""


class ConfigError(UsageError):
    """A configuration file is wrong at *line* and *column* (1-based; no line means the file as a whole).

    *problem* is the message without its place. *watched* are other files whose change may correct it.
    """

    watched: tuple[str, ...] = ()

    def __init__(
        self,
        message: str,
        *,
        file: str,
        line: int | None = None,
        column: int | None = None,
        remedy: str | None = None,
    ) -> None:
        place = ":".join(str(part) for part in (file, line, column) if part is not None)
        super().__init__(f"{place}: {message}", remedy=remedy)
        self.file = file
        self.line = line
        self.column = column
        self.problem = message


class InvalidReference(UsageError, ValueError):
    """A text is not a reference, digest, tag or platform; the message names the text."""


class StoreError(ImageSyncerError):
    """A registry or layout could not do a request.

    Messages may quote untrusted peers. The constructor escapes them, so every log, page and report may print them.

    *status* is the HTTP status and *code* the registry's own error code (such as `MANIFEST_UNKNOWN`); both are None
    if the request failed before a response.
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
    """The repository, tag, manifest or blob does not exist."""


class Unauthorized(StoreError):
    """Credentials are missing, wrong or expired."""


class Denied(StoreError):
    """The registry accepts the login, and denies this request."""


class Refused(StoreError):
    """The registry does not accept this content or this request; a retry will not help."""


class TooLarge(Refused):
    """Content is beyond a limit of the registry or of this tool."""


class CatalogueClosed(Refused):
    """The registry does not list its repositories, or not to this login."""


class TagImmutable(Refused):
    """The tag exists with other content and the registry does not let it move."""


class UnsupportedDigest(Refused):
    """The registry does not store a tag under a digest of this algorithm; under its sha256 digest it may."""


class MissingContent(Refused):
    """The store refused a manifest because it does not hold (yet) what the manifest names (MANIFEST_BLOB_UNKNOWN)."""


class SparseIndexRefused(MissingContent):
    """The target demands the manifests of all entries of an index; the next try stores it without the others."""

    retryable = True


class NotTrusted(StoreError):
    """A gate of the rule refuses the image, for the reason that the message states; no tag has moved."""


class ContentMismatch(StoreError):
    """Bytes do not have the digest or size that was promised: a damaged transfer, or a hostile registry."""

    retryable = True  # The usual cause is a damaged transfer; a hostile registry fails again.


class ProtocolError(StoreError):
    """The response breaks the specification, and the request cannot continue."""


class InsecureConnection(StoreError):
    """The TLS certificate is not trusted, or the server does not speak TLS."""


class UnknownHost(StoreError):
    """The registry's host name does not exist."""


class Unexpected(StoreError):
    """A bug of this tool, hit by one image; the other images continue. `__cause__` is the original exception."""

    def __init__(self, cause: Exception) -> None:
        # The exception's own text may contain anything, such as a signed URL.
        super().__init__(f"an unexpected {type(cause).__name__}", remedy="please report it, with what --debug shows")
        self.__cause__ = cause


class Interrupted(StoreError):
    """The run was stopped while it waited for a registry; the request itself did not fail."""


class LeaseLost(StoreError):
    """The lease of this copy's job no longer holds: another worker may have taken the job over.

    Raised before the request that would have moved a tag, so nothing changed.
    """


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
    """The registry asks for a slower pace."""


class QuotaUsedUp(RateLimited):
    """The quota is used up, and its window resets in *retry_after* seconds: later than we may wait.

    No request was sent: an earlier response said so.
    """


class OutOfResources(Postponed):
    """This process or machine has no free file descriptor or thread; it says nothing about the registry."""


class Unavailable(Postponed):
    """A network error, a timeout or a 5xx response."""


class RegistryDown(Unavailable):
    """The circuit breaker of the registry is open: only probes are sent.

    The message ends with the failure that opened it; status, code and remedy are those of that failure.
    """


class CopyFailed(ImageSyncerError):
    """One copy failed: on which *side* (None: neither), at which *step*, and why (*cause*).

    Steps are "list repositories", "list tags", "read dates", "resolve", "read manifest", "read blob", "push blob" and
    "push manifest"; "copy" is all of them together.
    """

    def __init__(self, cause: StoreError, *, side: Side | None, step: str) -> None:
        super().__init__(": ".join(filter(None, (side, step, cause.message))), remedy=cause.remedy)
        self.cause = cause
        self.side: Side | None = side
        self.step = step

    @property
    def is_permanent(self) -> bool:
        """True if a retry cannot help."""
        return not self.cause.retryable

    @property
    def is_interrupted(self) -> bool:
        """True if nothing failed: the run was stopped."""
        return isinstance(self.cause, Interrupted)
