"""`/healthz`, `/readyz` and `/metrics`: for orchestrators and monitoring."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog
from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from starlette.routing import BaseRoute

from image_syncer.server.authentication import Authentication
from image_syncer.server.errors import in_time, refusals
from image_syncer.server.metrics import CONTENT_TYPE, Backlog, Metrics
from image_syncer.server.web_backend import Backend, BackendUnavailable

_TEXT: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
_REFUSED: Final = "the last reload of the configuration was refused; the log has the reason\n"
_CHECK_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 2.0  # Kubernetes gives a probe 1 s by default, most others 5 s.


class Probes:
    """The routes over *backend* and *metrics*. *clock* gives seconds since the epoch."""

    def __init__(self, backend: Backend, metrics: Metrics, *, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._metrics = metrics
        self._clock = clock
        self._check_at = 0.0
        self._found: list[str] = []
        self._log: Any = structlog.get_logger()

    def routes(self, authentication: Authentication) -> list[BaseRoute]:
        """Return the routes. The first two need no login, so they say only ok or not ok."""
        router = APIRouter(tags=["operation"])
        router.add_api_route("/healthz", self.alive, response_class=PlainTextResponse)
        router.add_api_route(
            "/readyz",
            self.ready,
            response_class=PlainTextResponse,
            responses={503: {"description": "Not ready", "content": _TEXT[200]["content"]}},
        )
        router.add_api_route(
            "/metrics",
            self.read_metrics,
            response_class=Response,
            dependencies=authentication.access,
            responses=_TEXT | refusals(401),
        )
        return router.routes

    async def alive(self) -> Response:
        """Return ok: the process answers."""
        return PlainTextResponse("ok\n")

    async def ready(self) -> Response:
        """Return ok if events are recorded and processed, 503 otherwise. The log has the reason."""
        problems = await self._problems()
        if not problems:
            refused = self._backend.config.refused is not None
            return PlainTextResponse(f"ok\n{_REFUSED if refused else ''}")
        self._log.warning("readiness.missed", problems=list(problems))
        return PlainTextResponse("not ok\n", 503)

    async def _problems(self) -> list[str]:
        """Return the problems, found at most once a second: strangers may ask, and a check writes to the disk."""
        now = asyncio.get_running_loop().time()
        if now >= self._check_at:
            self._check_at = now + _CHECK_SECONDS
            try:
                self._found = await in_time(_PATIENCE_SECONDS, self._backend.problems())
            except BackendUnavailable as error:
                self._found = [error.message]
        return self._found

    async def read_metrics(self) -> Response:
        """Return the metrics in Prometheus' text format."""
        try:
            backlog = await in_time(_PATIENCE_SECONDS, self._backlog())
        except BackendUnavailable:
            backlog = None  # image_syncer_backend_up is 0 then.
        self._metrics.set_configuration(refused=self._backend.config.refused is not None)
        self._metrics.set_backlog(backlog)
        return Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def _backlog(self) -> Backlog:
        jobs = await self._backend.jobs.counts()
        tally = await self._backend.state.events.count_by_status()
        since = tally.waiting_since
        waited = 0.0 if since is None else max(0.0, self._clock() - since.timestamp())
        return Backlog(jobs, tally.counts, waited, ready=not await self._backend.problems())
