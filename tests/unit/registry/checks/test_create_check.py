"""The step `create` of a check: what a push needs at the target, and who creates it. Nothing is created."""

import dataclasses
from pathlib import Path

import pytest

from image_syncer.app_check import check_registries
from image_syncer.app_options import Options
from image_syncer.registry.checks.check_values import CheckStep, RegistryToCheck
from image_syncer.registry.settings import CreateSettings, Credential, RegistryAccount, Timeouts
from image_syncer.testing import Account, Accounts, FakeRegistry, profiles
from image_syncer.testing.profile import Profile

ACCOUNTS = Accounts({"alice": Account("secret")})


async def checked(profile: Profile, tmp_path: Path, create: CreateSettings | None) -> dict[str, CheckStep]:
    """Return the steps for a repository that the registry lacks, with *create* at it."""
    closed = dataclasses.replace(profile.guarded(ACCOUNTS), projects=(), creation_api=True)
    async with FakeRegistry(closed) as registry:
        account = RegistryAccount(registry.host, Credential("alice", "secret"), create=create)
        given = Options(access=(account,), environment={}, home=tmp_path, timeouts=Timeouts(patience=0.0))
        target = registry.repository("team/app")
        (report,) = await check_registries(given, [RegistryToCheck(registry.host, target, target)])
        assert registry.creation.created == set()
        return {step.name: step for step in report.steps}


async def test_a_missing_project_that_a_push_creates_is_no_failure(tmp_path: Path) -> None:
    """The push itself is not possible before."""
    steps = await checked(profiles.HARBOR, tmp_path, CreateSettings())
    assert steps["create"].status == "ok"
    assert steps["create"].text == "the project must exist: a push creates it if it is missing"
    assert steps["push"].status == "warning"
    assert steps["push"].text.startswith("not possible before something is created: ")


async def test_without_create_the_step_has_the_call(tmp_path: Path) -> None:
    """And the push fails."""
    steps = await checked(profiles.HARBOR, tmp_path, None)
    assert steps["create"].status == "note"
    assert (steps["create"].remedy or "").startswith("create it: curl -u USER -X POST https://127.0.0.1:")
    assert steps["push"].status == "failed"


@pytest.mark.parametrize("create", [CreateSettings("quay", scan=True), CreateSettings("huawei", public=True)])
async def test_a_setting_that_the_vendor_lacks_fails(tmp_path: Path, create: CreateSettings) -> None:
    """Before a run."""
    steps = await checked(profiles.OCI, tmp_path, create)
    assert steps["create"].status == "failed"
    assert "is no setting of this vendor" in steps["create"].text
    assert steps["push"].status == "failed"


async def test_a_registry_that_needs_nothing_has_no_such_step(tmp_path: Path) -> None:
    """A push creates its repository."""
    assert "create" not in await checked(profiles.ZOT, tmp_path, CreateSettings())
