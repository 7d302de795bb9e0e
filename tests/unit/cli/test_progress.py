import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from image_syncer.cli.progress import (
    Lines,
    Nothing,
    Several,
    Tally,
    Waits,
    Watchers,
    final_line,
    keep_ticking,
    progress_line,
    remaining_seconds,
)
from image_syncer.oci import Reference
from image_syncer.registry.observer import Wait
from image_syncer.sync.plan import Copy
from image_syncer.sync.result import Outcome
from support.clients import Told

MIB = 1024 * 1024


class Clock:
    """A clock that stands still until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time that the test has set."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock in the test's hand."""
    return Clock()


@pytest.fixture
def tally(clock: Clock) -> Tally:
    """Return a tally of a run that has just begun."""
    return Tally(clock)


def copy_of(name: str) -> Copy:
    """Return a copy with the ends that the fixture `result` gives *name*."""
    source = Reference.parse(f"docker.io/library/{name}")
    return Copy(name, source, Reference.parse(f"registry.example.com/mirror/{name}"))


def test_a_line_keeps_the_words_that_users_search_for(tally: Tally, clock: Clock, result: Any) -> None:
    """Scripts that grep the Go tool's log find the same words, with more behind them."""
    tally.selected(7)
    for name, outcome in (("a:1", Outcome.COPIED), ("b:1", Outcome.COPIED), ("c:1", Outcome.UNCHANGED)):
        tally.finished(result(name, outcome))
    tally.moved(12_897_485)
    clock.now += 3
    assert progress_line(tally) == (
        "Now 3/7 tasks have been processed (2 copied, 1 unchanged, 0 failed; 12.3 MiB, 4.1 MiB/s)"
    )


def test_a_line_tells_of_skipped_images_where_there_are_any(tally: Tally, result: Any) -> None:
    """Nothing that ended is left out."""
    tally.selected(1)
    tally.finished(result("a:1", Outcome.SKIPPED, reason="interrupted"))
    assert "Now 1/1 tasks have been processed (0 copied, 0 unchanged, 1 skipped, 0 failed;" in progress_line(tally)


def test_the_last_line_keeps_the_words_that_users_search_for(ran: Any, result: Any) -> None:
    """The number of failures and the time, as the Go tool says it."""
    run = ran(result("a:1", Outcome.FAILED), result("b:1"))
    assert final_line(run) == "Synchronization finished, 1 tasks failed, cost 2.31s"


def test_a_repeated_result_replaces_the_earlier_one(tally: Tally, result: Any) -> None:
    """A copy that failed and then succeeded is one copy, and no failure."""
    tally.selected(1)
    tally.finished(result("a:1", Outcome.FAILED))
    tally.finished(result("a:1", Outcome.COPIED, attempts=2))
    assert tally.counts == {Outcome.COPIED: 1}
    assert (tally.done, tally.total) == (1, 1)


def test_a_rule_that_is_selected_again_loses_its_failure(tally: Tally, result: Any) -> None:
    """A tag list that came at the second try leaves only the images, not the rule."""
    tally.selected(2)
    tally.finished(result("a:1"))
    tally.finished(result("b", Outcome.FAILED, step="list tags"))
    assert (tally.done, tally.counts[Outcome.FAILED]) == (2, 1)
    tally.selected(3 - 1)
    tally.finished(result("b:1", rule="b"))
    assert (tally.done, tally.total) == (2, 4)
    assert tally.counts[Outcome.FAILED] == 0


def test_what_is_copied_right_now_is_known_until_it_ends(tally: Tally, result: Any) -> None:
    """The display names exactly what is running."""
    tally.started(copy_of("a:1"))
    tally.started(copy_of("b:1"))
    tally.finished(result("a:1"))
    assert [source for source, _ in tally.active] == ["docker.io/library/b:1"]


def test_the_rate_is_that_of_the_last_seconds(tally: Tally, clock: Clock) -> None:
    """A stall shows as such, however fast the first minutes were."""
    rates: list[float] = []
    for second in range(40):
        tally.moved(MIB if second < 20 else 0)
        rates.append(tally.sample())
        clock.now += 1
    assert rates[19] == pytest.approx(MIB)
    assert rates[-1] == 0


def test_the_rate_is_never_negative(tally: Tally, clock: Clock) -> None:
    """Bytes that must be moved again are taken back."""
    tally.moved(10)
    tally.sample()
    clock.now += 1
    tally.moved(-10)
    assert tally.sample() == 0


def test_the_rest_is_estimated_by_bytes_and_by_images(tally: Tally, clock: Clock, result: Any) -> None:
    """The longer of both: the sizes of images that have not begun are unknown."""
    tally.selected(4)
    tally.found(100)
    assert remaining_seconds(tally, 0) is None
    assert remaining_seconds(tally, 10) == 10
    tally.finished(result("a:1"))
    clock.now += 8
    assert remaining_seconds(tally, 10) == 24
    assert remaining_seconds(tally, 0) is None


