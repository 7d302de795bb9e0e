"""Readiness, counts, pages and registry views, over a real state and a real queue."""

import asyncio
from random import Random

import pytest

from image_syncer.app import Options
from image_syncer.daemon.reload import LiveConfig
from image_syncer.jobs import CopyJob, Handlers, RuleJob, WorkerOptions
from image_syncer.oci import Repository
from image_syncer.registry.settings import Credential, HostLimits, RegistryAccount
from image_syncer.server.resources import RegistryView, registry_views
from image_syncer.state import EventStatus, NewEvent, NewRun, StateUnavailable, Trigger
from image_syncer.sync.pattern import SourcePattern, TargetTemplate
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.sync.rule import AllTags, Rule, RuleTarget
from server.serving import NOW, backend_over, open_databases, running


async def do_nothing(_job: CopyJob | RuleJob) -> None:
    """Handle a job."""


async def test_a_daemon_is_ready_while_its_worker_runs() -> None:
    """Before the worker has started and after it has ended, its absence is the one problem."""
    async with open_databases() as databases:
        databases.jobs._supervisor = None  # pyright: ignore[reportPrivateUsage] - a real worker runs here
        backend, stop = backend_over(databases), asyncio.Event()
        assert await backend.problems() == ["no worker is running"]
        handlers, options = Handlers(do_nothing, do_nothing), WorkerOptions(drain=1)
        async with asyncio.TaskGroup() as group:
            group.create_task(databases.jobs.run_worker(handlers, options, stop=stop, rng=Random(1)))
            async with asyncio.timeout(10):
                while await backend.problems():  # noqa: ASYNC110 - nothing announces that a worker is registered
                    await asyncio.sleep(0.02)
            stop.set()
        assert await backend.problems() == ["no worker is running"]


async def test_a_missing_state_file_is_a_problem_and_no_empty_list() -> None:
    """Readiness names the file; a list of events or images fails instead of being empty."""
    async with open_databases() as databases:
        file = databases.folder / "state.db"
        file.rename(file.with_suffix(".away"))
        problems = await backend_over(databases).problems()
        assert any("state.db" in problem for problem in problems)
        for answer in (databases.state.events.count_by_status(), databases.state.runs.images()):
            with pytest.raises(StateUnavailable):
                await answer


async def test_events_are_counted_by_source_and_status() -> None:
    """The oldest pending event has its time."""
    async with open_databases() as databases:
        await databases.state.events.record([NewEvent("hook", "a.test/b", tag) for tag in ("1", "2")], now=NOW)
        tally = await databases.state.events.count_by_status()
        assert (tally.counts, tally.waiting_since) == ({("hook", EventStatus.RECEIVED): 2}, NOW)


async def test_pages_of_images_follow_each_other_by_their_next() -> None:
    """Each image is on one page."""
    async with running() as site:
        log = site.databases.state.runs
        run = await log.begin(NewRun(Trigger.EVENT, ["r"], NOW))
        await log.add(run, [CopyResult("r", f"a.test/b:{tag}", f"c.test/b:{tag}", Outcome.COPIED) for tag in range(3)])
        async with site.client.get("/api/v1/images?rule=r&limit=2") as response:
            first = await response.json()
        async with site.client.get(f"/api/v1/images?rule=r&limit=2&before={first['next']}") as response:
            second = await response.json()
        seen = [image["source"] for image in (*first["items"], *second["items"])]
        assert (seen, second["next"]) == (["a.test/b:2", "a.test/b:1", "a.test/b:0"], None)


def test_registries_show_their_roles_and_that_they_have_a_login() -> None:
    """Those of rules and those of logins, sorted; neither user name nor password."""
    rules = (
        Rule("one", Repository("b.test", "app"), AllTags(), (RuleTarget(Repository("c.test", "app")),)),
        Rule("two", SourcePattern.of("c.test", "**"), AllTags(), (TargetTemplate.of("d.test", "{repository}"),)),
    )
    access = (
        RegistryAccount("a.test", insecure=True),
        RegistryAccount("c.test/team", Credential("alice", "hunter2")),
        RegistryAccount("d.test", cloud="aws"),
    )
    options = Options(access, transfers=3, host_limits={"d.test": HostLimits(transfers=2, requests=7)})
    found = registry_views(LiveConfig(rules, options, {"c.test": 4}), {})
    assert [roles(view) for view in found] == [
        ("a.test", False, False, [], True),
        ("b.test", True, False, [], False),
        ("c.test", True, True, ["c.test/team"], False),
        ("d.test", False, True, ["d.test"], False),
    ]
    assert [(view.transfers, view.requests) for view in found] == [(3, 24), (3, 24), (3, 24), (2, 7)]
    assert [view.copies for view in found] == [None, None, 4, None]
    assert "alice" not in repr(found)
    assert "hunter2" not in repr(found)


def roles(view: RegistryView) -> tuple[str, bool, bool, list[str], bool]:
    """Return what a registry is used for."""
    return view.host, view.source, view.target, view.logins, view.insecure
