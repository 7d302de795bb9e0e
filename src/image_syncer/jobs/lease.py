"""The lease of a running attempt: whether its worker still owns the job and may change what others read.

A worker renews all its leases by a heartbeat. Another worker may take over a job once the heartbeat is *seconds* old by
the clock of the store. So a lease holds until *seconds* after the last heartbeat that the store confirmed, and only the
store confirms one: a process that was frozen, or is cut off from the store, cannot know what happened meanwhile.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

import structlog
from procrastinate.connector import BaseConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job

from image_syncer.errors import LeaseLost
from image_syncer.jobs.queries import QUERIES

_MARGIN_SHARE: Final = 0.2  # of the lease stays for the request that the check permits
_CONFIRMED_SECONDS: Final = 1.0  # an answer of the store is good for several checks in a row
_ASK_SECONDS: Final = 5.0
_BOOT_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class Instant:
    """One point in time on two clocks, in seconds.

    *boot* counts time in which the process, or the machine, was suspended. *wall* also shows a suspension that a
    virtual machine did not notice, once its clock is set right.
    """

    boot: float
    wall: float

    @classmethod
    def now(cls) -> Self:
        """Return the present."""
        return cls(time.clock_gettime(_BOOT_CLOCK), time.time())

    def until(self, later: "Instant") -> float:
        """Return the seconds from here to *later*, on the clock that counted more."""
        return max(later.boot - self.boot, later.wall - self.wall)


class Lease:
    """The lease of the attempt that *job* runs in (a `Fence`); *seconds* is how long a silent worker keeps its jobs."""

    def __init__(
        self, connector: BaseConnector, job: Job, *, seconds: float, now: Callable[[], Instant] = Instant.now
    ) -> None:
        self._connector = connector
        self._job = job
        self._seconds = seconds
        self._now = now
        self._confirmed_at: Instant | None = None
        self._holds_seconds = 0.0
        self._log: Any = structlog.get_logger()
        self.has_permitted = False
        """Whether `check` permitted a write, which may reach its target later than the lease holds."""

    async def check(self) -> None:
        """Return if the attempt may write now; `LeaseLost` if another worker may have its job.

        While the store does not answer, its last confirmation counts until it expires.
        """
        if self._age() >= _CONFIRMED_SECONDS:
            await self._confirm()
        if self._age() >= self._holds_seconds:
            raise LeaseLost("the lease of this job does not hold any more: another worker may run it")
        self.has_permitted = True

    def _age(self) -> float:
        return float("inf") if self._confirmed_at is None else self._confirmed_at.until(self._now())

    async def _confirm(self) -> None:
        asked_at = self._now()  # before the request: a freeze while it runs makes the answer old, not fresh
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                rows = await self._connector.execute_query_all_async(
                    QUERIES["job_lease"],
                    job_id=self._job.id,
                    worker_id=self._job.worker_id,
                    attempts=self._job.attempts,
                )
        except (ConnectorException, TimeoutError) as error:
            self._log.warning("job.lease_not_confirmed", error=type(error).__name__)
            return
        self._confirmed_at = asked_at
        silent = float(rows[0]["silent_seconds"]) if rows else float("inf")
        self._holds_seconds = self._seconds * (1 - _MARGIN_SHARE) - silent
