"""What Prometheus may read. Every label has few values: routes as they are declared, configured names, statuses."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from image_syncer.server.backend import JobStatus

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# A hook promises its answer within 200 ms, and senders give up after 0.5 to 1 s.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """The server's metrics in *registry*. They outlive a change of the configuration."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._requests = Counter(
            "image_syncer_http_requests", "Answered requests.", ("route", "method", "status"), registry=registry
        )
        self._seconds = Histogram(
            "image_syncer_http_request_seconds", "Time to the answer.", ("route",), buckets=_SECONDS, registry=registry
        )
        self._notifications = Counter(
            "image_syncer_notifications",
            "Notifications by what became of them.",
            ("source", "outcome"),
            registry=registry,
        )
        self._events = Counter("image_syncer_events", "Events recorded.", ("source", "wanted"), registry=registry)
        self._jobs = Gauge("image_syncer_jobs", "Jobs by status.", ("status",), registry=registry)
        self._up = Gauge(
            "image_syncer_backend_up", "1 where the queue answered when this page was read.", registry=registry
        )

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request; a method that nobody declared counts as `other`."""
        self._requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def notified(self, source: str, outcome: str) -> None:
        """Count one notification of a configured *source*."""
        self._notifications.labels(source, outcome).inc()

    def recorded(self, source: str, *, wanted: int, unmatched: int) -> None:
        """Count events that are durable."""
        self._events.labels(source, "yes").inc(wanted)
        self._events.labels(source, "no").inc(unmatched)

    def show_jobs(self, counts: Mapping[JobStatus, int] | None) -> None:
        """Take over the numbers of jobs; None where the queue does not answer, so that no old number stands."""
        self._up.set(counts is not None)
        self._jobs.clear()
        for status in JobStatus if counts is not None else ():
            self._jobs.labels(status.value).set((counts or {}).get(status, 0))

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
