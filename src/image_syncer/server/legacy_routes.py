"""The fork's routes, with its paths, its login, its statuses and their order.

zxzixuanwang/image-syncer, web/route.go. What it answered without a body has one here that says what happened.
"""

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from image_syncer.events.dialects.legacy import Decision, decide
from image_syncer.server.authentication import Authentication
from image_syncer.server.backend import Rules
from image_syncer.server.body_reader import BodyReader
from image_syncer.server.errors import in_time, refusals
from image_syncer.server.reception import Reception
from image_syncer.server.server_settings import FORK_SOURCE, ServerSettings

_PREFIX: Final = "/images/sync"
_OK: Final = 200
_FIELDS: Final = {
    "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("name", "tag")],
}


class ForkRoutes:
    """`/images/sync/hook` and `/images/sync/do`."""

    def __init__(self, settings: ServerSettings, reception: Reception, rules: Rules) -> None:
        self._patience = settings.patience_seconds
        self._bodies = BodyReader(settings)
        self._reception = reception
        self._rules = rules

    def router(self, guard: Authentication) -> APIRouter:
        """Return the routes, guarded as the fork guards them: another method or path is refused before the login."""
        router = APIRouter(tags=["hooks"], dependencies=guard.fork_access, responses=refusals(401, 403, 503))
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
        return router

    async def hook(self, request: Request) -> Response:
        """Record that `name` (host/namespace/repository) was pushed with `tag`, both by query, form or JSON.

        200 also without a name and where no rule wants it; 400 without a tag; 406 for what can not be meant.
        """
        body = await self._bodies.read(request) if request.method == "POST" else b""
        decision = decide(request.scope["query_string"], request.headers, body)
        if decision.event is None:
            return self._declined(request, decision)
        [accepted] = await self._reception.accept(request, FORK_SOURCE, [decision.event])
        status = "accepted" if accepted.rules else "unmatched"
        return JSONResponse({"status": status, "event": accepted.event_id, "rules": accepted.rules})

    async def do(self) -> Response:
        """Start now what waits for its time."""
        started = await in_time(self._patience, self._rules.run_waiting())
        return JSONResponse({"status": "started", "count": started})

    def _declined(self, request: Request, decision: Decision) -> Response:
        status = "ignored" if decision.status == _OK else "refused"
        self._reception.tell(request, FORK_SOURCE, status)
        return JSONResponse({"status": status, "reason": decision.reason}, decision.status)
