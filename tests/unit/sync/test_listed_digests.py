"""Digests in lists of tags are hints for runs; a copy of one image asks for its digest."""

import pytest

from image_syncer.app import Options, open_app
from image_syncer.oci import Repository
from image_syncer.sync.result import Outcome
from image_syncer.sync.rule import AllTags, Rule, RuleTarget
from image_syncer.testing import Accounts, FakeRegistry, Profile, profiles
from image_syncer.testing.images import single

OPEN = Accounts(anonymous={"*": frozenset({"pull"})})


@pytest.mark.parametrize("profile", [profiles.GAR, profiles.HARBOR.guarded(OPEN)], ids=lambda profile: profile.name)
async def test_a_copy_of_one_image_ignores_an_earlier_list(profile: Profile) -> None:
    """An event says that a tag moved: the digest of the list that a run of the same process has read is too old."""
    async with FakeRegistry(profile) as source, FakeRegistry() as target, open_app(Options(retries=0)) as syncer:
        for number in range(12):
            source.load("p/app", single(f"image {number}"), f"v{number}")
        copied = Repository(target.host, "p/app")
        rule = Rule("app", source.repository("p/app"), AllTags(), (RuleTarget(copied),))
        assert not (await syncer.sync([rule])).failed
        source.requests.clear()
        assert {result.outcome for result in (await syncer.sync([rule])).results} == {Outcome.UNCHANGED}
        assert source.requests.count(kind="manifest") <= 1

        moved = single("moved")
        source.load("p/app", moved, "v3")
        (result,) = (await syncer.copy(source.repository("p/app").tag("v3"), [copied.tag("v3")])).results
        assert result.outcome is Outcome.COPIED
        assert target.manifest("p/app", "v3") == moved.root
