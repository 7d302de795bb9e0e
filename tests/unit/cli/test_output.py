import json
from typing import Any

import pytest
from ruamel.yaml import YAML

from image_syncer.cli.output import show, success_map, summary
from image_syncer.oci import Digest
from image_syncer.oci.referrer import ReferrerKind
from image_syncer.sync.referrer_report import SUBJECT_CHANGED, ReferrerProblem, ReferrerReport
from image_syncer.sync.result import CopyResult, Outcome, RunResult, Transferred


def text(result: RunResult, *, lists_copies: bool = False) -> str:
    """Return the whole summary."""
    return "\n".join(str(line) for line in summary(result, lists_copies=lists_copies))


def test_the_summary_counts_every_outcome_and_the_bytes(ran: Any, result: Any) -> None:
    """Mounted bytes are named beside copied ones."""
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


def test_failures_with_the_same_reason_are_grouped(ran: Any, result: Any) -> None:
    """A registry that is down fails many images."""
    cause = {"side": "target", "step": "resolve", "reason": "down", "remedy": "start it"}
    down = [result(f"{name}:1", Outcome.FAILED, **cause) for name in "ac"]
    other = result("b:1", Outcome.FAILED, side="source", step="resolve", reason="not found")
    shown = text(ran(down[0], other, down[1]))
    assert shown.count("target: resolve: down") == shown.count("start it") == 1
    assert shown.index("a:1") < shown.index("c:1") < shown.index("target: resolve: down") < shown.index("b:1")


def test_a_failure_is_shown_with_its_reason_and_remedy(ran: Any, result: Any) -> None:
    """The summary names references, side, step, reason and remedy."""
    failed = result("a:1", Outcome.FAILED, side="target", step="push blob", reason="denied", remedy="log in")
    assert (
        "  failed\n"
        "    docker.io/library/a:1 → registry.example.com/mirror/a:1\n"
        "      target: push blob: denied\n"
        "      → log in\n"
    ) in text(ran(failed))


def test_skipped_images_are_grouped_by_reason(ran: Any, result: Any) -> None:
    """An interrupted run skips hundreds for one reason; the summary names ten of them."""
    images = [result(f"a:{n}", Outcome.SKIPPED, reason="interrupted") for n in range(300)]
    shown = text(ran(*images, result("b:1", Outcome.SKIPPED, reason="no manifest fits the platform filter")))
    assert "    interrupted: 300 images\n" in shown
    assert "      and 290 more; --report FILE lists them all\n" in shown
    assert "    no manifest fits the platform filter: 1 image\n" in shown
    assert shown.count("→") == 11


def test_the_summary_is_bounded_with_many_failures(ran: Any, result: Any) -> None:
    """The summary names fifty failures; the report has the rest."""
    shown = text(ran(*(result(f"a:{n}", Outcome.FAILED, reason="denied") for n in range(10_000))))
    assert "and 9950 more; --report FILE lists them all" in shown
    assert len(shown.splitlines()) < 130


def test_unchanged_images_are_only_counted_and_copied_ones_named_on_request(ran: Any, result: Any) -> None:
    """The summary of a thousand images fits on one screen."""
    run = ran(result("a:1"), result("b:1", Outcome.UNCHANGED))
    assert "library/" not in text(run)
    listed = text(run, lists_copies=True)
    assert "library/a:1" in listed
    assert "library/b:1" not in listed


def test_the_summary_of_a_dry_run_says_so_and_names_the_images(ran: Any, result: Any) -> None:
    """A dry run cannot be mistaken for a real one."""
    shown = text(ran(result("a:1"), dry_run=True))
    assert "Dry run: nothing was changed." in shown
    assert "  would be copied   1\n  unchanged         0\n  would be skipped  0\n  failed            0\n" in shown
    assert "would be copied\n    docker.io/library/a:1 → registry.example.com/mirror/a:1  sha256:" in shown


DIGEST = Digest.of(b"a signature")


def refused(reason: str) -> ReferrerProblem:
    """Return a signature that the target refuses for *reason*."""
    return ReferrerProblem(DIGEST, ReferrerKind.SIGNATURE, reason)


