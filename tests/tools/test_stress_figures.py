"""What `cut` and `soak` take for a broken promise, without a server."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from image_syncer.testing import profiles

_TOOLS = Path(__file__).parents[2] / "tools"
_MIB = 1024 * 1024


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a module of the tool, which is no part of the package."""
    monkeypatch.setattr(sys, "path", [str(_TOOLS), *sys.path])

    def load(name: str) -> Any:
        return importlib.import_module(f"stress.{name}")

    return load


def _watch(soak_watch: Any, resident: Callable[[int], float], *, samples: int = 300) -> Any:
    """A soak with a sample each 2 s, of a process that holds as much as *resident* says of each."""
    watch = soak_watch.Watch()
    for number in range(samples):
        held = soak_watch.Held(resident(number), 20, 5, 3)
        watch.samples.append(soak_watch.Sample(number * 2.0, {"runs": held}, {"runs syncs": number}))
    return watch


def test_a_leak_is_growth(module: Callable[[str], Any]) -> None:
    """1 MiB in 10 s is seen over 10 minutes, and told with both figures."""
    grown = _watch(module("soak_watch"), lambda number: 100 + number / 5).growth()
    assert grown == ["runs: MiB went from 117.4 to 151.4"]


def test_what_goes_up_and_down_is_no_growth(module: Callable[[str], Any]) -> None:
    """Neither a saw, nor a start that is larger than what follows, nor the filling of caches at the start."""
    watch = module("soak_watch")
    assert _watch(watch, lambda number: 100 + number % 30).growth() == []
    assert _watch(watch, lambda number: 130 - number / 10).growth() == []
    assert _watch(watch, lambda number: 60 + min(number, 40)).growth() == []


def test_of_a_short_soak_nothing_is_said(module: Callable[[str], Any]) -> None:
    """A minute is not enough to tell growth from warming up."""
    assert _watch(module("soak_watch"), lambda number: 100 + number, samples=30).growth() == []


def test_a_row_has_the_median_of_its_minute_and_what_was_done_in_it(module: Callable[[str], Any]) -> None:
    """One spike is not the minute's figure; counts are those of the minute alone."""
    rows = _watch(module("soak_watch"), lambda number: 500.0 if number == 5 else 100.0, samples=60).rows()
    assert rows == [
        {"minute": 1, "runs MiB": 100.0, "runs fds": 20, "runs threads": 5, "runs tasks": 3, "runs syncs": 29},
        {"minute": 2, "runs MiB": 100.0, "runs fds": 20, "runs threads": 5, "runs tasks": 3, "runs syncs": 30},
    ]


@pytest.mark.parametrize(
    ("target", "once", "killed"),
    [
        ("oci", 1.10, 1.15),
        ("gar", 1.10, 2.0),
        ("distribution-2.8", 1.275, 2.0),
        ("docker-registry", 1.275, 2.0),
        ("zot", 1.275, 2.0),
    ],
)
def test_what_may_be_sent_depends_on_what_the_target_keeps(
    module: Callable[[str], Any], target: str, once: float, killed: float
) -> None:
    """Where a cut loses the session, at most 1.1 times the cut length beyond the size."""
    bounds = module("cut").Bounds.of(target, 256 * _MIB, 64 * _MIB)
    assert (bounds.once, bounds.killed) == (pytest.approx(once), killed)


def test_more_than_that_breaks_a_promise_and_so_does_a_failure(module: Callable[[str], Any]) -> None:
    """Each side and each killed copy by itself, with its figures."""
    cut = module("cut")
    pair = cut.Pair("docker-registry", "oci", 256 * _MIB, 64 * _MIB)
    good = cut.Sent(1.01, 1.02, 8, 1.0)
    assert list(pair.broken(good, [good])) == []
    assert list(pair.broken(cut.Sent(1.11, 1.0, 8, 1.0), [])) == [
        "docker-registry to oci: 1.110 read, 1.000 sent; at most 1.100 and 1.100 times the size"
    ]
    assert list(pair.broken(good, [good, cut.Sent(1.0, 1.16, 8, 1.0)])) == [
        "docker-registry to oci, killed: 1.000 read, 1.160 sent; at most 1.150 and 1.150 times the size"
    ]
    assert list(pair.broken(cut.Sent(1.0, 1.0, 8, 1.0, "exit code 1"), [])) == ["docker-registry to oci: exit code 1"]


@pytest.mark.parametrize(
    ("target", "read", "written", "broken"),
    [
        ("docker-registry", 1.099, 1.068, False),
        ("docker-registry", 1.099, 1.07, True),  # It loses an upload: one cut length, and a tenth of that.
        ("docker-registry", 1.101, 1.0, True),
        ("oci", 1.099, 1.099, False),
        ("oci", 1.0, 1.101, True),
    ],
)
def test_each_side_has_a_bound_of_its_own(
    module: Callable[[str], Any], target: str, read: float, written: float, broken: bool
) -> None:
    """A source keeps what it has, whatever becomes of the upload."""
    cut = module("cut")
    pair = cut.Pair("ecr", target, 1024 * _MIB, 64 * _MIB)
    assert bool(list(pair.broken(cut.Sent(read, written, 18, 1.0), []))) is broken


def test_every_profile_is_tried_at_both_ends(module: Callable[[str], Any]) -> None:
    """And what must go over one connection whole is small enough to get through."""
    options = module("cut").CutOptions(size=1024, profile_size=256, cut=64, kills=1, seed=1, only="")
    pairs = list(options.pairs())
    names = {profile.name for profile in (*profiles.ALL, profiles.MONOLITHIC)}
    assert {source for source, _ in pairs} == {target for _, target in pairs} == names | {"docker-registry"}
    assert len(pairs) == 2 * len(names) + 1
    sizes = {pair: options.size_bytes(*pair) // _MIB for pair in pairs}
    assert sizes["docker-registry", "docker-registry"] == 1024
    assert sizes["docker-registry", "monolithic"] == 48
    assert sizes["monolithic", "docker-registry"] == sizes["docker-registry", "oci"] == 256
