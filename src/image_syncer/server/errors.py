"""Errors as HTTP responses: JSON with `error` and an optional `remedy`. No response repeats what the caller sent."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar, cast

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

from image_syncer.errors import ImageSyncerError
from image_syncer.events import MalformedNotification, Oversized
from image_syncer.server.request_record import note
from image_syncer.server.web_backend import BackendUnavailable, Conflict, Missing

T = TypeVar("T")


class Problem(BaseModel):
    """The body of every error response: what is wrong and, if known, what to do."""

    # A model keeps its schema. pydantic would build that of a dataclass again for each status of each route.

    error: str
    remedy: str | None = None


_MEANINGS: Final[Mapping[int, str]] = {
    400: "Malformed request",
    401: "Authentication required; `WWW-Authenticate` names the schemes",
    403: "Sent by a page of another site",
    404: "Not found",
    405: "Method not allowed",
    406: "Invalid name or tag",
    408: "The body took too long",
    409: "The status of the job does not allow this",
    413: "The body is too large",
    415: "The body is compressed",
    422: "Invalid parameter",
    503: "Unavailable; `Retry-After` says when to try again",
}

_STATUSES: Final[tuple[tuple[type[ImageSyncerError], int], ...]] = (
    (Missing, 404),
    (Conflict, 409),
    (Oversized, 413),
    (MalformedNotification, 400),
    (BackendUnavailable, 503),
)
"""The first match counts: `Oversized` is a `MalformedNotification`."""


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses for error *statuses*."""
    return {status: {"model": Problem, "description": _MEANINGS[status]} for status in statuses}


async def in_time(seconds: float, answer: Awaitable[T]) -> T:
    """Return the backend's *answer*; `BackendUnavailable` after *seconds*, or if a later attempt may succeed."""
    try:
        async with asyncio.timeout(seconds):
            return await answer
    except TimeoutError as error:
        raise BackendUnavailable(f"no answer within {seconds:g} s") from error
    except ImageSyncerError as error:
        if not error.retryable or isinstance(error, BackendUnavailable):
            raise
        raise BackendUnavailable(error.message, remedy=error.remedy) from error


def failure(
    status: int, message: str, *, remedy: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error response."""
    content = {"error": message} | ({"remedy": remedy} if remedy else {})
    return JSONResponse(content, status, headers=headers)


def refuse_busy(message: str, *, retry_after: float = 1.0) -> HTTPException:
    """Return a 503 for a request that the caller may repeat."""
    return HTTPException(503, message, {"retry-after": str(max(1, math.ceil(retry_after)))})


def add_failures(application: FastAPI) -> None:
    """Make *application* answer all errors, its framework's included, with a `Problem`."""
    handlers: list[tuple[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]] = [
        (StarletteHTTPException, _from_framework),
        (RequestValidationError, _from_validation),
        *((kind, _from_image_syncer) for kind, _ in _STATUSES),
    ]
    for kind, handler in handlers:
        application.add_exception_handler(kind, handler)


async def _from_framework(request: Request, error: Exception) -> Response:
    known = cast("StarletteHTTPException", error)
    note(request, reason=known.detail)
    return failure(known.status_code, known.detail, headers=known.headers)


async def _from_validation(request: Request, error: Exception) -> Response:
    problems = cast("RequestValidationError", error).errors()
    named = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems]
    note(request, reason="; ".join(named))
    return failure(422, "; ".join(named))


async def _from_image_syncer(request: Request, error: Exception) -> Response:
    known = cast("ImageSyncerError", error)
    note(request, reason=known.message)
    status = next(status for kind, status in _STATUSES if isinstance(known, kind))
    headers = None
    if isinstance(known, BackendUnavailable):
        headers = {"retry-after": str(max(1, math.ceil(known.retry_after)))}
    return failure(status, known.message, remedy=known.remedy, headers=headers)
