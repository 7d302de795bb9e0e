"""The requests that a server received: one record each, for counting request budgets at the registry."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["ping", "token", "manifest", "blob", "upload", "tags", "referrers", "catalog", "other"]
Authorization = Literal["", "basic", "bearer", "other"]

_KINDS: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (re.compile(r"/v2/?"), "ping"),
    (re.compile(r"/v2/_catalog"), "catalog"),
    (re.compile(r"/v2/.+/blobs/uploads(/.*)?"), "upload"),
    (re.compile(r"/v2/.+/blobs/[^/]+"), "blob"),
    (re.compile(r"/v2/.+/manifests/[^/]+"), "manifest"),
    (re.compile(r"/v2/.+/tags/list"), "tags"),
    (re.compile(r"/v2/.+/referrers/[^/]+"), "referrers"),
    (re.compile(r"(/.*)?/token"), "token"),
)


@dataclass(slots=True)
class Request:
    """One request as the server saw it, recorded at its start; *status* is 0 until there is a response.

    *bytes_in* and *bytes_out* count only bodies. The log of docker-registry has neither *bytes_in* (0) nor
    *authorization* (empty). *repository* is empty if the path names none. *broken* is set if a fault has reset the
    connection.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    authorization: Authorization = ""
    headers: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    broken: bool = False

    @property
    def kind(self) -> Kind:
        """The kind of the request."""
        return kind_of(self.path)

    @property
    def repository(self) -> str:
        """The repository in the path, empty if there is none."""
        match = re.fullmatch(r"/v2/(.+)/(?:blobs|manifests|tags|referrers)/.*", self.path)
        return match[1].partition("/blobs/uploads")[0] if match else ""


class RequestLog:
    """Requests in order of arrival; it grows while its server runs."""

    def __init__(self, requests: Iterable[Request] = ()) -> None:
        self._requests = list(requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(tuple(self._requests))

    def __len__(self) -> int:
        return len(self._requests)

    def __getitem__(self, position: int) -> Request:
        return self._requests[position]

    def __repr__(self) -> str:
        return "\n".join(f"{request.method} {request.path} {request.status}" for request in self)

    def append(self, request: Request) -> None:
        """Add *request*."""
        self._requests.append(request)

    def clear(self) -> None:
        """Remove all requests, so that counting restarts."""
        self._requests.clear()

    def only(
        self,
        *,
        method: str | None = None,
        kind: Kind | None = None,
        status: int | None = None,
        repository: str | None = None,
    ) -> "RequestLog":
        """Return the requests that match every given criterion."""
        return RequestLog(
            request
            for request in self
            if method in {None, request.method}
            and kind in {None, request.kind}
            and status in {None, request.status}
            and repository in {None, request.repository}
        )

    def count(
        self,
        *,
        method: str | None = None,
        kind: Kind | None = None,
        status: int | None = None,
        repository: str | None = None,
    ) -> int:
        """Return how many requests match every given criterion."""
        return len(self.only(method=method, kind=kind, status=status, repository=repository))

    @property
    def bytes_in(self) -> int:
        """The size of all request bodies."""
        return sum(request.bytes_in for request in self)

    @property
    def bytes_out(self) -> int:
        """The size of all response bodies."""
        return sum(request.bytes_out for request in self)


def kind_of(path: str) -> Kind:
    """Return the kind of a request to *path* (without query)."""
    for pattern, kind in _KINDS:
        if pattern.fullmatch(path):
            return kind
    return "other"


def authorization_kind(header: str | None) -> Authorization:
    """Return the scheme of an Authorization header, never its secret."""
    match (header or "").partition(" ")[0].lower():
        case "":
            return ""
        case "basic":
            return "basic"
        case "bearer":
            return "bearer"
        case _:
            return "other"
