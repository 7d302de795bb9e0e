"""Responses and errors of the fake registry, and the record that accompanies each request."""

import json
from collections.abc import Mapping
from typing import Any, Final, Self

from aiohttp import web

from image_syncer.testing.profile import ProfileRefusal
from image_syncer.testing.request_log import Request, authorization_kind

RECORD: Final = web.RequestKey("record", Request)
EXTRA: Final = web.RequestKey[Mapping[str, str]]("extra", Mapping)
"""Headers to add to the response."""


class RegistryError(Exception):
    """Refuses a request with *status* and an error *code* of the specification."""

    def __init__(self, status: int, code: str, message: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message or code)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})

    @classmethod
    def of(cls, refusal: ProfileRefusal) -> Self:
        """Return the error for *refusal*."""
        return cls(refusal.status, refusal.code, refusal.message)

    def response(self) -> web.Response:
        """Return the response in the specification's error format."""
        body = {"errors": [{"code": self.code, "message": str(self), "detail": None}]}
        return web.json_response(body, status=self.status, headers=self.headers)


def new_record(request: web.Request) -> Request:
    """Return the record of a request that has just begun, without its secrets."""
    headers = {key.lower(): value for key, value in request.headers.items()}
    kind = authorization_kind(headers.pop("authorization", None))
    headers.pop("cookie", None)
    return Request(request.method, request.path, tuple(request.query.items()), authorization=kind, headers=headers)


def empty(status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a response without a body."""
    return web.Response(status=status, headers=headers)


def document(
    content: Any, media_type: str = "application/json", headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return *content* as a JSON response."""
    return web.Response(body=json.dumps(content).encode(), content_type=media_type, headers=headers)


async def read_away(request: web.Request) -> None:
    """Read and discard the body of *request*, so that a client that is still sending gets to the response."""
    async for chunk in request.content.iter_any():
        request[RECORD].bytes_in += len(chunk)
