"""Which images an event about a referrer concerns."""

from datetime import UTC, datetime, timedelta

from image_syncer.oci import Digest
from image_syncer.oci.referrer import legacy_tags
from image_syncer.state import NewEvent, NewRun, State, Trigger
from image_syncer.state.known_images import MOST_IMAGES
from image_syncer.sync.result import CopyResult, Outcome

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
DAY = timedelta(days=1)
APP = "s.test:5000/team/app"
WANTED, OTHER = Digest.of(b"wanted"), Digest.of(b"other")


async def record(state: State, *images: tuple[str, Digest]) -> None:
    """Record a result for each source and its digest."""
    run = await state.runs.begin(NewRun(Trigger.REQUEST, ["r"], NOW))
    results = [
        CopyResult("r", source, f"t.test/x:{number}", Outcome.COPIED, source_digest=digest)
        for number, (source, digest) in enumerate(images)
    ]
    await state.runs.add(run, results)


async def test_images_are_found_by_their_digest(state: State) -> None:
    """By result and by event; other repositories and older results do not count."""
    await record(state, (f"{APP}:moved", WANTED), (f"{APP}:v1", OTHER))
    await record(state, (f"{APP}:moved", OTHER), (f"{APP}:v1", WANTED), (f"{APP}lication:v1", WANTED))
    await record(state, (f"{APP}@{WANTED}", WANTED), (f"{APP}_more:v1", WANTED))
    signature = legacy_tags(WANTED)[0]
    named = [NewEvent("hook", APP, tag, str(WANTED)) for tag in ("v2", signature)]
    await state.events.record([*named, NewEvent("hook", APP, "v3", str(OTHER))], now=NOW)
    found = await state.known_images.find(APP, str(WANTED), since=NOW - DAY)
    assert sorted(found) == [f"{APP}:v1", f"{APP}:v2", f"{APP}@{WANTED}"]


async def test_the_newest_images_stand_in_for_an_unknown_digest(state: State) -> None:
    """A bounded number of them; events of the last day only."""
    await record(state, *((f"{APP}:v{number}", OTHER) for number in range(100)), ("s.test:5000/team/b:v1", OTHER))
    await state.events.record([NewEvent("hook", APP, "old")], now=NOW - 2 * DAY)
    await state.events.record([NewEvent("hook", APP, "new")], now=NOW)
    found = await state.known_images.find(APP, str(WANTED), since=NOW - DAY)
    assert found == [*(f"{APP}:v{number}" for number in range(99, 99 - MOST_IMAGES, -1)), f"{APP}:new"]
    assert await state.known_images.find(APP, None, since=NOW - DAY) == found
