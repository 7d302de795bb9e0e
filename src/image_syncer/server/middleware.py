"""For every request: one log line, two metrics, and security headers.

The log names the declared route, never the path or the query: both may hold a secret.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from image_syncer.server.errors import failure
from image_syncer.server.metrics import Metrics
from image_syncer.server.request_record import RequestRecord, begin_record
from image_syncer.server.server_settings import is_allowed_host

_SERVER_ERROR: Final = 500
_MISDIRECTED: Final = 421
_EVENTS_LOGGED: Final = 20
_PROBES: Final = frozenset({"/healthz", "/readyz"})
_QUIET: Final = _PROBES | {"/metrics"}
_HEADERS: Final = (
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
)


class RequestMiddleware:
    """ASGI middleware around all routes. Paths match with and without *base_path* in front.

    Requests for other hosts than *hosts* are refused, except those of probes, which get only ok or not.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, base_path: str, hosts: Sequence[str]) -> None:
        self._hosts = hosts
        self._app = app
        self._base_path = base_path
        self._metrics = metrics
        self._log: Any = structlog.get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request and log its end. An unexpected error is logged and answered 500."""
        record = begin_record(scope)
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
            if is_allowed_host(Headers(scope=scope).get("host"), self._hosts) or scope["path"] in _PROBES:
                await self._app(scope, receive, sending)
            else:
                await self._refuse_host(record)(scope, receive, sending)
        except Exception:
            self._log.exception("http.failed", method=scope["method"], route=_route(scope))
            if record.status is not None:
                raise
            await failure(_SERVER_ERROR, "internal error; see the log of image-syncer")(scope, receive, sending)
        finally:
            self._log_end(scope, record, asyncio.get_running_loop().time() - began)

    def _refuse_host(self, record: RequestRecord) -> Response:
        record.facts["reason"] = "the Host of the request is none of this server"
        remedy = f"use {self._hosts[0]}, or add the host name to server: hosts:"
        return failure(_MISDIRECTED, "this server has another host name", remedy=remedy)

    def _log_end(self, scope: Scope, record: RequestRecord, seconds: float) -> None:
        route, status = _route(scope), record.status or 0
        self._metrics.answered(route, scope["method"], status, seconds)
        log = self._log.info
        if status >= _SERVER_ERROR or not status:
            log = self._log.warning
        elif route in _QUIET or record.facts.get("outcome") == "ignored":
            log = self._log.debug
        fields: dict[str, object] = {"client": (scope.get("client") or ("",))[0], **record.facts}
        if record.events:
            fields |= {"events": record.events[:_EVENTS_LOGGED], "event_count": len(record.events)}
        log("http.answered", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 1), **fields)


def _route(scope: Scope) -> str:
    """Return the declared path of the matched route; `-` without one."""
    return getattr(scope.get("route"), "path", "-")
