"""A rule for a whole project, between two real registries."""

from pathlib import Path

import pytest

from image_syncer.app import Options, open_app
from image_syncer.config.load import load_file
from image_syncer.oci import PlatformFilter
from image_syncer.sync.result import RunResult
from image_syncer.testing.images import multi, single
from support.registry_http import Peer

pytestmark = pytest.mark.real


async def sync(folder: Path, rule: str) -> RunResult:
    """Run the native *rule* once."""
    path = folder / "mirror.yaml"
    path.write_text(f"version: 1\nrules:\n{rule}")
    configuration = load_file(path, platforms=PlatformFilter(), environment={})
    async with open_app(Options(configuration.accounts, retries=0, environment={}, home=folder)) as syncer:
        return await syncer.sync(configuration.rules)


def outcomes(result: RunResult, target: Peer) -> dict[str, str]:
    """Return the outcomes by target, without its host."""
    return {each.target.removeprefix(f"{target.host}/"): each.outcome.value for each in result.results}


async def test_a_project_is_mirrored_with_what_is_added_later(tmp_path: Path, source: Peer, target: Peer) -> None:
    """Names are changed on the way. A repository of blobs alone, which the registry lists, is named in a warning."""
    app, base = multi("app"), single("base")
    for path, image in (("team/app", app), ("team/base", base), ("team/tmp/x", base), ("other", base)):
        source.push(path, image, "v1")
    (blob, *_) = base.blobs.values()
    source.push_blob("team/blobs", blob)
    rule = (
        f" - name: team\n   source: {source.host}/team/**\n   exclude: team/tmp/**\n   flatten: true\n"
        r"   rename_tags: {'^v(.+)$': '\1'}" + "\n"
        f"   targets: {target.host}/mirror/{{repository}}\n"
    )
    first = await sync(tmp_path, rule)
    assert outcomes(first, target) == {"mirror/team-app:1": "copied", "mirror/team-base:1": "copied"}
    assert target.manifest("mirror/team-app", "1") == app.root.content
    assert first.warnings == (
        f"{tmp_path}/mirror.yaml:3: team: without tags, or not to be read: {source.host}/team/blobs",
    )
    source.push("team/new", base, "v2")
    second = await sync(tmp_path, rule)
    assert outcomes(second, target) == {
        "mirror/team-app:1": "unchanged",
        "mirror/team-base:1": "unchanged",
        "mirror/team-new:2": "copied",
    }
