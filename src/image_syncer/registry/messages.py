"""Requests and answers as everything above the transport sees them, whichever path carries them."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from importlib.metadata import version

from image_syncer.errors import TooLarge
from image_syncer.registry.upload import Body
from image_syncer.registry.urls import shown
from image_syncer.store import Chunk


def own_headers() -> dict[str, str]:
    """Return what every request says of us: who asks, and that bytes are wanted as they are stored."""
    return {"User-Agent": f"image-syncer/{version('image-syncer')}", "Accept-Encoding": "identity"}


class Headers:
    """The headers of an answer; names compare without regard to case."""

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in items:
            self._values.setdefault(name.lower(), []).append(value)

    def get(self, name: str) -> str | None:
        """Return the first value of *name*, None if it is not there."""
        values = self._values.get(name.lower())
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """Return every value of *name*, one per header line, in order."""
        return list(self._values.get(name.lower(), ()))

    def __repr__(self) -> str:
        return f"Headers({', '.join(sorted(self._values))})"  # Names alone: values hold challenges and signed URLs.


@dataclass(frozen=True, slots=True)
class Request:
    """One request. *url* is absolute and encoded already: it is sent untouched."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes | Body | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.method} {shown(self.url)}"


class Response(ABC):
    """One answer; valid until its context ends. *url* is what was asked.

    *announced* is the Content-Length in bytes, of a HEAD that of another answer; None where none is told.
    """

    def __init__(self, request: Request, status: int, headers: Headers, announced: int | None) -> None:
        self.status = status
        self.headers = headers
        self.url = request.url
        self._request = request
        self._announced = announced

    def __repr__(self) -> str:
        return f"Response({self.status}, {self._request})"

    @property
    def announced(self) -> int | None:
        """How many bytes the body has by its head; None where that does not say."""
        return self._announced

    async def read(self, limit_bytes: int) -> bytes:
        """Return the whole body; `TooLarge` where it has more than *limit_bytes*, `Unavailable` where it breaks off."""
        if self._request.method == "HEAD":
            return b""
        content = bytearray()
        if (self._announced or 0) <= limit_bytes:
            async with aclosing(self.chunks()) as chunks:
                async for chunk in chunks:
                    content += chunk
                    if len(content) > limit_bytes:
                        break
                else:
                    return bytes(content)
        raise TooLarge(f"{self._request}: the answer has more than {limit_bytes} bytes", status=self.status)

    @abstractmethod
    def chunks(self) -> AsyncGenerator[Chunk]:
        """Yield the body as it comes, undecoded; `Unavailable` where it breaks off, or stalls for too long."""