def test_the_summary_says_what_became_of_referrers(ran: Any, result: Any) -> None:
    """It counts them over all images, and names refused ones with their reason; without any it has no such line."""
    first = ReferrerReport(copied=2, refused=(refused("denied\x1b[2J"),))
    second = ReferrerReport(copied=1, not_carried=(refused(SUBJECT_CHANGED),))
    shown = text(ran(result("a:1", referrers=first), result("b:1", referrers=second)))
    assert "\n  referrers: 3 copied, 1 refused, 1 not carried\n  2.3 s, requests: " in shown
    assert (
        "\n\n  referrers refused\n"
        "    docker.io/library/a:1 → registry.example.com/mirror/a:1\n"
        f"      signature {DIGEST}: denied\\x1b[2J\n"
    ) in shown
    assert "library/b:1" not in shown
    assert "referrers" not in text(ran(result("a:1", referrers=ReferrerReport()), result("b:1")))


def test_the_summary_counts_the_referrers_of_two_tags_of_one_image_once(ran: Any, result: Any) -> None:
    """Tags of one manifest in one repository share its referrers; another repository has its own."""
    report = ReferrerReport(copied=2, not_carried=(refused(SUBJECT_CHANGED),))
    names = ("a:1", "a:2", "b:1")
    shown = text(ran(*(result(name, referrers=report) for name in names)))
    assert "\n  referrers: 4 copied, 2 not carried\n" in shown


def test_refused_referrers_are_bounded(ran: Any, result: Any) -> None:
    """A target that takes none of them does not fill the screen."""
    many = ReferrerReport(refused=tuple(refused("denied") for _ in range(1000)))
    shown = text(ran(*(result(f"a{n}:1", referrers=many) for n in range(1000))))
    assert "  referrers: 1000000 refused\n" in shown
    assert "      and 990 more; --report FILE lists them all\n" in shown
    assert "    and 990 more; --report FILE lists them all\n" in shown
    assert len(shown.splitlines()) < 140


def test_the_summary_counts_unchanged_images_without_a_look_at_their_referrers(ran: Any, result: Any) -> None:
    """A run without a state says so once."""
    shown = text(ran(result("a:1", Outcome.UNCHANGED), unchecked_referrers=1))
    assert shown.count("referrers of 1 unchanged image not compared; --referrers or a state does that\n") == 1


def test_control_characters_of_a_registry_are_escaped(
    ran: Any, result: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Escape sequences and line breaks do not reach the terminal."""
    show(summary(ran(result("a:1", Outcome.FAILED, reason="\x1b[2J\nfailed 0", remedy="\x9b1m")), lists_copies=False))
    shown = capsys.readouterr().out
    assert "\\x1b[2J\\x0afailed 0" in shown
    assert "\x1b" not in shown
    assert "\x9b" not in shown


def test_the_success_map_has_the_copied_images_sorted_by_source(ran: Any, result: Any) -> None:
    """Like that of the Go tool, it has no unchanged and no failed images."""
    run = ran(result("b:1"), result("a:1"), result("c:1", Outcome.UNCHANGED), result("d:1", Outcome.FAILED))
    assert "".join(success_map(run, as_json=False)) == (
        "docker.io/library/a:1:\n- registry.example.com/mirror/a:1\n"
        "docker.io/library/b:1:\n- registry.example.com/mirror/b:1\n"
    )
    assert json.loads("".join(success_map(run, as_json=True))) == {
        "docker.io/library/a:1": ["registry.example.com/mirror/a:1"],
        "docker.io/library/b:1": ["registry.example.com/mirror/b:1"],
    }


def test_the_success_map_without_copies_is_empty(ran: Any, result: Any) -> None:
    """A dry run pushes nothing, so its map is empty, too."""
    for run in (ran(), ran(result("a:1"), dry_run=True)):
        assert "".join(success_map(run, as_json=False)) == "{}\n"
        assert "".join(success_map(run, as_json=True)) == "{}\n"


def test_every_reference_is_valid_in_the_yaml_map(ran: Any) -> None:
    """An IPv6 host begins with a bracket, which starts a list in YAML."""
    source, target = "[::1]:5000/a:1", "registry.example.com:5000/a@sha256:" + "0" * 64
    written = "".join(success_map(ran(CopyResult("a", source, target, Outcome.COPIED)), as_json=False))
    reader: Any = YAML(typ="safe", pure=True)
    assert reader.load(written) == {source: [target]}
