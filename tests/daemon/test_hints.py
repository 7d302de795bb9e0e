"""Copies of the daemon share a cache in its state."""

import asyncio
from pathlib import Path

import structlog
from structlog.testing import capture_logs

from image_syncer.config.locations import StateSettings
from image_syncer.config.model import Configuration
from image_syncer.daemon.services import open_services
from image_syncer.oci import PlatformFilter, Repository
from image_syncer.sync.plan import Action
from image_syncer.sync.result import Outcome
from image_syncer.sync.rule import AllTags, Rule, RuleTarget
from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import multi

ARM = PlatformFilter.parse([], ["arm64"])


def rule(registry: FakeRegistry) -> Rule:
    """Return a rule with a filter."""
    source, target = Repository(registry.host, "team/app"), Repository(registry.host, "mirror/app")
    return Rule("app", source, AllTags(), (RuleTarget(target),), ARM)


async def test_filtered_digests_are_known_after_a_restart(tmp_path: Path) -> None:
    """Then each tag costs one HEAD at each side."""
    configuration = Configuration((), (), state=StateSettings(path=str(tmp_path)))
    async with FakeRegistry() as registry:
        registry.load("team/app", multi("a"), "v1", "v2")
        async with open_services(configuration) as services, services.syncers.current() as syncer:
            assert not (await syncer.sync([rule(registry)])).failed
        registry.requests.clear()
        async with open_services(configuration) as services, services.syncers.current() as syncer:
            plan = await syncer.plan([rule(registry)])
        assert [copy.action for copy in plan.copies] == [Action.UNCHANGED] * 2
        assert [request.method for request in registry.requests.only(kind="manifest")] == ["HEAD"] * 4


async def test_copies_work_while_the_state_is_down(tmp_path: Path) -> None:
    """The log says so once."""
    structlog.reset_defaults()
    configuration = Configuration((), (), state=StateSettings(path=str(tmp_path)))
    async with FakeRegistry() as registry:
        registry.load("team/app", multi("a"), "v1", "v2")
        async with open_services(configuration) as services, services.syncers.current() as syncer:
            await asyncio.to_thread((tmp_path / "state.db").unlink)
            with capture_logs() as logs:
                made = await syncer.sync([rule(registry)])
        assert [result.outcome for result in made.results] == [Outcome.COPIED] * 2
        (warned,) = [entry for entry in logs if entry["event"] == "state.not_consulted"]
        assert "while in use" in warned["error"]
