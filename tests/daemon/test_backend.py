"""What the server is told, over a real state and a real queue."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from image_syncer.app import Options
from image_syncer.config.model import Configuration
from image_syncer.daemon.backend import Events, Health, Runs
from image_syncer.daemon.event_recorder import LiveConfig
from image_syncer.daemon.registries import named_registries
from image_syncer.daemon.services import options_of
from image_syncer.jobs import CopyJob, Handlers, JobQueue, RuleJob, WorkerOptions, open_jobs
from image_syncer.oci import Repository
from image_syncer.registry.settings import Credential, HostLimits, RegistryAccount
from image_syncer.server.backend import BackendUnavailable, Slice
from image_syncer.state import EventStatus, ImageFilter, NewEvent, NewRun, State, Trigger, open_state
from image_syncer.sync.pattern import SourcePattern, TargetTemplate
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.sync.rule import AllTags, Rule, RuleTarget

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Memory:
    """State and queue in files."""

    file: Path
    state: State
    jobs: JobQueue


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncGenerator[Memory]:
    """Empty ones."""
    file = tmp_path / "state.db"
    async with open_state(str(file)) as state, open_jobs(str(tmp_path / "jobs.db")) as jobs:
        yield Memory(file, state, jobs)


async def nothing(_job: CopyJob | RuleJob) -> None:
    """Do a job."""


async def test_all_is_well_while_a_worker_works(memory: Memory) -> None:
    """Before it began and after it ended, that is what stands against our work."""
    health, stop = Health(memory.state, memory.jobs), asyncio.Event()
    assert await health.problems() == ["no worker is at work"]
    async with asyncio.TaskGroup() as group:
        worker = memory.jobs.run_worker(Handlers(nothing, nothing), WorkerOptions(drain=1), stop=stop, rng=Random(1))
        group.create_task(worker)
        async with asyncio.timeout(10):
            while await health.problems():  # noqa: ASYNC110 - nothing tells when a worker is registered
                await asyncio.sleep(0.02)
        stop.set()
    assert await health.problems() == ["no worker is at work"]


async def test_a_state_that_is_gone_is_a_problem_and_no_empty_list(memory: Memory) -> None:
    """Readiness names it for the log; whoever asks for events or images is told to come again."""
    memory.file.rename(memory.file.with_suffix(".away"))
    problems = await Health(memory.state, memory.jobs).problems()
    assert any("state.db" in problem for problem in problems)
    for answer in (Events(memory.state).tally(), Runs(memory.state).latest(ImageFilter(), Slice())):
        with pytest.raises(BackendUnavailable):
            await answer


async def test_events_are_counted_by_source_and_status(memory: Memory) -> None:
    """And the oldest that waits has its time."""
    await memory.state.events.record([NewEvent("hook", "a.test/b", tag) for tag in ("1", "2")], now=NOW)
    tally = await Events(memory.state).tally()
    assert (tally.counts, tally.waiting_since) == ({("hook", EventStatus.RECEIVED): 2}, NOW)


async def test_images_come_in_pages_whose_numbers_lead_on(memory: Memory) -> None:
    """Each image once."""
    run = await memory.state.runs.begin(NewRun(Trigger.EVENT, ["r"], NOW))
    results = [CopyResult("r", f"a.test/b:{tag}", f"c.test/b:{tag}", Outcome.COPIED) for tag in range(3)]
    await memory.state.runs.add(run, results)
    seen: list[str] = []
    part: int | None = None
    for _ in range(2):
        page = await Runs(memory.state).latest(ImageFilter(rule="r"), Slice(part, 2))
        seen, part = [*seen, *(image.source for image in page.items)], page.next
    assert (seen, part) == (["a.test/b:2", "a.test/b:1", "a.test/b:0"], None)


def test_registries_tell_their_roles_and_that_there_is_a_login() -> None:
    """Those of rules and those of logins, in order; neither user name nor password."""
    rules = [
        Rule("one", Repository("b.test", "app"), AllTags(), (RuleTarget(Repository("c.test", "app")),)),
        Rule("two", SourcePattern.of("c.test", "**"), AllTags(), (TargetTemplate.of("d.test", "{repository}"),)),
    ]
    access = (RegistryAccount("a.test", insecure=True), RegistryAccount("c.test/team", Credential("alice", "hunter2")))
    options = Options(access, transfers=3, host_limits={"d.test": HostLimits(transfers=2, requests=7)})
    found = named_registries(LiveConfig(tuple(rules), options, {"c.test": 4}))
    assert [(view.host, view.source, view.target, view.logins, view.insecure) for view in found] == [
        ("a.test", False, False, [], True),
        ("b.test", True, False, [], False),
        ("c.test", True, True, ["c.test/team"], False),
        ("d.test", False, True, [], False),
    ]
    assert [(view.transfers, view.requests) for view in found] == [(3, 24), (3, 24), (3, 24), (2, 7)]
    assert [view.copies for view in found] == [None, None, 4, None]
    assert "alice" not in repr(found)
    assert "hunter2" not in repr(found)


def test_the_ceilings_of_the_file_hold_in_the_daemon() -> None:
    """Whichever dialect it is."""
    host_limits = {"a.test": HostLimits(transfers=2)}
    assert options_of(Configuration((), (), host_limits=host_limits)).host_limits == host_limits