def test_nothing_remains_when_all_is_done(tally: Tally, result: Any) -> None:
    """Zero, not unknown."""
    tally.selected(1)
    tally.finished(result("a:1"))
    assert remaining_seconds(tally, 0) == 0


def test_lines_come_at_most_every_two_seconds_and_only_with_news(tally: Tally, clock: Clock, result: Any) -> None:
    """A log is not flooded; a run that is stuck gives a sign of life every minute."""
    said: list[str] = []
    lines = Lines(tally, Waits(tally.clock), said.append)
    tally.selected(3)
    for step in range(4 * 30):
        if step == 10:
            tally.finished(result("a:1"))
        lines.tick()
        clock.now += 0.5
    assert len(said) == 2
    clock.now += 60
    lines.tick()
    assert len(said) == 3


def test_lines_come_less_often_in_a_long_run(tally: Tally, clock: Clock) -> None:
    """An hour makes some 150 lines, not 1 800."""
    said: list[str] = []
    lines = Lines(tally, Waits(tally.clock), said.append)
    tally.selected(3)
    for _ in range(2 * 3600):
        tally.moved(1)
        lines.tick()
        clock.now += 0.5
    assert 100 < len(said) < 250


def test_lines_end_with_the_final_ones(tally: Tally, ran: Any, result: Any) -> None:
    """However short the run was."""
    said: list[str] = []
    tally.selected(1)
    tally.finished(result("a:1"))
    Lines(tally, Waits(tally.clock), said.append).close(ran(result("a:1")))
    assert [line.split(" ", 2)[0] for line in said] == ["Now", "Synchronization"]


def test_lines_of_a_run_without_a_result_claim_no_end(tally: Tally) -> None:
    """A crash is not "finished, 0 tasks failed"."""
    said: list[str] = []
    Lines(tally, Waits(tally.clock), said.append).close(None)
    assert said == []


async def test_ticking_goes_on_until_cancelled() -> None:
    """The display is refreshed at its own pace."""

    class Counting(Nothing):
        interval = 0.001
        ticks = 0

        def tick(self) -> None:
            self.ticks += 1

    display = Counting()
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(keep_ticking(display))
        while display.ticks < 3:  # noqa: ASYNC110 - what is waited for is a count
            await asyncio.sleep(0.001)
        ticking.cancel()
    assert ticking.cancelled()


def test_several_observers_are_told_the_same(clock: Clock, result: Any) -> None:
    """The log and the display see one run."""
    tallies = Tally(clock), Tally(clock)
    observer = Several(*tallies)
    tell: list[Callable[[], None]] = [
        lambda: observer.selected(2),
        lambda: observer.started(copy_of("b:1")),
        lambda: observer.found(10),
        lambda: observer.moved(5),
        lambda: observer.finished(result("a:1")),
    ]
    for each in tell:
        each()
    assert tallies[0] == tallies[1]
    assert (tallies[0].total, tallies[0].known_bytes, tallies[0].moved_bytes) == (2, 10, 5)


def test_who_makes_us_wait_is_told_at_once_and_as_long_as_it_lasts(clock: Clock) -> None:
    """With what is left of it; a registry that goes on earlier is no more in it."""
    said: list[str] = []
    waits = Waits(clock, said.append)
    waits.on_wait(Wait("docker.io", 840, "quota used up (100 per 6 h)"))
    waits.on_wait(Wait("quay.io", 3))
    clock.now += 60
    assert waits.lines() == ["docker.io: quota used up (100 per 6 h), next request in 13 min 00 s"]
    waits.on_resume("docker.io")
    waits.on_resume("quay.io")
    assert waits.lines() == []
    assert said == [
        "docker.io: quota used up (100 per 6 h), next request in 14 min 00 s",
        "quay.io: asked to wait, next request in 3 s",
        "docker.io: answers again",
    ]


def test_lines_repeat_what_is_waited_for(tally: Tally, clock: Clock) -> None:
    """Who looks at a log that stands still sees why."""
    said: list[str] = []
    waits = Waits(clock)
    lines = Lines(tally, waits, said.append)
    tally.selected(3)
    waits.on_wait(Wait("docker.io", 840, "quota used up"))
    clock.now += 120
    lines.tick()
    assert said[1:] == ["docker.io: quota used up, next request in 12 min 00 s"]


def test_several_watchers_are_told_the_same(clock: Clock) -> None:
    """The log and the display."""
    told = Told(), Told()
    watchers = Watchers(*told)
    watchers.on_wait(Wait("docker.io", 3))
    watchers.on_resume("docker.io")
    watchers.on_login("docker.io", "ann")
    assert told[0] == told[1]
    assert (told[0].going, told[0].logins) == (["docker.io"], [("docker.io", "ann")])
