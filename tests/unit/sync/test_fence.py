"""A copy whose job was taken over by another worker writes no tag."""

import pytest

from image_syncer.app import Options, open_app
from image_syncer.errors import LeaseLost
from image_syncer.oci import Reference
from image_syncer.registry.settings import Timeouts
from image_syncer.sync.result import Outcome, RunResult
from image_syncer.testing import FakeRegistry, faults
from image_syncer.testing.images import multi, single


class Lease:
    """A fence that holds for the first *checks* checks."""

    def __init__(self, checks: int) -> None:
        self.left = checks

    async def check(self) -> None:
        """Use up one check; `LeaseLost` after the last one."""
        self.left -= 1
        if self.left < 0:
            raise LeaseLost("the job was taken over by another worker")


async def copy_fenced(source: FakeRegistry, target: FakeRegistry, lease: Lease) -> RunResult:
    """Copy app:v1 under *lease*, without a retry of the image."""
    async with open_app(Options(retries=0, timeouts=Timeouts(patience=5.0))) as syncer:
        ends = Reference.parse(f"{source.host}/app:v1"), [Reference.parse(f"{target.host}/app:v1")]
        return await syncer.copy(*ends, fence=lease)


async def test_a_lost_lease_writes_no_tag() -> None:
    """Child manifests may be there, since they are stored by digest; the tag does not appear."""
    async with FakeRegistry() as source, FakeRegistry() as target:
        source.load("app", multi("fence"), "v1")
        (result,) = (await copy_fenced(source, target, Lease(0))).results
        assert target.content("app").tags == {}
        assert not [put for put in target.requests.only(method="PUT", kind="manifest") if put.path.endswith("/v1")]
    assert (result.outcome, result.step) == (Outcome.FAILED, "push manifest")
    assert result.failure is not None
    assert isinstance(result.failure.cause, LeaseLost)


async def test_the_lease_is_checked_again_before_a_retry() -> None:
    """A PUT that the registry refused for now may be repeated minutes later, when the job is somebody else's."""
    async with FakeRegistry() as source, FakeRegistry() as target:
        source.load("app", single("fence"), "v1")
        target.faults.add(faults.answer(503), method="PUT", kind="manifest", times=1)
        (result,) = (await copy_fenced(source, target, Lease(1))).results
        assert target.requests.count(method="PUT", kind="manifest") == 1
        assert target.content("app").tags == {}
    assert result.failure is not None
    assert isinstance(result.failure.cause, LeaseLost)


@pytest.mark.parametrize("checks", [1, 10])
async def test_a_lease_that_holds_changes_nothing(checks: int) -> None:
    """One image with one tag needs one check."""
    async with FakeRegistry() as source, FakeRegistry() as target:
        source.load("app", single("fence"), "v1")
        (result,) = (await copy_fenced(source, target, Lease(checks))).results
        assert set(target.content("app").tags) == {"v1"}
    assert result.outcome is Outcome.COPIED
