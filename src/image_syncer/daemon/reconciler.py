"""Reconciles copies whose job ended without reporting a result.

An operator cancelled the job, or its last worker died during it. Its events and runs would wait without end, so copies
that are still pending long after they were requested are compared with the queue.
"""

import asyncio
from datetime import timedelta
from typing import Any, Final

import structlog

from image_syncer.daemon.event_recorder import Now
from image_syncer.jobs import JobQueue, JobsUnavailable
from image_syncer.state import CopyEnd, State, StateUnavailable
from image_syncer.sync.result import Outcome, skipped_result

REASON: Final = "its job ended without a result: it was cancelled, or its worker died during the last attempt"
_INTERVAL_SECONDS: Final = 60.0
_GRACE: Final = timedelta(minutes=2)  # by then the job of a requested copy exists
_BATCH: Final = 500

_Pair = tuple[str, str]


class Reconciler:
    """Ends pending copies that have no job any more."""

    def __init__(self, state: State, jobs: JobQueue, now: Now) -> None:
        self._state = state
        self._jobs = jobs
        self._now = now
        self._log: Any = structlog.get_logger()

    async def run(self) -> None:
        """Reconcile every minute until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            try:
                await self.reconcile()
            except (StateUnavailable, JobsUnavailable) as error:
                self._log.warning("leftovers.postponed", error=str(error))

    async def reconcile(self) -> int:
        """End at most 500 copies of events and 500 of runs that have no job; return the number of ended copies."""
        now = self._now()
        until = now - _GRACE
        of_events = await self._state.events.list_unsettled(decided_before=until, now=now, limit=_BATCH)
        of_runs = await self._state.open_copies.list_older_than(until, now=now, limit=_BATCH)
        # A rule that is still being planned has stored its copies and has yet to request them.
        planning = await self._jobs.filter_open_rules({rule for _, rule in of_runs})
        pending = dict.fromkeys(of_events, "") | {pair: rule for pair, rule in of_runs if rule not in planning}
        with_job = await self._jobs.filter_open_copies(pending)
        orphaned = {pair: rule for pair, rule in pending.items() if pair not in with_job}
        for pair, rule in orphaned.items():
            await self._end(pair, rule)
        return len(orphaned)

    async def _end(self, pair: _Pair, rule: str) -> None:
        now = self._now()
        self._log.warning("copy.left_over", source=pair[0], target=pair[1], reason=REASON)
        await self._state.events.settle(CopyEnd(*pair, now - _GRACE, now, Outcome.SKIPPED.value, REASON))
        await self._state.open_copies.settle([skipped_result(rule, *pair, REASON)], began_at=now - _GRACE, now=now)
