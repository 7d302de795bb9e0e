"""The limits that `cut` and `soak` enforce, without a server."""

from collections.abc import Callable

import pytest

from image_syncer.testing import profiles
from stress import cut, soak_watch

_MIB = 1024 * 1024


def _watch(resident: Callable[[int], float], *, samples: int = 300) -> soak_watch.Watch:
    """A soak with a sample every 2 s of a process; *resident* gives its MiB at each sample."""
    watch = soak_watch.Watch()
    for number in range(samples):
        held = soak_watch.Held(resident(number), 20, 5, 3)
        watch.samples.append(soak_watch.Sample(number * 2.0, {"runs": held}, {"runs syncs": number}))
    return watch


def test_a_leak_counts_as_growth() -> None:
    """1 MiB in 10 s is detected over 10 minutes, and reported with both figures."""
    grown = _watch(lambda number: 100 + number / 5).growth()
    assert grown == ["runs: MiB went from 117.4 to 151.4"]


def test_fluctuation_is_not_growth() -> None:
    """Neither a sawtooth, nor an initial peak, nor caches that fill at the start."""
    assert _watch(lambda number: 100 + number % 30).growth() == []
    assert _watch(lambda number: 130 - number / 10).growth() == []
    assert _watch(lambda number: 60 + min(number, 40)).growth() == []


def test_a_short_soak_reports_no_growth() -> None:
    """A minute is too short to tell growth from warming up."""
    assert _watch(lambda number: 100 + number, samples=30).growth() == []


def test_a_row_has_the_median_and_the_counts_of_its_minute() -> None:
    """A single spike does not change a minute's figure."""
    rows = _watch(lambda number: 500.0 if number == 5 else 100.0, samples=60).rows()
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
def test_the_allowed_traffic_depends_on_what_the_target_keeps(target: str, once: float, killed: float) -> None:
    """If a cut loses the session, at most 1.1 times the cut length is added to the size."""
    bounds = cut.Bounds.of(target, 256 * _MIB, 64 * _MIB)
    assert (bounds.once, bounds.killed) == (pytest.approx(once), killed)


def test_excess_traffic_and_failures_break_a_promise() -> None:
    """For each side and each killed copy separately, with its figures."""
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
        ("docker-registry", 1.099, 1.07, True),  # It loses an upload: one cut length plus 10 %.
        ("docker-registry", 1.101, 1.0, True),
        ("oci", 1.099, 1.099, False),
        ("oci", 1.0, 1.101, True),
    ],
)
def test_each_side_has_its_own_limit(target: str, read: float, written: float, broken: bool) -> None:
    """A source keeps its data, whatever happens to the upload."""
    pair = cut.Pair("ecr", target, 1024 * _MIB, 64 * _MIB)
    assert bool(list(pair.broken(cut.Sent(read, written, 18, 1.0), []))) is broken


def test_every_profile_is_tested_on_both_sides() -> None:
    """Blobs that must pass in one connection are small enough for that."""
    options = cut.CutOptions(size=1024, profile_size=256, cut=64, kills=1, seed=1, only="")
    pairs = list(options.pairs())
    names = {profile.name for profile in (*profiles.ALL, profiles.MONOLITHIC)}
    assert {source for source, _ in pairs} == {target for _, target in pairs} == names | {"docker-registry"}
    assert len(pairs) == 2 * len(names) + 1
    sizes = {pair: options.size_bytes(*pair) // _MIB for pair in pairs}
    assert sizes["docker-registry", "docker-registry"] == 1024
    assert sizes["docker-registry", "monolithic"] == 48
    assert sizes["monolithic", "docker-registry"] == sizes["docker-registry", "oci"] == 256
