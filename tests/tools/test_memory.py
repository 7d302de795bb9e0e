"""Peak memory of whole runs: at most 128 MiB, whatever their size. Measured as in the benchmark."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
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
VALIDATION_MIB = 100


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
    """Each rule has its own regular expression; keeping 20 000 compiled ones, or models, would exceed the budget."""
    rule = " - {name: rNUMBER, source: q.io/aNUMBER, targets: 't.io/{repository}', tags: '/^v[0-9]+NUMBER$/'}\n"
    rules = "".join(rule.replace("NUMBER", str(number)) for number in range(20_000))
    file = tmp_path / "rules.yaml"
    file.write_text(f"version: 1\nrules:\n{rules}", encoding="utf-8")
    assert peak_mib(tmp_path, "config", "validate", "-c", str(file)) <= VALIDATION_MIB


@contextmanager
def tag_registries(tags: int, *, known: bool) -> Generator[list[HelperProcess]]:
    """Start a source with this many *tags*, and a target that has the same ones if it is *known*."""
    answers = ("1", "1" if known else "0")
    with ExitStack() as stack:
        registries = [HelperProcess(TOOLS / "tag_server.py", [str(tags), answer]) for answer in answers]
        for registry in registries:
            stack.callback(registry.stop)
        yield registries


def native_file(path: Path, registries: Iterable[HelperProcess], rules: str) -> Path:
    """Write a native file with *rules*, in which SOURCE and TARGET stand for the two registries."""
    hosts = [f"127.0.0.1:{registry.ready['port']}" for registry in registries]
    sections = "".join(f"  {host}: {{insecure: true}}\n" for host in hosts)
    text = rules.replace("SOURCE", hosts[0]).replace("TARGET", hosts[1])
    path.write_text(f"version: 1\nregistries:\n{sections}rules:\n{text}", encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_dry_run_of_twenty_thousand_rules_stays_within_the_budget(tmp_path: Path) -> None:
    """Each rule selects one of the 20 tags of its own repository by a regular expression of its own."""
    rule = " - {name: rNUMBER, source: SOURCE/aNUMBER, targets: 'TARGET/{repository}', tags: '/^t(3|rNUMBER)$/'}\n"
    with tag_registries(20, known=False) as registries:
        rules = "".join(rule.replace("NUMBER", str(number)) for number in range(20_000))
        file = native_file(tmp_path / "rules.yaml", registries, rules)
        assert peak_mib(tmp_path, "sync", "--dry-run", "-c", str(file)) <= BUDGET_MIB
        assert registries[0].ask()["requests"] > 20_000


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("known", "options"), [(True, ("--state", "state.db")), (False, ("--dry-run",))])
def test_a_hundred_thousand_tags_stay_within_the_budget(known: bool, options: tuple[str, ...], tmp_path: Path) -> None:
    """Either all tags are up to date, or all are planned for copying."""
    tags, rule = 100_000, " - {name: many, source: SOURCE/bench/many, targets: 'TARGET/{repository}'}\n"
    options = tuple(str(tmp_path / option) if option == "state.db" else option for option in options)
    with tag_registries(tags, known=known) as registries:
        file = native_file(tmp_path / "rules.yaml", registries, rule)
        assert peak_mib(tmp_path, "sync", "-c", str(file), *options) <= BUDGET_MIB
        assert registries[0].ask()["requests"] > tags
