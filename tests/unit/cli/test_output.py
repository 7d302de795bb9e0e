import json
from typing import Any

import pytest
from ruamel.yaml import YAML

from image_syncer.cli.output import closing, show, success_map
from image_syncer.sync.result import CopyResult, Outcome, RunResult, Transferred


def text(result: RunResult, *, listed: bool = False) -> str:
    """Return the whole closing."""
    return "\n".join(str(line) for line in closing(result, listed=listed))


def test_the_closing_counts_every_outcome_and_what_moved(ran: Any, result: Any) -> None:
    """One look tells how the run went."""
    moved = Transferred(copied=12_897_485, mounted=2048, existing=0)
    images = [result("a:1", transferred=moved), *(result(f"b:{n}", Outcome.UNCHANGED) for n in range(12))]
    assert text(ran(*images, requests={"source": 9, "target": 14})) == (
        "\n"
        "  copied      1   12.3 MiB, 2.0 KiB mounted\n"
        "  unchanged  12\n"
        "  skipped     0\n"
        "  failed      0\n"
        "\n"
        "  2.3 s, requests: 9 at the source, 14 at the target\n"
    )


def test_what_failed_for_the_same_reason_stands_together(ran: Any, result: Any) -> None:
    """A registry that is down fails very many."""
    why = {"side": "target", "step": "resolve", "reason": "down", "remedy": "start it"}
    down = [result(f"{name}:1", Outcome.FAILED, **why) for name in "ac"]
    other = result("b:1", Outcome.FAILED, side="source", step="resolve", reason="not found")
    shown = text(ran(down[0], other, down[1]))
    assert shown.count("target: resolve: down") == shown.count("start it") == 1
    assert shown.index("a:1") < shown.index("c:1") < shown.index("target: resolve: down") < shown.index("b:1")


def test_the_closing_names_what_failed_and_why_and_what_to_do(ran: Any, result: Any) -> None:
    """Reference, side, step, what the registry said, and the remedy."""
    failed = result("a:1", Outcome.FAILED, side="target", step="push blob", reason="denied", remedy="log in")
    assert (
        "  failed\n"
        "    docker.io/library/a:1 → registry.example.com/mirror/a:1\n"
        "      target: push blob: denied\n"
        "      → log in\n"
    ) in text(ran(failed))


def test_the_closing_groups_what_was_skipped_by_its_reason(ran: Any, result: Any) -> None:
    """An interrupted run skips hundreds for one reason; ten of them are named."""
    images = [result(f"a:{n}", Outcome.SKIPPED, reason="interrupted") for n in range(300)]
    shown = text(ran(*images, result("b:1", Outcome.SKIPPED, reason="no manifest fits the platform filter")))
    assert "    interrupted: 300 images\n" in shown
    assert "      and 290 more; --report FILE names them all\n" in shown
    assert "    no manifest fits the platform filter: 1 image\n" in shown
    assert shown.count("→") == 11


def test_the_closing_is_bounded_however_much_fails(ran: Any, result: Any) -> None:
    """Fifty failures are named; the report has the rest."""
    shown = text(ran(*(result(f"a:{n}", Outcome.FAILED, reason="denied") for n in range(10_000))))
    assert "and 9950 more; --report FILE names them all" in shown
    assert len(shown.splitlines()) < 130


def test_unchanged_images_are_only_counted_and_copied_ones_named_on_wish(ran: Any, result: Any) -> None:
    """A nightly run over a thousand images stays on one screen."""
    run = ran(result("a:1"), result("b:1", Outcome.UNCHANGED))
    assert "library/" not in text(run)
    listed = text(run, listed=True)
    assert "library/a:1" in listed
    assert "library/b:1" not in listed


def test_a_dry_run_names_what_would_be_copied_and_says_what_it_is(ran: Any, result: Any) -> None:
    """Nobody takes a dry run for a real one."""
    shown = text(ran(result("a:1"), dry_run=True))
    assert "Dry run: this is what would be done." in shown
    assert "would be copied\n    docker.io/library/a:1 → registry.example.com/mirror/a:1  sha256:" in shown


def test_what_a_registry_said_cannot_steer_the_terminal(
    ran: Any, result: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Escape sequences and line breaks are shown, not obeyed."""
    show(closing(ran(result("a:1", Outcome.FAILED, reason="\x1b[2J\nfailed 0", remedy="\x9b1m")), listed=False))
    shown = capsys.readouterr().out
    assert "\\x1b[2J\\x0afailed 0" in shown
    assert "\x1b" not in shown
    assert "\x9b" not in shown


def test_success_map_holds_what_was_pushed_sorted_by_source(ran: Any, result: Any) -> None:
    """Unchanged and failed images are not in it, as the Go tool has it."""
    run = ran(result("b:1"), result("a:1"), result("c:1", Outcome.UNCHANGED), result("d:1", Outcome.FAILED))
    assert "".join(success_map(run, as_json=False)) == (
        "docker.io/library/a:1:\n- registry.example.com/mirror/a:1\n"
        "docker.io/library/b:1:\n- registry.example.com/mirror/b:1\n"
    )
    assert json.loads("".join(success_map(run, as_json=True))) == {
        "docker.io/library/a:1": ["registry.example.com/mirror/a:1"],
        "docker.io/library/b:1": ["registry.example.com/mirror/b:1"],
    }


def test_success_map_of_nothing_is_an_empty_map(ran: Any, result: Any) -> None:
    """So is that of a dry run: nothing was pushed."""
    for run in (ran(), ran(result("a:1"), dry_run=True)):
        assert "".join(success_map(run, as_json=False)) == "{}\n"
        assert "".join(success_map(run, as_json=True)) == "{}\n"


def test_success_map_is_yaml_whatever_the_reference(ran: Any) -> None:
    """An IPv6 host begins with a bracket, which YAML would take for a list."""
    source, target = "[::1]:5000/a:1", "registry.example.com:5000/a@sha256:" + "0" * 64
    written = "".join(success_map(ran(CopyResult("a", source, target, Outcome.COPIED)), as_json=False))
    reader: Any = YAML(typ="safe", pure=True)
    assert reader.load(written) == {source: [target]}
