import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench_figures import Counted, Outcome, Results, Row, Run, matrix
from bench_report import page
from contestants import CONTESTANTS, Ends
from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import single
from judge import Judge
from round_trips import BUDGET, CASES
from seeding import Pushed
from support.docker_registry import DockerRegistry
from support.skopeo import Skopeo
from support.tools import TOOL_PATH, TOOLS

_TOOL = TOOLS / "bench.py"


def _run(path: str, home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, _TOOL, "--quick", *options],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(home), "PATH": path, "TMPDIR": str(home), "COLUMNS": "120", "PYTHONPATH": TOOL_PATH},
        timeout=300,
    )


def _outcome(*seconds: float, call: str = "now", problem: str = "") -> Outcome:
    runs = [Run(each, 1.0, 30.0, 2.0) for each in seconds]
    return Outcome(call, "1.0", runs, Counted((1, 2), (3, 4)), problem)


def _row(**outcomes: Outcome) -> Row:
    named = {name.replace("_", "-"): each for name, each in outcomes.items()}
    return Row("one1g", "one image", "v3", 0.95, 0.1, hashing=True, outcomes=named)


def test_without_programs_to_compare_with_the_benchmark_refuses_to_run(tmp_path: Path) -> None:
    """Figures without a comparison would mislead."""
    result = _run(str(tmp_path), tmp_path)
    assert result.returncode == 2
    assert "not installed: docker-registry and any peer, such as skopeo" in result.stderr


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(330)
@pytest.mark.skipif(
    not (DockerRegistry.is_installed() and Skopeo.is_installed()), reason="no docker-registry or skopeo"
)
def test_a_small_benchmark_measures_all_programs_and_leaves_no_files(tmp_path: Path) -> None:
    """Every workload has a row for each program, with requests and bytes; near rows and no-ops have a floor too."""
    kept = tmp_path / "kept"
    kept.mkdir()
    rows = ("one1g-tls", "multi", "no-op", "fan-out", "far-no-op", "far-small", "growth", "plan")
    options = ("--registry", "2.8", "--programs", "image-syncer,skopeo", "--json", str(kept / "figures.json"))
    result = _run(os.environ.get("PATH", ""), tmp_path, *rows, *options)
    assert (result.returncode, list(tmp_path.iterdir())) == (0, [kept]), result.stdout + result.stderr
    results = Results.load(kept / "figures.json")
    found = {row.name: row.outcomes for row in results.rows.values()}
    both = {"image-syncer", "skopeo"}
    assert {name: set(outcomes) - {"floor"} for name, outcomes in found.items()} == {
        **dict.fromkeys(rows[:-2], both),
        "far-no-op": {"image-syncer"},
    }
    assert all(each.is_valid for outcomes in found.values() for each in outcomes.values())
    assert [name for name, outcomes in found.items() if "floor" in outcomes] == [*rows[:5]]
    counted = [outcomes["image-syncer"].counted for outcomes in found.values()]
    assert all(each is not None and min(each.bytes) > 0 for each in counted)
    assert found["no-op"]["image-syncer"].counted == Counted((31, 21), counted[2].bytes if counted[2] else (0, 0))
    cells = [re.split(r"  +", line.strip()) for line in result.stdout.splitlines()]
    grown = {(row[0], row[1]): row[6:8] for row in cells if row[0] in {"unchanged", "plan (--dry-run)"}}
    assert grown["unchanged", "100"] == ["102", "101"]
    assert grown["plan (--dry-run)", "1000"] == ["1003", "1001"]  # One asks for extensions.


def test_the_ratio_is_that_to_the_fastest_peer_that_hashes() -> None:
    """Oras leaves hashing to the target, and a wrong result does not count, however fast."""
    row = _row(
        image_syncer=_outcome(3.0, 2.0, 4.0),
        crane=_outcome(4.0),
        oras=_outcome(1.0),
        regsync=_outcome(0.5, problem="wrong: 1 tags missing or different"),
    )
    assert (row.fastest_peer(), row.ratio()) == (("crane", 4.0), 0.75)
    assert "0.75, reached" in row.verdict()
    row.hashing = False
    assert row.fastest_peer() == ("oras", 1.0)


def test_a_loss_is_on_the_page_like_a_win() -> None:
    """The fastest is bold even if it is a peer, and the verdict says that the goal was missed."""
    row = _row(image_syncer=_outcome(2.0), crane=_outcome(1.0))
    assert matrix([row]) == (
        ("workload", "image-syncer", "crane", "wanted", "reached"),
        [("one1g", "2.00", "**1.00**", "0.95", "2.00")],
    )
    results = Results("a machine", "now", trips={"one-image": 7})
    results.add(row)
    assert "(crane, 1.00 s): 2.00, missed" in page(results)
    assert f"| one-image | {CASES['one-image'].about} | 7 | {BUDGET['one-image']} |" in page(results)


def test_figures_that_were_not_rerun_are_marked(tmp_path: Path) -> None:
    """Merging keeps what a later call did not measure, and the page says from when it is."""
    file = tmp_path / "figures.json"
    earlier, later = Results("a machine", "before"), Results("a machine", "now")
    earlier.add(_row(image_syncer=_outcome(3.0, call="before"), skopeo=_outcome(4.0, call="before")))
    later.add(_row(image_syncer=_outcome(2.0)))
    earlier.save(file)
    merged = Results.load(file)
    merged.merge(later)
    assert matrix(merged.rows.values())[1] == [("one1g", "**2.00**", "4.00 †", "0.95", "0.50")]
    assert "skopeo 1.0, not rerun since before" in page(merged)


@pytest.mark.parametrize("contestant", CONTESTANTS, ids=lambda each: each.name)
@pytest.mark.parametrize("tls", [False, True])
def test_every_program_is_told_about_all_images_and_trusts_only_the_given_ca(
    contestant: object, tls: bool, tmp_path: Path
) -> None:
    """The command and its files name every repository and target, and never switch verification off over TLS."""
    each = next(other for other in CONTESTANTS if other is contestant)
    authority = tmp_path / "ca.pem"
    authority.write_text("CA")
    home = tmp_path / "home"
    home.mkdir()
    ends = Ends("s:1", ["t:1", "t:2"], {"bench/a": ["t0"], "bench/b": ["t0"]}, home, tls, authority if tls else None)
    command = each.job(each.program or "image-syncer", ends)
    told = " ".join([*command, *(file.read_text() for file in sorted(home.iterdir()))])
    assert all(name in told for name in ("s:1", "t:1", "t:2", "bench/a", "bench/b"))
    assert not (tls and re.search(r"insecure\":|plain-http|verify\"?[:=] ?false|disabled", told)), told
    assert all(json.loads(file.read_text()) is not None for file in home.glob("*.json"))


def test_the_judge_sees_missing_and_damaged_content() -> None:
    """A tag with another digest, a tag that is missing, and a blob with other bytes."""
    image, other = single("judged"), single("other")
    with FakeRegistry.in_thread() as registry:
        registry.load("app", image, "t0")
        expected = {"app": Pushed({"t0": image.digest}, {image.digest}, set(image.blobs))}
        judge = Judge(registry.host, None)
        assert (judge.wrong_tags(expected), judge.wrong_content(expected)) == (0, 0)
        expected["app"].tags |= {"t0": other.digest, "t1": image.digest}
        assert judge.wrong_tags(expected) == 2
        registry.replace_blob(next(iter(image.blobs)), b"damaged")
        assert judge.wrong_content(expected) == 1
        judge.close()
