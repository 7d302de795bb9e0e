"""Failures as answers: JSON with `error` and, where we know one, `remedy`. No answer repeats what a caller sent."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from image_syncer.errors import ImageSyncerError
from image_syncer.events import MalformedNotification, Oversized
from image_syncer.server.backend import BackendUnavailable, Conflict, Missing

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Problem:
    """The body of every refusal: what is wrong, and what can be done where we know it."""

    error: str
    remedy: str | None = None


_MEANINGS: Final[Mapping[int, str]] = {
    400: "Not understood",
    401: "A login or a proof is needed; `WWW-Authenticate` names the schemes",
    403: "A page of another site",
    404: "There is no such thing",
    405: "Not with this method",
    406: "Not what can be meant",
    408: "The body took too long",
    409: "Not in the state that this needs",
    413: "The body is too big",
    415: "The body is compressed",
    422: "A parameter is wrong",
    503: "Not now; `Retry-After` says when to come again",
}

_STATUSES: Final[tuple[tuple[type[ImageSyncerError], int], ...]] = (
    (Missing, 404),
    (Conflict, 409),
    (Oversized, 413),
    (MalformedNotification, 400),
    (BackendUnavailable, 503),
)
"""The first that fits counts: `Oversized` is a `MalformedNotification`."""


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how refusals with *statuses* stand in the description of a route."""
    return {status: {"model": Problem, "description": _MEANINGS[status]} for status in statuses}


async def in_time(seconds: float, answer: Awaitable[T]) -> T:
    """Return the backend's *answer*; `BackendUnavailable` where it takes longer than *seconds*, or may come later."""
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
    """Return the answer that something did not work."""
    content = {"error": message} | ({"remedy": remedy} if remedy else {})
    return JSONResponse(content, status, headers=headers)


def refuse_busy(message: str, *, retry_after: float = 1.0) -> HTTPException:
    """Return the refusal of a request that may come again."""
    return HTTPException(503, message, {"retry-after": str(max(1, math.ceil(retry_after)))})


def add_failures(application: FastAPI) -> None:
    """Let *application* answer our errors, and its framework's, in our form."""
    handlers: list[tuple[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]] = [
        (StarletteHTTPException, _of_framework),
        (RequestValidationError, _of_validation),
        *((kind, _of_ours) for kind, _ in _STATUSES),
    ]
    for kind, handler in handlers:
        application.add_exception_handler(kind, handler)


async def _of_framework(_request: Request, error: Exception) -> Response:
    known = cast("StarletteHTTPException", error)
    return failure(known.status_code, known.detail, headers=known.headers)


async def _of_validation(_request: Request, error: Exception) -> Response:
    problems = cast("RequestValidationError", error).errors()
    named = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems]
    return failure(422, "; ".join(named))


async def _of_ours(_request: Request, error: Exception) -> Response:
    known = cast("ImageSyncerError", error)
    status = next(status for kind, status in _STATUSES if isinstance(known, kind))
    headers = None
    if isinstance(known, BackendUnavailable):
        headers = {"retry-after": str(max(1, math.ceil(known.retry_after)))}
    return failure(status, known.message, remedy=known.remedy, headers=headers)
