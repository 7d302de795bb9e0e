"""Finds rules that write one target from different sources, as far as the rules alone tell. Pure."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from image_syncer.errors import CopyFailed
from image_syncer.oci import Reference, Repository
from image_syncer.structs import replace
from image_syncer.sync.pairing import pair_up
from image_syncer.sync.pattern import SourcePattern, TargetTemplate
from image_syncer.sync.plan import Copy
from image_syncer.sync.repository_filter import ALL_REPOSITORIES
from image_syncer.sync.rule import ByDigest, Rule, TagNames

_SAMPLE_TAG: Final = "0"


def find_collisions(rules: Sequence[Rule]) -> Iterator[str]:
    """Yield a warning for each two of *rules* that certainly write one target from different sources.

    Only rules that name a repository and its tags, or a digest, are compared: what the others select is known when they
    run. Takes time and memory in proportion to the number of targets.
    """
    # Most repositories have one writer, so at first only their hashes are kept, and one tag of each rule is named.
    seen: set[int] = set()
    repeated: set[int] = set()
    for rule in rules:
        for number in _repositories(rule):
            (repeated if number in seen else seen).add(number)
    if not repeated:
        return
    first_writers: dict[Reference, tuple[Rule, Copy]] = {}
    reported: set[tuple[str, str]] = set()
    for rule in rules:
        if repeated.isdisjoint(_repositories(rule)):
            continue
        for copy in _certain_copies(rule):
            other, first = first_writers.setdefault(copy.target, (rule, copy))
            pair = other.name, rule.name
            if first.source != copy.source and pair not in reported:
                reported.add(pair)
                yield (
                    f"{other.origin} and {rule.origin}: rules {other.name!r} and {rule.name!r} both write "
                    f"{copy.target}, from {first.source} and {copy.source} (give one of them another target)"
                )


def find_overlaps(rules: Sequence[Rule]) -> Iterator[str]:
    """Yield a warning for each rule that selects the same tags as an earlier one, of another source, for one target.

    A run would fail the second image of a tag that both sources have, and events would replace one by the other.
    """
    # Hashes first: 20 000 rules that write different targets need no targets in memory.
    once: set[int] = set()
    repeated: set[int] = set()
    for rule in rules:
        for key in _selected_targets(rule):
            (repeated if hash(key) in once else once).add(hash(key))
    if not repeated:
        return
    first_writers: dict[tuple[Reference, str], Rule] = {}
    for rule in rules:
        for key in _selected_targets(rule):
            if hash(key) not in repeated:
                continue
            other = first_writers.setdefault(key, rule)
            if other.source != rule.source:
                written = _written(rule, key[0])
                yield (
                    f"{other.origin} and {rule.origin}: rules {other.name!r} and {rule.name!r} both write "
                    f"{written}, from {other.source} and {rule.source}: tags that both have collide "
                    "(give one of them another target)"
                )


def find_merges(rules: Sequence[Rule]) -> Iterator[str]:
    """Yield a warning for each target in which all repositories of a pattern would end as one."""
    for rule in rules:
        if not isinstance(rule.source, SourcePattern):
            continue
        for target in rule.targets:
            if isinstance(target, TargetTemplate) and not target.uses_path:
                yield (
                    f"{rule.origin}: rule {rule.name!r} writes all repositories of {rule.source} to {target} "
                    "(write {repository} or {name} in the target)"
                )


def _written(rule: Rule, target: Reference) -> object:
    """Return what of *rule* makes the sample *target*: the template, if its source is a pattern."""
    if not isinstance(rule.source, SourcePattern):
        return target.repository
    sample = rule.source.sample.tag(_SAMPLE_TAG)
    copies = {one: pair_up(replace(rule, targets=(one,)), [sample]).copies for one in rule.targets}
    return next(one for one, made in copies.items() if target in {copy.target for copy in made})


def _selected_targets(rule: Rule) -> Iterator[tuple[Reference, str]]:
    """Yield each target of a sample tag of *rule*, with its selection of images.

    Nothing for rules of named tags, which are compared by these, and for patterns that are narrowed.
    """
    source, selected = rule.source, str(rule.selection)
    if isinstance(source, SourcePattern):
        if rule.repositories != ALL_REPOSITORIES:
            return
        source, selected = source.sample, f"{source.path} {selected}"
    elif not isinstance(source, Repository) or isinstance(rule.selection, TagNames | ByDigest):
        return
    with suppress(CopyFailed):
        for copy in pair_up(rule, [source.tag(_SAMPLE_TAG)]).copies:
            yield copy.target, selected


def _repositories(rule: Rule) -> list[int]:
    """Return the hashes of the target repositories of *rule*; each twice if its own tags may collide."""
    numbers = [hash(copy.target.repository) for copy in _certain_copies(rule, 1)]
    return numbers * 2 if rule.naming.tag_renames else numbers


def _certain_copies(rule: Rule, most: int | None = None) -> Sequence[Copy]:
    """Return the copies of the first *most* tags (None: all) that *rule* makes whatever its registry answers."""
    source = rule.source
    if not isinstance(source, Repository) or not isinstance(rule.selection, TagNames | ByDigest):
        return ()
    selection = rule.selection
    if isinstance(selection, ByDigest):
        references = [source.at(selection.digest)]
    else:
        references = [source.tag(name) for name in selection.names[:most]]
    try:
        return pair_up(rule, references).copies
    except CopyFailed:
        return ()
