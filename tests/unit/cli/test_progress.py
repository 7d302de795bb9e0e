import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from image_syncer.cli.progress import (
    NoDisplay,
    ObserverGroup,
    PlainLines,
    RegistryObserverGroup,
    RegistryWaits,
    Tally,
    final_line,
    progress_line,
    refresh,
)
from image_syncer.oci import Reference
from image_syncer.registry.observer import Wait
from image_syncer.structs import replace
from image_syncer.sync.plan import Copy
from image_syncer.sync.result import Outcome, Transferred
from support.clients import RecordingObserver
from support.clocks import ManualClock

MIB = 1024 * 1024


def copy_of(name: str) -> Copy:
    """Return a copy with the source and target that the fixture `result` gives *name*."""
    source = Reference.parse(f"docker.io/library/{name}")
    return Copy(name, source, Reference.parse(f"registry.example.com/mirror/{name}"))


def test_a_progress_line_begins_with_the_words_of_the_go_tool(tally: Tally, clock: ManualClock, result: Any) -> None:
    """Scripts that search the log of the Go tool find the same words."""
    tally.selected(7)
    for name, outcome in (("a:1", Outcome.COPIED), ("b:1", Outcome.COPIED), ("c:1", Outcome.UNCHANGED)):
        tally.finished(result(name, outcome))
    tally.moved(12_897_485)
    clock.now += 3
    assert progress_line(tally) == (
        "Now 3/7 tasks have been processed (2 copied, 1 unchanged, 0 failed; 12.3 MiB, 4.1 MiB/s)"
    )


def test_listed_repositories_are_counted_until_images_are_known(tally: Tally, clock: ManualClock) -> None:
    """A large registry takes minutes to list, and nothing else is known meanwhile."""
    said: list[str] = []
    lines = PlainLines(tally, RegistryWaits(clock), said.append)
    for count in (1000, 2000):
        tally.listed("q.io", count)
        clock.now += 3
        lines.tick()
    tally.selected(0)
    clock.now += 3
    lines.tick()
    assert said == ["q.io: 1000 repositories listed so far", "q.io: 2000 repositories listed so far"]


def test_the_failure_of_a_repository_ends_with_its_images_alone(tally: Tally, result: Any) -> None:
    """A retry that lists its tags replaces the failure; the images of other repositories do not."""
    for name in ("a", "b"):
        failed = result(name, Outcome.FAILED, step="list tags")
        tally.finished(replace(failed, rule="team", source=f"q.io/{name}", target="t.io/{repository}"))
    tally.finished(replace(result("b:1"), rule="team", source="q.io/b:1", target="t.io/b:1"))
    assert tally.counts == {Outcome.FAILED: 1, Outcome.COPIED: 1}


def test_a_progress_line_counts_skipped_images_if_there_are_any(tally: Tally, result: Any) -> None:
    """Every finished copy is counted."""
    tally.selected(1)
    tally.finished(result("a:1", Outcome.SKIPPED, reason="interrupted"))
    assert "Now 1/1 tasks have been processed (0 copied, 0 unchanged, 1 skipped, 0 failed;" in progress_line(tally)


def test_the_last_line_has_the_words_of_the_go_tool(ran: Any, result: Any) -> None:
    """It tells the number of failures and the time."""
    run = ran(result("a:1", Outcome.FAILED), result("b:1"))
    assert final_line(run) == "Synchronization finished, 1 tasks failed, cost 2.31s"


def test_the_lines_of_a_dry_run_say_what_would_happen(clock: ManualClock, ran: Any, result: Any) -> None:
    """A dry run copies nothing, so its lines do not say "copied"."""
    tally = Tally(clock, dry_run=True)
    tally.selected(3)
    tally.finished(result("a:1"))
    tally.finished(result("b:1", Outcome.UNCHANGED))
    assert progress_line(tally) == "Now 2/3 tasks have been checked (1 to copy, 1 unchanged, 0 failed)"
    assert final_line(ran(result("a:1"), dry_run=True)) == "Dry run finished, 0 tasks failed, cost 2.31s"


