"""The routes of the fork (https://github.com/zxzixuanwang/image-syncer): its paths, login and statuses.

The checks run in the order of its web/route.go. Answers that had no body there have one here.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.routing import BaseRoute

from image_syncer.events.dialects.legacy import Decision, decide
from image_syncer.server.authentication import Authentication
from image_syncer.server.body_reader import BodyReader
from image_syncer.server.errors import in_time, refusals
from image_syncer.server.hooks import NotificationRecorder
from image_syncer.server.server_settings import FORK_SOURCE, ServerSettings

_PREFIX: Final = "/images/sync"
_OK: Final = 200
_FIELDS: Final = {
    "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("name", "tag")],
}


class ForkRoutes:
    """`/images/sync/hook` and `/images/sync/do`. *dispatch* turns pending events into jobs."""

    def __init__(
        self, settings: ServerSettings, recorder: NotificationRecorder, dispatch: Callable[[], Awaitable[int]]
    ) -> None:
        self._patience = settings.patience_seconds
        self._bodies = BodyReader(settings)
        self._recorder = recorder
        self._dispatch = dispatch

    def routes(self, authentication: Authentication) -> list[BaseRoute]:
        """Return the routes. As in the fork, a wrong method or path is refused before the login is checked."""
        router = APIRouter(tags=["hooks"], dependencies=authentication.fork_access, responses=refusals(401, 403, 503))
        for method in ("GET", "POST"):
            router.add_api_route(
                f"{_PREFIX}/hook",
                self.hook,
                methods=[method],
                response_class=JSONResponse,
                responses=refusals(400, 406) if method == "GET" else refusals(400, 406, 408, 413, 415),
                openapi_extra=_FIELDS,
            )
            router.add_api_route(f"{_PREFIX}/do", self.do, methods=[method], response_class=JSONResponse)
        return router.routes

    async def hook(self, request: Request) -> Response:
        """Record the push of `tag` to `name` (host/namespace/repository); query, form or JSON carry both.

        200 also without a name, and if no rule wants the image. 400: no tag. 406: invalid name or tag.
        """
        body = await self._bodies.read(request) if request.method == "POST" else b""
        decision = decide(request.scope["query_string"], request.headers, body)
        if decision.event is None:
            return self._decline(request, decision)
        [accepted] = await self._recorder.record(request, FORK_SOURCE, [decision.event])
        status = "accepted" if accepted.rules else "unmatched"
        return JSONResponse({"status": status, "event": accepted.event_id, "rules": accepted.rules})

    async def do(self) -> Response:
        """Copy now what waits for the next interval."""
        started = await in_time(self._patience, self._dispatch())
        return JSONResponse({"status": "started", "count": started})

    def _decline(self, request: Request, decision: Decision) -> Response:
        status = "ignored" if decision.status == _OK else "refused"
        self._recorder.count(request, FORK_SOURCE, status)
        return JSONResponse({"status": status, "reason": decision.reason}, decision.status)
