"""Copies whose jobs ended without a word: an operator cancelled them, or their last worker died in the middle.

Their events and runs would wait for ever. So whoever still waits long after asking is compared with the queue.
"""

import asyncio
from datetime import timedelta
from typing import Any, Final

import structlog

from image_syncer.daemon.event_recorder import Now
from image_syncer.jobs import JobQueue, JobsUnavailable
from image_syncer.state import CopyEnd, State, StateUnavailable
from image_syncer.sync.result import Outcome, skipped_result

REASON: Final = "its job ended without a result: it was cancelled, or its worker ended in the middle of the last try"
_LOOK_SECONDS: Final = 60.0
_PATIENCE: Final = timedelta(minutes=2)  # Whoever asked has noted it by then.
_BATCH: Final = 500

_Pair = tuple[str, str]


class Reconciler:
    """Ends what waits for a copy that nobody will make any more."""

    def __init__(self, state: State, jobs: JobQueue, now: Now) -> None:
        self._state = state
        self._jobs = jobs
        self._now = now
        self._log: Any = structlog.get_logger()

    async def run(self) -> None:
        """Look every minute, for ever."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self.settle()
            except (StateUnavailable, JobsUnavailable) as error:
                self._log.warning("leftovers.postponed", error=str(error))

    async def settle(self) -> int:
        """Settle what is left over now, at most 500 of events and 500 of runs, and return how many copies that were."""
        until = self._now() - _PATIENCE
        of_events = await self._state.events.list_unsettled(decided_before=until, limit=_BATCH)
        of_runs = await self._state.open_copies.list_older_than(until, limit=_BATCH)
        # A rule that is being planned has yet to ask for what it noted.
        planning = await self._jobs.filter_open_rules({rule for _, rule in of_runs})
        waiting = dict.fromkeys(of_events, "") | {pair: rule for pair, rule in of_runs if rule not in planning}
        asked_for = await self._jobs.filter_open_copies(waiting)
        left = {pair: rule for pair, rule in waiting.items() if pair not in asked_for}
        for pair, rule in left.items():
            await self._end(pair, rule)
        return len(left)

    async def _end(self, pair: _Pair, rule: str) -> None:
        now = self._now()
        self._log.warning("copy.left_over", source=pair[0], target=pair[1], reason=REASON)
        await self._state.events.settle(CopyEnd(*pair, now - _PATIENCE, now, Outcome.SKIPPED.value, REASON))
        await self._state.open_copies.settle([skipped_result(rule, *pair, REASON)], began_at=now - _PATIENCE, now=now)
