"""For every request: one log line, two metrics, and security headers.

The log names the declared route, never the path or the query: both may hold a secret.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, cast

import structlog
from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from image_syncer.server.errors import failure
from image_syncer.server.metrics import Metrics

_KEY: Final = "image_syncer.request"
_SERVER_ERROR: Final = 500
_EVENTS_LOGGED: Final = 20
_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_HEADERS: Final = (
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
)


@dataclass(slots=True)
class RequestRecord:
    """Facts about one finished request; *status* None: it got no answer."""

    status: int | None = None
    events: list[int] = field(default_factory=list[int])
    facts: dict[str, str] = field(default_factory=dict[str, str])


def note(request: Request, *, events: Iterable[int] = (), **facts: str) -> None:
    """Add to the log line of *request*: its events, and other facts without secrets."""
    record = cast("RequestRecord", request.scope[_KEY])
    record.events.extend(events)
    record.facts.update(facts)


class RequestMiddleware:
    """ASGI middleware around all routes. Paths match with and without *base_path* in front."""

    def __init__(self, app: ASGIApp, metrics: Metrics, base_path: str) -> None:
        self._app = app
        self._base_path = base_path
        self._metrics = metrics
        self._log: Any = structlog.get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request and log its end. An unexpected error is logged and answered 500."""
        record = scope[_KEY] = RequestRecord()
        scope["root_path"] = self._base_path
        began = asyncio.get_running_loop().time()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS:
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            self._log.exception("http.failed", method=scope["method"], route=_route(scope))
            if record.status is not None:
                raise
            await failure(_SERVER_ERROR, "internal error; see the log of image-syncer")(scope, receive, sending)
        finally:
            self._log_end(scope, record, asyncio.get_running_loop().time() - began)

    def _log_end(self, scope: Scope, record: RequestRecord, seconds: float) -> None:
        route, status = _route(scope), record.status or 0
        self._metrics.answered(route, scope["method"], status, seconds)
        log = self._log.info
        if status >= _SERVER_ERROR or not status:
            log = self._log.warning
        elif route in _QUIET:
            log = self._log.debug
        fields: dict[str, object] = {"client": (scope.get("client") or ("",))[0], **record.facts}
        if record.events:
            fields |= {"events": record.events[:_EVENTS_LOGGED], "event_count": len(record.events)}
        log("http.answered", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 1), **fields)


def _route(scope: Scope) -> str:
    """Return the declared path of the matched route; `-` without one."""
    return getattr(scope.get("route"), "path", "-")
