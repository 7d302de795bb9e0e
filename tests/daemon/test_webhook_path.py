"""The way from a webhook to its copy stays short: few functions, two hand-overs, one matching of the rules."""

import asyncio
import inspect
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from image_syncer.app import Options, Syncer
from image_syncer.daemon.dispatcher import Dispatcher
from image_syncer.daemon.job_handlers import JobHandlers
from image_syncer.daemon.services import Services, utc_now
from image_syncer.daemon.syncer_handle import open_syncer_handle
from image_syncer.jobs import JobQueue, WorkerOptions
from image_syncer.jobs.sqlite_connector import SqliteConnector
from image_syncer.server.server_settings import HookSource, ServerSettings
from image_syncer.state.database import Database
from server.serving import event_rule, running
from server.test_hooks import envelope

MOST_HOPS = 40
HAND_OVERS = 3  # the event's row wakes the dispatcher, which queues in further tasks; the job's row wakes the worker


def functions() -> list[str]:
    """Return the functions of our package that are on the stack of the present task, outermost first."""
    found: list[str] = []
    frame = inspect.currentframe()
    while frame is not None:
        file = frame.f_code.co_filename
        if "/image_syncer/" in file and "/tests/" not in file:
            found.append(f"{file.rpartition('/image_syncer/')[2]}:{frame.f_code.co_name}")
        frame = frame.f_back
    return found[::-1]


async def test_a_webhook_reaches_its_copy_in_at_most_40_hops(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the server to the event's row, from there to the job's row, and from there to the copy."""
    legs: dict[str, list[str]] = {}

    def watch(owner: type, method: str, leg: str, passes: Callable[[list[str]], bool]) -> None:
        original = getattr(owner, method)

        def watched(*arguments: Any, **options: Any) -> Any:
            found = functions()
            if passes(found):
                legs.setdefault(leg, found)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, method, watched)

    watch(Database, "write", "to the event", lambda found: "state/event_log.py:record" in found)
    for method in ("execute_query_one_async", "execute_query_all_async"):
        watch(SqliteConnector, method, "to the job", lambda found: "jobs/job_manager.py:enqueue" in found)
    watch(JobQueue, "request_copies", "to the queue", lambda _: True)
    watch(Syncer, "copy", "to the copy", lambda _: True)
    settings = ServerSettings(hooks={"open": HookSource("distribution", "registry.example.com")})
    async with running(settings, rules=[event_rule()]) as site, open_syncer_handle(Options(retries=0)) as syncers:
        databases, stop, arrived = site.databases, asyncio.Event(), asyncio.Event()
        state, jobs, config, rng = databases.state, databases.jobs, databases.config, Random(1)
        services = Services(state, jobs, syncers, config, site.metrics, rng, databases.health)
        dispatcher = Dispatcher(state, jobs, config, arrived, utc_now, tick_seconds=None)
        assert await site.status("POST", "/hooks/open", data=envelope()) == 202
        options = WorkerOptions(poll=0.1, drain=0.1)
        async with asyncio.TaskGroup() as group, asyncio.timeout(30):
            dispatching = group.create_task(dispatcher.run())
            handlers = JobHandlers(services, options.retry).handlers
            group.create_task(jobs.run_worker(handlers, options, stop=stop, rng=rng))
            while "to the copy" not in legs:  # noqa: ASYNC110 - the worker takes the job when it looks
                await asyncio.sleep(0.05)
            dispatching.cancel()
            stop.set()
    assert set(legs) == {"to the event", "to the queue", "to the job", "to the copy"}
    hops = sum(len(found) for found in legs.values()) + HAND_OVERS
    assert hops <= MOST_HOPS, legs
    assert len(legs["to the event"]) >= 6
