"""Rules that select tags by version and age, between two real registries, with a state in a file."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from image_syncer.app import Options, open_app
from image_syncer.config.load import load_file
from image_syncer.oci import PlatformFilter
from image_syncer.sync.result import Outcome, RunResult
from image_syncer.testing.images import single
from support.registry_http import Peer

LATEST = "{semver: '>=1.1', suffix: ['', -alpine], min_tags: 6, latest: {keep: 1, per: minor, groups: 2}}"
COOL_DOWN = "{min_age: 7d}"


async def sync(folder: Path, source: Peer, target: Peer, tags: str) -> RunResult:
    """Run a rule with *tags* once, with the state in *folder*."""
    path = folder / "mirror.yaml"
    path.write_text(
        f"version: 1\nrules:\n - {{name: app, source: {source.host}/app, targets: {target.host}/copy, tags: {tags}}}\n"
    )
    configuration = load_file(path, platforms=PlatformFilter(), environment={})
    options = Options(retries=0, environment={}, home=folder, state=str(folder / "state.db"))
    async with open_app(options) as syncer:
        return await syncer.sync(configuration.rules)


def outcomes(result: RunResult) -> dict[str, tuple[Outcome, str | None]]:
    """Return the outcome and the reason of each image by its tag."""
    return {one.source.rpartition(":")[2]: (one.outcome, one.reason) for one in result.results}


def put_back(folder: Path, time: timedelta) -> None:
    """Let all tags be first seen earlier by *time*."""
    with closing(sqlite3.connect(folder / "state.db")) as connection, connection:
        moved = connection.execute(
            "UPDATE image_syncer_first_seen SET first_seen_at = first_seen_at - ?", [time // timedelta(microseconds=1)]
        )
        assert moved.rowcount > 0


async def test_the_last_versions_are_copied(tmp_path: Path, source: Peer, target: Peer) -> None:
    """A second run finds them unchanged; too short a list changes nothing."""
    tags = [
        "1.0.9",
        "1.1.0",
        "1.1.1",
        "1.2.0",
        "1.2.0-alpine",
        "1.2.1-rc.1",
        "1.3.0",
        "1.3.1",
        "1.3.1-alpine",
        "latest",
    ]
    source.push("app", single("app"), *tags)
    wanted = {"1.2.0", "1.2.0-alpine", "1.3.1", "1.3.1-alpine"}
    first = await sync(tmp_path, source, target, LATEST)
    assert outcomes(first) == dict.fromkeys(wanted, (Outcome.COPIED, None))
    second = await sync(tmp_path, source, target, LATEST)
    assert outcomes(second) == dict.fromkeys(wanted, (Outcome.UNCHANGED, None))
    third = await sync(tmp_path, source, target, LATEST.replace("min_tags: 6", "min_tags: 9"))
    (failed,) = third.results
    assert (failed.outcome, failed.step) == (Outcome.FAILED, "list tags")
    assert failed.reason == f"{source.host}/app: 7 of 10 listed tags are left, min_tags is 9"


async def test_a_tag_waits_until_it_was_public_for_long_enough(tmp_path: Path, source: Peer, target: Peer) -> None:
    """The state has the times between runs. A tag that moved waits again, and the target keeps what it has."""
    source.push("app", single("first"), "1.0", "1.1")
    first = await sync(tmp_path, source, target, COOL_DOWN)
    assert outcomes(first) == {}
    (warning,) = first.warnings
    assert warning.endswith(": app selects no tag yet: 2 match, and are not public for 7d (min_age)")
    put_back(tmp_path, timedelta(days=8))
    second = await sync(tmp_path, source, target, COOL_DOWN)
    assert outcomes(second) == dict.fromkeys(("1.0", "1.1"), (Outcome.COPIED, None))
    source.push("app", single("second"), "1.1")
    third = await sync(tmp_path, source, target, COOL_DOWN)
    assert outcomes(third) == {
        "1.0": (Outcome.UNCHANGED, None),
        "1.1": (Outcome.SKIPPED, "public for 0s, min_age is 7d"),
    }
    put_back(tmp_path, timedelta(days=8))
    fourth = await sync(tmp_path, source, target, COOL_DOWN)
    assert outcomes(fourth) == {"1.0": (Outcome.UNCHANGED, None), "1.1": (Outcome.COPIED, None)}
