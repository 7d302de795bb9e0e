"""The end of a copy of one image: which failure ends it, and what is reported of each name."""

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from image_syncer.errors import CopyFailed, StoreError
from image_syncer.structs import replace
from image_syncer.sync.copy_failures import too_slow
from image_syncer.sync.copy_state import TargetProgress
from image_syncer.sync.plan import PlannedCopy
from image_syncer.sync.result import Ended, Transferred

Finished = Callable[[PlannedCopy, Ended | CopyFailed], None]
"""Receives the end of each copy, once."""


@contextmanager
def collecting_failure(
    goal: TargetProgress, planned: PlannedCopy, limit: asyncio.Timeout, seconds: float | None
) -> Generator[None]:
    """Let an expected failure of the block end in `goal.failure`."""
    try:
        yield
    except TimeoutError:
        if not limit.expired():
            raise
        goal.failure = goal.failure or too_slow(planned, seconds)
    except CopyFailed as failure:
        goal.failure = goal.failure or failure
    except StoreError as error:  # Every request names its side, so this is a manifest that cannot be parsed.
        goal.failure = CopyFailed(error, side="source", step="read manifest")
        goal.failure.__cause__ = error


def report_ends(copies: Sequence[PlannedCopy], goal: TargetProgress, finished: Finished) -> None:
    """Report the end of each of *copies* to *finished*."""
    way = goal.way_taken
    for planned in copies:
        name = planned.copy.target.identifier
        failure = goal.refused.get(name, goal.failure)
        if failure is not None and name not in goal.written:
            finished(planned, failure)
            continue
        # The first name that was written reports the bytes.
        transferred, goal.transferred = goal.transferred, Transferred()
        renamed = goal.renamed if planned.copy.target.tag is not None else None
        ended = Ended(transferred, goal.referrers, goal.listed, way)
        finished(planned if renamed is None else replace(planned, target_digest=renamed), ended)