def test_mounted_bytes_are_counted(tally: Tally, result: Any) -> None:
    """A mount moves no bytes, but saves them."""
    tally.finished(result("a:1", transferred=Transferred(copied=1, mounted=5)))
    tally.finished(result("b:1", transferred=Transferred(mounted=7)))
    assert (tally.mounted_bytes, tally.moved_bytes) == (12, 0)
    assert progress_line(tally).endswith("; 0 B, 0 B/s, 12 B mounted)")


def test_a_later_result_replaces_an_earlier_one(tally: Tally, result: Any) -> None:
    """A copy that fails and then succeeds is one copy without a failure."""
    tally.selected(1)
    tally.finished(result("a:1", Outcome.FAILED))
    tally.finished(result("a:1", Outcome.COPIED, attempts=2))
    assert tally.counts == {Outcome.COPIED: 1}
    assert (tally.done, tally.total) == (1, 1)


def test_a_successful_retry_removes_the_failure_of_a_rule(tally: Tally, result: Any) -> None:
    """After the second try lists the tags, only the images count, not the rule."""
    tally.selected(2)
    tally.finished(result("a:1"))
    tally.finished(result("b", Outcome.FAILED, step="list tags"))
    assert (tally.done, tally.counts[Outcome.FAILED]) == (2, 1)
    tally.selected(3 - 1)
    tally.finished(result("b:1", rule="b"))
    assert (tally.done, tally.total) == (2, 4)
    assert tally.counts[Outcome.FAILED] == 0


def test_a_copy_is_active_until_it_ends(tally: Tally, result: Any) -> None:
    """The display names exactly the running copies."""
    tally.started(copy_of("a:1"))
    tally.started(copy_of("b:1"))
    tally.finished(result("a:1"))
    assert [source for source, _ in tally.active] == ["docker.io/library/b:1"]


def test_the_rate_covers_the_last_ten_seconds(tally: Tally, clock: ManualClock) -> None:
    """A stall shows as 0, however fast the transfer was before."""
    rates: list[float] = []
    for second in range(40):
        tally.moved(MIB if second < 20 else 0)
        rates.append(tally.sample())
        clock.now += 1
    assert rates[19] == pytest.approx(MIB)
    assert rates[-1] == 0


def test_the_rate_is_never_negative(tally: Tally, clock: ManualClock) -> None:
    """A retry subtracts the bytes that it moves again."""
    tally.moved(10)
    tally.sample()
    clock.now += 1
    tally.moved(-10)
    assert tally.sample() == 0


def test_plain_lines_come_at_most_every_two_seconds_and_after_a_change(
    tally: Tally, clock: ManualClock, result: Any
) -> None:
    """A run that is stuck prints a line each minute."""
    printed: list[str] = []
    lines = PlainLines(tally, RegistryWaits(tally.clock), printed.append)
    tally.selected(3)
    for step in range(4 * 30):
        if step == 10:
            tally.finished(result("a:1"))
        lines.tick()
        clock.now += 0.5
    assert len(printed) == 2
    clock.now += 60
    lines.tick()
    assert len(printed) == 3


def test_plain_lines_come_less_often_in_a_long_run(tally: Tally, clock: ManualClock) -> None:
    """An hour has about 150 lines, not 1 800."""
    printed: list[str] = []
    lines = PlainLines(tally, RegistryWaits(tally.clock), printed.append)
    tally.selected(3)
    for _ in range(2 * 3600):
        tally.moved(1)
        lines.tick()
        clock.now += 0.5
    assert 100 < len(printed) < 250


def test_plain_lines_end_with_the_two_last_lines(tally: Tally, ran: Any, result: Any) -> None:
    """Even a short run prints them."""
    printed: list[str] = []
    tally.selected(1)
    tally.finished(result("a:1"))
    PlainLines(tally, RegistryWaits(tally.clock), printed.append).close(ran(result("a:1")))
    assert [line.split(" ", 2)[0] for line in printed] == ["Now", "Synchronization"]


