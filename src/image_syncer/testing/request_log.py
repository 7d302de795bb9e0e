"""What a server was asked: one record per request, so that budgets can be counted at the registry."""

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
    """One request as its server saw it; it is noted when it begins, so *status* is 0 until there is an answer.

    *bytes_in* and *bytes_out* count bodies alone. A log of docker-registry knows neither *bytes_in* nor
    *authorization*: 0 and empty there. *repository* is empty where the path names none. *broken* says that a
    fault has reset the connection.
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
        """What the request is about."""
        return kind_of(self.path)

    @property
    def repository(self) -> str:
        """The repository that the path names, empty if none."""
        match = re.fullmatch(r"/v2/(.+)/(?:blobs|manifests|tags|referrers)/.*", self.path)
        return match[1].partition("/blobs/uploads")[0] if match else ""


class RequestLog:
    """Requests in the order of their arrival; it grows while its server lives."""

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
        """Note *request*."""
        self._requests.append(request)

    def clear(self) -> None:
        """Forget everything, so that counting begins anew."""
        self._requests.clear()

    def only(
        self,
        *,
        method: str | None = None,
        kind: Kind | None = None,
        status: int | None = None,
        repository: str | None = None,
    ) -> "RequestLog":
        """Return the requests that fit everything that is given."""
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
        """Return how many requests fit everything that is given."""
        return len(self.only(method=method, kind=kind, status=status, repository=repository))

    @property
    def bytes_in(self) -> int:
        """Bytes of all request bodies."""
        return sum(request.bytes_in for request in self)

    @property
    def bytes_out(self) -> int:
        """Bytes of all response bodies."""
        return sum(request.bytes_out for request in self)


def kind_of(path: str) -> Kind:
    """Return what a request to *path* (without query) is about."""
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
