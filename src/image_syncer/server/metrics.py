"""Metrics for Prometheus. Every label has few values: declared routes, configured names, statuses."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from image_syncer.jobs import JobStatus
from image_syncer.state import EventStatus
from image_syncer.sync.result import CopyResult

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# A webhook promises its answer within 200 ms; some senders give up after 0.5 to 1 s.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Pending work: jobs by status, events by source and status, and how long the oldest event has waited."""

    jobs: Mapping[JobStatus, int]
    events: Mapping[tuple[str, EventStatus], int]
    waited_seconds: float
    ready: bool


class Metrics:
    """The server's metrics in *registry*. They survive a reload of the configuration."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._requests = Counter(
            "image_syncer_http_requests", "HTTP requests answered.", ("route", "method", "status"), registry=registry
        )
        self._seconds = Histogram(
            "image_syncer_http_request_seconds",
            "Time to answer a request.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._notifications = Counter(
            "image_syncer_notifications",
            "Webhook notifications by outcome.",
            ("source", "outcome"),
            registry=registry,
        )
        self._events = Counter("image_syncer_events", "Events recorded.", ("source", "wanted"), registry=registry)
        self._copies = Counter("image_syncer_copies", "Copies by outcome.", ("outcome",), registry=registry)
        self._bytes = Counter("image_syncer_copied_bytes", "Bytes transferred by copies.", registry=registry)
        self._jobs = Gauge("image_syncer_jobs", "Jobs by status.", ("status",), registry=registry)
        self._remembered = Gauge(
            "image_syncer_remembered_events",
            "Events in the state, by source and status.",
            ("source", "status"),
            registry=registry,
        )
        self._waited = Gauge(
            "image_syncer_oldest_waiting_event_seconds",
            "Age of the oldest pending event; 0 without one.",
            registry=registry,
        )
        self._ready = Gauge("image_syncer_ready", "1 if /readyz answers ok.", registry=registry)
        self._up = Gauge("image_syncer_backend_up", "1 if the databases answered this scrape.", registry=registry)

        self._refused = Gauge(
            "image_syncer_configuration_refused", "1 if the last reload was refused.", registry=registry
        )
        self._dropped_lines = Gauge(
            "image_syncer_log_lines_dropped", "Log lines dropped since the start.", registry=registry
        )

    def watch_dropped_lines(self, count: Callable[[], int]) -> None:
        """Read the number of dropped log lines from *count*."""
        self._dropped_lines.set_function(count)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request; an unknown method counts as `other`."""
        self._requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def notified(self, source: str, outcome: str) -> None:
        """Count one notification of a configured *source*."""
        self._notifications.labels(source, outcome).inc()

    def recorded(self, source: str, *, wanted: int, unmatched: int) -> None:
        """Count recorded events."""
        self._events.labels(source, "yes").inc(wanted)
        self._events.labels(source, "no").inc(unmatched)

    def copied(self, result: CopyResult) -> None:
        """Count the final result of one copy."""
        self._copies.labels(result.outcome.value).inc()
        self._bytes.inc(result.transferred.copied)

    def set_configuration(self, *, refused: bool) -> None:
        """Show whether the last reload was refused."""
        self._refused.set(refused)

    def set_backlog(self, backlog: Backlog | None) -> None:
        """Set the gauges from *backlog*; None clears them, since a database does not answer."""
        self._up.set(backlog is not None)
        self._ready.set(backlog is not None and backlog.ready)
        self._waited.set(math.nan if backlog is None else backlog.waited_seconds)
        self._jobs.clear()
        self._remembered.clear()
        if backlog is None:
            return
        for status in JobStatus:
            self._jobs.labels(status.value).set(backlog.jobs.get(status, 0))
        for (source, event), count in sorted(backlog.events.items()):
            self._remembered.labels(source, event.value).set(count)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