def test_the_last_progress_line_is_printed_once(tally: Tally, clock: ManualClock, ran: Any, result: Any) -> None:
    """A tick may already have printed the final state."""
    printed: list[str] = []
    lines = PlainLines(tally, RegistryWaits(tally.clock), printed.append)
    tally.selected(1)
    tally.finished(result("a:1"))
    clock.now += 3
    lines.tick()
    lines.close(ran(result("a:1")))
    assert [line.split(" ", 2)[0] for line in printed] == ["Now", "Synchronization"]


def test_plain_lines_of_a_run_without_a_result_print_no_end(tally: Tally) -> None:
    """A crash does not print "finished, 0 tasks failed"."""
    printed: list[str] = []
    PlainLines(tally, RegistryWaits(tally.clock), printed.append).close(None)
    assert printed == []


async def test_the_display_is_refreshed_until_the_task_is_cancelled() -> None:
    """Its interval decides how often."""

    class Counting(NoDisplay):
        interval = 0.001
        ticks = 0

        def tick(self) -> None:
            self.ticks += 1

    display = Counting()
    async with asyncio.TaskGroup() as group:
        refreshing = group.create_task(refresh(display))
        while display.ticks < 3:  # noqa: ASYNC110 - it waits for a count
            await asyncio.sleep(0.001)
        refreshing.cancel()
    assert refreshing.cancelled()


def test_a_group_passes_events_to_each_observer(clock: ManualClock, result: Any) -> None:
    """The log and the display get the same events."""
    tallies = Tally(clock), Tally(clock)
    observer = ObserverGroup(*tallies)
    calls: list[Callable[[], None]] = [
        lambda: observer.selected(2),
        lambda: observer.started(copy_of("b:1")),
        lambda: observer.found(10),
        lambda: observer.moved(5),
        lambda: observer.finished(result("a:1")),
    ]
    for call in calls:
        call()
    assert tallies[0] == tallies[1]
    assert (tallies[0].total, tallies[0].known_bytes, tallies[0].moved_bytes) == (2, 10, 5)


def test_a_wait_for_a_registry_is_printed_when_it_begins_and_ends(clock: ManualClock) -> None:
    """Its line shows the remaining time. A wait that ends early disappears."""
    printed: list[str] = []
    waits = RegistryWaits(clock, printed.append)
    waits.on_wait(Wait("docker.io", 840, "quota used up (100 per 6 h)"))
    waits.on_wait(Wait("quay.io", 3))
    clock.now += 60
    assert waits.lines() == ["docker.io: quota used up (100 per 6 h), next request in 13 min 00 s"]
    waits.on_resume("docker.io")
    waits.on_resume("quay.io")
    assert waits.lines() == []
    assert printed == [
        "docker.io: quota used up (100 per 6 h), next request in 14 min 00 s",
        "quay.io: asked to wait, next request in 3 s",
        "docker.io: answers again",
    ]


def test_plain_lines_repeat_the_waits(tally: Tally, clock: ManualClock) -> None:
    """A log without progress shows the reason."""
    printed: list[str] = []
    waits = RegistryWaits(clock)
    lines = PlainLines(tally, waits, printed.append)
    tally.selected(3)
    waits.on_wait(Wait("docker.io", 840, "quota used up"))
    clock.now += 120
    lines.tick()
    assert printed[1:] == ["docker.io: quota used up, next request in 12 min 00 s"]


def test_a_group_passes_events_to_each_registry_observer(clock: ManualClock) -> None:
    """The log and the display get the same events."""
    observers = RecordingObserver(), RecordingObserver()
    group = RegistryObserverGroup(*observers)
    group.on_wait(Wait("docker.io", 3))
    group.on_resume("docker.io")
    group.on_login("docker.io", "ann")
    group.on_warning("docker.io/app: odd")
    assert observers[0] == observers[1]
    assert (observers[0].resumed, observers[0].logins) == (["docker.io"], [("docker.io", "ann")])
    assert observers[0].warnings == ["docker.io/app: odd"]


def test_a_warning_about_a_registry_is_printed(clock: ManualClock) -> None:
    """As one line, without a wait."""
    printed: list[str] = []
    waits = RegistryWaits(clock, printed.append)
    waits.on_warning("docker.io/app: odd")
    assert (printed, waits.lines()) == (["warning: docker.io/app: odd"], [])
