"""`/healthz`, `/readyz` and `/metrics`: for machines that look after us."""

from typing import Any

import structlog
from fastapi import APIRouter, Depends, Response
from fastapi.responses import PlainTextResponse

from image_syncer.server.backend import Backend, BackendUnavailable
from image_syncer.server.guard import Guard
from image_syncer.server.metrics import CONTENT_TYPE, Metrics
from image_syncer.server.replies import in_time

_PATIENCE_SECONDS = 2.0  # Kubernetes asks a probe for its answer within 1 s by default, most others within 5 s.


class Probes:
    """The routes over *backend* and *metrics*."""

    def __init__(self, backend: Backend, metrics: Metrics) -> None:
        self._backend = backend
        self._metrics = metrics
        self._log: Any = structlog.get_logger()

    def router(self, guard: Guard) -> APIRouter:
        """Return the routes. The first two are open, so they say nothing but ok or not."""
        router = APIRouter(tags=["operation"])
        router.add_api_route("/healthz", self.alive, response_class=PlainTextResponse)
        router.add_api_route("/readyz", self.ready, response_class=PlainTextResponse)
        router.add_api_route(
            "/metrics", self.read_metrics, response_class=PlainTextResponse, dependencies=[Depends(guard.known)]
        )
        return router

    async def alive(self) -> Response:
        """Say that the process answers."""
        return PlainTextResponse("ok\n")

    async def ready(self) -> Response:
        """Say whether events can be recorded and are worked on; 503 where not. The log says why."""
        try:
            problems = await in_time(_PATIENCE_SECONDS, self._backend.health.problems())
        except BackendUnavailable as error:
            problems = [error.message]
        if not problems:
            return PlainTextResponse("ok\n")
        self._log.warning("readiness.missed", problems=list(problems))
        return PlainTextResponse("not ok\n", 503)

    async def read_metrics(self) -> Response:
        """Give the metrics in Prometheus' text format."""
        try:
            counts = await in_time(_PATIENCE_SECONDS, self._backend.jobs.counts())
        except BackendUnavailable:
            counts = None  # The metrics say so themselves: image_syncer_backend_up is 0.
        self._metrics.show_jobs(counts)
        return Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE})
