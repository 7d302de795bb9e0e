"""What is said about every request: one log line, two metrics, and headers that keep answers where they belong.

The log holds the route as it is declared, never the path or the query: both may hold a secret.
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

_KEY: Final = "image_syncer.exchange"
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
    """What is known about one request when it is over; *status* None where there was no answer."""

    status: int | None = None
    events: list[int] = field(default_factory=list[int])
    facts: dict[str, str] = field(default_factory=dict[str, str])


def note(request: Request, *, events: Iterable[int] = (), **facts: str) -> None:
    """Add to the log line of *request*: the events that it brought, and other facts that hold no secret."""
    exchange = cast("RequestRecord", request.scope[_KEY])
    exchange.events.extend(events)
    exchange.facts.update(facts)


class RequestMiddleware:
    """ASGI middleware around everything else. A path counts with *base_path* before it, and without."""

    def __init__(self, app: ASGIApp, metrics: Metrics, base_path: str) -> None:
        self._app = app
        self._base_path = base_path
        self._metrics = metrics
        self._log: Any = structlog.get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on and tell how it ended. An unforeseen error is logged here and answered 500."""
        exchange = scope[_KEY] = RequestRecord()
        scope["root_path"] = self._base_path
        began = asyncio.get_running_loop().time()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS:
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            self._log.exception("http.failed", method=scope["method"], route=_route(scope))
            if exchange.status is not None:
                raise
            await failure(_SERVER_ERROR, "an error of ours; the log tells more")(scope, receive, sending)
        finally:
            self._tell(scope, exchange, asyncio.get_running_loop().time() - began)

    def _tell(self, scope: Scope, exchange: RequestRecord, seconds: float) -> None:
        route, status = _route(scope), exchange.status or 0
        self._metrics.answered(route, scope["method"], status, seconds)
        say = self._log.info
        if status >= _SERVER_ERROR or not status:
            say = self._log.warning
        elif route in _QUIET:
            say = self._log.debug
        fields: dict[str, object] = {"client": (scope.get("client") or ("",))[0], **exchange.facts}
        if exchange.events:
            fields |= {"events": exchange.events[:_EVENTS_LOGGED], "event_count": len(exchange.events)}
        say("http.answered", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 1), **fields)


def _route(scope: Scope) -> str:
    """Return the path of the route as it is declared, `-` where there was none."""
    return getattr(scope.get("route"), "path", "-")
