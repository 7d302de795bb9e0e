"""Memory for each rule, repository and image: a run of 20 000 rules or 100 000 tags stays within 128 MiB.

tests/tools/test_memory.py measures whole runs; these count the bytes of a few hundred objects.
"""

import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

from image_syncer.cli.progress import Tally
from image_syncer.config.documents.document import parse_document
from image_syncer.config.documents.node import MapNode
from image_syncer.config.load import load_document
from image_syncer.config.model import Configuration
from image_syncer.oci import PlatformFilter, Repository
from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.registries import Registries
from image_syncer.roles import Stores
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.pattern import TargetTemplate
from image_syncer.sync.planner import Planner
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.sync.rule import Rule
from image_syncer.sync.tag_filter import TagFilter
from image_syncer.sync.tag_pattern import TagPattern

_COUNT = 500


class _Listings:
    """A source and its stores: every repository has 100 tags, and each request lists new strings."""

    def __init__(self) -> None:
        self.lists = 0

    def source(self, _: Repository) -> "_Listings":
        return self

    async def tags(self) -> AsyncIterator[str]:
        self.lists += 1
        for number in range(100):
            yield f"v{number}"

    async def list_digests(self, wanted: int) -> None:
        """Know no way to list digests."""


def bytes_each(make: Callable[[int], object]) -> float:
    """Return how much memory `make(number)` keeps, on average over some hundred numbers."""
    kept = [make(0)]  # What is made once, such as a cache, is there before.
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept += [make(number) for number in range(1, _COUNT)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(kept) == _COUNT
    return (after - before) / (_COUNT - 1)


def rule_of(number: int, tags: str) -> Rule:
    """Return a rule of the repository *number*."""
    source = Repository.of("q.io", f"team/a{number}")
    return Rule(f"r{number}", source, TagFilter((TagPattern(tags),)), (TargetTemplate.parse("t.io/{repository}"),))


def test_a_selection_by_one_pattern_is_small() -> None:
    """Empty sets of names and patterns are shared; a set for each would double it."""
    assert bytes_each(lambda number: TagFilter((TagPattern(f"^v{number}$"),))) < 450


async def test_a_list_of_tags_is_released_after_its_last_rule() -> None:
    """Of each repository, only the selected tags stay in memory."""
    stores = _Listings()
    planner = Planner(cast("Stores", stores), ManifestReader(cast("Stores", stores)), width=1)
    await planner.select([rule_of(_COUNT, "^v7$")])
    rules = [rule_of(number, "^v7$") for number in range(_COUNT)]
    tracemalloc.start()
    try:
        selected = await planner.select(rules)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(selected.copies) == _COUNT
    assert size / _COUNT < 2_000  # The tags of one list take 6 000 bytes.


async def test_rules_of_one_repository_share_its_list_of_tags() -> None:
    """One request, whatever else is listed in between, and whether or not a rule needs the list."""
    stores = _Listings()
    planner = Planner(cast("Stores", stores), ManifestReader(cast("Stores", stores)), width=1)
    rules = [rule_of(number, f"^v{tag}$") for tag in range(3) for number in range(2)]
    selected = await planner.select(rules)
    assert (stores.lists, len(selected.copies)) == (2, 6)


def native_rules(count: int) -> MapNode:
    """Return a native file with *count* rules."""
    rule = " - {name: rNUMBER, source: q.io/aNUMBER, targets: 't.io/{repository}', tags: '/^v[0-9]+NUMBER$/'}\n"
    rules = "".join(rule.replace("NUMBER", str(number)) for number in range(count))
    return parse_document(f"version: 1\nrules:\n{rules}".encode(), Path("rules.yaml"), remedy_if_empty="")


def test_rules_of_the_native_file_are_read_one_by_one() -> None:
    """Beside the nodes, little more than the rules is in memory; the models of all rules would take 600 bytes each."""

    def load(document: MapNode) -> Configuration:
        return load_document(document, "rules.yaml", platforms=PlatformFilter(), environment={})

    load(native_rules(1))  # What is made once is there before.
    document = native_rules(_COUNT)
    tracemalloc.start()
    try:
        configuration = load(document)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(configuration.rules) == _COUNT
    assert peak / _COUNT < 1_850


def test_an_unused_repository_is_small(tmp_path: Path) -> None:
    """A run of 20 000 rules keeps 20 000 sources and as many targets, and asks each once."""
    registries = Registries(Keychain((), environment={}, home=tmp_path), environment={})

    def both(number: int) -> object:
        repository = Repository("q.io", f"team/a{number}")
        return registries.source(repository), registries.target(repository)

    assert bytes_each(both) < 1_000


def test_the_tally_keeps_no_key_of_a_copy_that_cannot_be_retried() -> None:
    """Progress over 100 000 unchanged images costs nothing for each of them."""
    tally = Tally(lambda: 0.0)
    results = [CopyResult("r", f"q.io/a:v{number}", f"t.io/a:v{number}", Outcome.UNCHANGED) for number in range(_COUNT)]
    assert bytes_each(lambda number: tally.finished(results[number])) < 20
    assert tally.counts == {Outcome.UNCHANGED: _COUNT}
