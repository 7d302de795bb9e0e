"""From recorded events to jobs, over a real state and a real queue."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from image_syncer.app import Options
from image_syncer.daemon.dispatcher import Dispatcher
from image_syncer.daemon.event_recorder import EventRecorder
from image_syncer.daemon.reload import LiveConfig
from image_syncer.events import PushEvent
from image_syncer.events.matching import Matches, match_push
from image_syncer.jobs import JobFilter, JobQueue, open_jobs
from image_syncer.oci import Repository
from image_syncer.state import EventFilter, EventStatus, NewRun, State, Trigger, open_state
from image_syncer.state.event_log import CLAIM_SECONDS
from image_syncer.sync.result import CopyResult, Outcome, Transferred
from image_syncer.sync.rule import AllTags, Rule, RuleTarget, Triggers

APP = Repository("source.test", "team/app")
RULE = Rule("app", APP, AllTags(), (RuleTarget(Repository("target.test", "app")),), triggers=Triggers(events=True))


@dataclass
class Bench:
    """The components that an event passes through."""

    state: State
    jobs: JobQueue
    recorder: EventRecorder
    dispatcher: Dispatcher
    config: LiveConfig


def now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


@asynccontextmanager
async def bench(folder: Path, *, tick_seconds: float | None = None) -> AsyncGenerator[Bench]:
    """Open state and queue in *folder*."""
    config, arrived = LiveConfig((RULE,)), asyncio.Event()
    async with open_state(str(folder / "state.db")) as state, open_jobs(str(folder / "jobs.db")) as jobs:
        dispatcher = Dispatcher(state, jobs, config, arrived, now, tick_seconds=tick_seconds)
        yield Bench(state, jobs, EventRecorder(state.events, config, arrived, now), dispatcher, config)


async def test_an_event_is_a_row_before_it_is_answered_and_a_job_afterwards(tmp_path: Path) -> None:
    """The answer names the rules; unmatched events are recorded as such."""
    async with bench(tmp_path) as it:
        accepted = await it.recorder.accept("hook", [PushEvent(APP, "v1"), PushEvent(Repository("x.test", "y"), "v1")])
        assert [entry.rules for entry in accepted] == [("app",), ()]
        assert await it.dispatcher.dispatch() == 1
        (job,) = await it.jobs.list()
        assert (job.args["source"], job.args["target"]) == ("source.test/team/app:v1", "target.test/app:v1")
        assert len(await it.state.events.page(EventFilter(status=EventStatus.UNMATCHED))) == 1


async def test_a_push_does_not_wait_behind_a_backlog(tmp_path: Path) -> None:
    """Of 450 pending events, the newest are requested in the first batch, and the oldest wait for the last one."""
    async with bench(tmp_path) as it:
        await it.recorder.accept("hook", [PushEvent(APP, f"old{number}") for number in range(450)])
        await it.recorder.accept("hook", [PushEvent(APP, "hot")])
        await it.dispatcher.dispatch()
        by_tag = {job.args["source"].rpartition(":")[2]: job.id for job in await it.jobs.list(JobFilter(limit=1000))}
        assert by_tag["hot"] <= 4  # Requests are made four at a time.
        assert by_tag["old449"] < by_tag["old0"]
        assert len(by_tag) == 451


async def test_a_huge_image_is_copied_after_small_ones(tmp_path: Path) -> None:
    """Its size is that of the images that were copied to its repository before."""
    async with bench(tmp_path) as it:
        run = await it.state.runs.begin(NewRun(Trigger.REQUEST, ["app"], now()))
        huge = CopyResult("app", f"{APP}:1", "target.test/app:1", Outcome.COPIED, transferred=Transferred(2**31))
        await it.state.runs.add(run, [huge])
        assert await it.state.runs.estimated_sizes(["target.test/app", "target.test/ap"]) == {
            "target.test/app": 2**31,
            "target.test/ap": 0,
        }
        await it.recorder.accept("hook", [PushEvent(APP, "2")])
        await it.dispatcher.dispatch()
        [job] = await it.jobs.list()
        assert job.priority == 1


async def test_a_burst_of_pushes_is_one_job(tmp_path: Path) -> None:
    """One pending copy per source and target, whatever the number of events."""
    async with bench(tmp_path) as it:
        await it.recorder.accept("hook", [PushEvent(APP, "v1") for _ in range(20)])
        await it.dispatcher.dispatch()
        assert len(await it.jobs.list()) == 1


async def test_dispatching_again_after_a_crash_in_between_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """The job exists, the event is not marked: the second dispatch joins the job."""
    async with bench(tmp_path) as it:
        (entry,) = await it.recorder.accept("hook", [PushEvent(APP, "v1")])
        (event,) = await it.state.events.list_pending()
        await it.dispatcher._dispatch([event])  # pyright: ignore[reportPrivateUsage] - the step that a crash repeats
        await it.dispatcher._dispatch([event])  # pyright: ignore[reportPrivateUsage] - the same
        assert len(await it.jobs.list(JobFilter())) == 1
        assert entry.event_id == event.id


async def test_two_dispatchers_share_the_events_of_a_fleet(tmp_path: Path) -> None:
    """One of them handles each event, and none is left over."""
    async with bench(tmp_path) as it, bench(tmp_path) as other:
        await it.recorder.accept("hook", [PushEvent(APP, f"v{number}") for number in range(500)])
        with structlog.testing.capture_logs() as logs:
            copies = await asyncio.gather(it.dispatcher.dispatch(), other.dispatcher.dispatch())
        assert sum(copies) == 500
        assert sum(line["events"] for line in logs if line["event"] == "events.dispatched") == 500
        assert await it.state.events.count_pending() == 0


async def test_events_of_a_dispatcher_that_died_are_dispatched_later(tmp_path: Path) -> None:
    """Once its claim has expired."""
    async with bench(tmp_path) as it:
        await it.recorder.accept("hook", [PushEvent(APP, "v1")])
        claimed = await it.state.events.claim(now=now() - timedelta(seconds=CLAIM_SECONDS - 1))
        assert (len(claimed), await it.dispatcher.dispatch()) == (1, 0)
        async with asyncio.timeout(10):
            while not await it.dispatcher.dispatch():  # noqa: ASYNC110 - the claim ends by the clock
                await asyncio.sleep(0.1)
        assert len(await it.jobs.list()) == 1


@pytest.mark.parametrize("tick_seconds", [None, 0.3])
async def test_events_are_dispatched_at_once_or_at_the_tick(tick_seconds: float | None, tmp_path: Path) -> None:
    """By the background task."""
    async with bench(tmp_path, tick_seconds=tick_seconds) as it, asyncio.TaskGroup() as group:
        running = group.create_task(it.dispatcher.run())
        await it.recorder.accept("hook", [PushEvent(APP, "v1")])
        async with asyncio.timeout(10):
            while not await it.jobs.list():  # noqa: ASYNC110 - the database has no event to wait for
                await asyncio.sleep(0.02)
        running.cancel()


async def test_a_push_is_matched_against_the_rules_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dispatcher finds the result of the recorder; a reload matches again."""
    matched: list[str] = []

    def count(repository: Repository, tag: str, rules: Sequence[Rule]) -> Matches:
        matched.append(tag)
        return match_push(repository, tag, rules)

    monkeypatch.setattr("image_syncer.daemon.reload.match_push", count)
    async with bench(tmp_path) as it:
        await it.recorder.accept("hook", [PushEvent(APP, "v1"), PushEvent(APP, "v2")])
        await it.dispatcher.dispatch()
        assert matched == ["v1", "v2"]
        it.config.apply((), Options(), {})
        [entry] = await it.recorder.accept("hook", [PushEvent(APP, "v1")])
        assert (matched, entry.rules) == (["v1", "v2", "v1"], ())
