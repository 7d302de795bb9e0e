"""Peak memory of whole runs: at most 128 MiB, whatever their size. Measured as in the benchmark."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import lab
import seeding
from image_syncer.testing.images import single
from support.docker_registry import DockerRegistry
from support.subprocess_helper import HelperProcess
from support.tools import TOOLS

_MIB = 1024 * 1024
BUDGET_MIB = 128
VALIDATION_MIB = 110


@pytest.fixture
def registries(tmp_path: Path) -> Iterator[Callable[[int], list[DockerRegistry]]]:
    """Start this many registries, which end with the test."""
    with ExitStack() as stack:
        yield lambda count: [stack.enter_context(DockerRegistry(parent=tmp_path)) for _ in range(count)]


def peak_mib(home: Path, *arguments: str) -> float:
    """Run the command line and return its peak memory in MiB."""
    cost = lab.measure([lab.our_command(), *arguments, "--quiet"], lab.clean_environment(home))
    return cost.peak_bytes / _MIB


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(not DockerRegistry.is_installed(), reason="no docker-registry")
@pytest.mark.parametrize("targets", [1, 3])
def test_sixteen_transfers_at_once_stay_within_the_budget(
    targets: int, registries: Callable[[int], list[DockerRegistry]], tmp_path: Path
) -> None:
    """384 MiB in blobs of 24 MiB: buffering them would take three times the budget."""
    source, *others = registries(1 + targets)
    layers = [seeding.gzip_layer(f"memory/{number}", 24 * _MIB) for number in range(16)]
    with seeding.Seeder(source.host) as seeder:
        seeder.push("team/big", single("big", layers=layers), ["v1"])
    ends = [f"{registry.host}/team/big:v1" for registry in (source, *others)]
    assert peak_mib(tmp_path, "copy", "--proc", "16", *ends) <= BUDGET_MIB
    for registry in others:
        stored = list((registry.storage / "docker/registry/v2/blobs").glob("*/*/*/data"))
        assert len(stored) == 16 + 2  # Layers, config and manifest.


@pytest.mark.slow
def test_twenty_thousand_rules_stay_within_the_budget(tmp_path: Path) -> None:
    """Each rule has its own regular expression; keeping 20 000 compiled ones, or sections, would exceed the budget."""
    rule = " - {name: rNUMBER, source: q.io/aNUMBER, targets: 't.io/{repository}', tags: '/^v[0-9]+NUMBER$/'}\n"
    rules = "".join(rule.replace("NUMBER", str(number)) for number in range(20_000))
    file = tmp_path / "rules.yaml"
    file.write_text(f"version: 1\nrules:\n{rules}", encoding="utf-8")
    assert peak_mib(tmp_path, "config", "validate", "-c", str(file)) <= VALIDATION_MIB


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("known", "options"), [(True, ()), (False, ("--dry-run",))])
def test_a_hundred_thousand_tags_stay_within_the_budget(known: bool, options: tuple[str, ...], tmp_path: Path) -> None:
    """Either all tags are up to date, or all are planned for copying."""
    program, tags = TOOLS / "tag_server.py", 100_000
    source, target = (HelperProcess(program, [str(tags), answer]) for answer in ("1", "1" if known else "0"))
    try:
        rules = tmp_path / "rules.yaml"
        hosts = [f"127.0.0.1:{registry.ready['port']}/bench/many" for registry in (source, target)]
        rules.write_text(f"{hosts[0]}: {hosts[1]}\n", encoding="utf-8")
        assert peak_mib(tmp_path, "sync", "--images", str(rules), *options) <= BUDGET_MIB
        assert source.ask()["requests"] > tags
    finally:
        source.stop()
        target.stop()
