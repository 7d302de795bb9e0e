"""The `tags:` of rules."""

import re
from collections.abc import Sequence
from typing import Final

from image_syncer.config.documents.source_file import SourceFile, Step
from image_syncer.config.native.native_rule_model import LatestSection, TagsSection
from image_syncer.errors import InvalidReference, UsageError
from image_syncer.oci.reference import is_tag
from image_syncer.sync.pattern import TagGlob
from image_syncer.sync.rule import AllTags, Selection, TagNames, Triggers
from image_syncer.sync.tag_filter import TagFilter, TagMatcher
from image_syncer.sync.tag_pattern import TagPattern
from image_syncer.sync.tag_selection import Latest, TagSelection, TagVersions

_SUFFIX: Final = re.compile(r"(?:[-_.][A-Za-z0-9_.-]{0,127})?")
_MORE_KEYS: Final = ("semver", "suffix", "prereleases", "min_age", "newer_than", "min_tags", "latest")


def parse_selection(section: TagsSection | None, place: Sequence[Step], config_file: SourceFile) -> Selection | None:
    """Return the selection of *section* at *place*; None if *config_file* has collected errors of it."""
    section = section or TagsSection()
    include = _matchers(section.include or (), (*place, "include"), config_file)
    exclude = _matchers(section.exclude or (), (*place, "exclude"), config_file)
    has_more = any(getattr(section, key) is not None for key in _MORE_KEYS)
    more = _pipeline(section, TagFilter(include or (), exclude or ()), place, config_file) if has_more else None
    if include is None or exclude is None:
        return None
    if has_more:
        return more
    if not include and not exclude:
        return AllTags()
    wanted = TagFilter(include, exclude)
    if not include or not all(isinstance(one, str) for one in include):
        return wanted
    # A selection by names needs no tag listing.
    names = wanted.select(())
    if not names:
        raise UsageError("tags: exclude removes all included tags")
    return TagNames(tuple(names))


def check_triggers(selection: Selection, triggers: Triggers) -> None:
    """Raise `UsageError` if *triggers* never run a rule when a tag that *selection* delays is old enough."""
    delays = isinstance(selection, TagSelection) and selection.min_age_seconds is not None
    if delays and triggers.events and triggers.schedule is None:
        raise UsageError(
            "min_age: the event of a push comes before the image is old enough, so nothing would be copied",
            remedy="add every: or cron:, which copies it later",
        )


def parse_matcher(text: str) -> TagMatcher:
    """Return the tag, the glob or the `/regular expression/` of *text*; `InvalidReference`."""
    if _is_regex(text):
        return TagPattern.parse(text[1:-1])
    return text if is_tag(text) else TagGlob.parse(text)


def _is_regex(text: str) -> bool:
    return text.startswith("/") and text.endswith("/") and len(text) > len("//")


def _matchers(texts: Sequence[str], place: Sequence[Step], config_file: SourceFile) -> tuple[TagMatcher, ...] | None:
    found = [config_file.attempt(lambda text=text: parse_matcher(text), *place, at) for at, text in enumerate(texts)]
    known = tuple(dict.fromkeys(one for one in found if one is not None))
    return known if None not in found else None


def _pipeline(
    section: TagsSection, names: TagFilter, place: Sequence[Step], config_file: SourceFile
) -> TagSelection | None:
    before = config_file.problems.count
    latest = config_file.attempt(lambda: _latest(section.latest), *place, "latest")
    versions = _versions(section, latest, place, config_file)
    least = section.min_age.total_seconds() if section.min_age else None
    most = section.newer_than.total_seconds() if section.newer_than else None
    with config_file.collect_at(*place, "newer_than"):
        if least is not None and most is not None and most <= least:
            raise UsageError("newer_than is not longer than min_age, so no tag would be selected")
    if config_file.problems.count > before:
        return None
    return TagSelection(names, versions, least, most, latest, section.min_tags or 0)


def _versions(
    section: TagsSection, latest: Latest | None, place: Sequence[Step], config_file: SourceFile
) -> TagVersions | None:
    by_version = latest is not None and latest.by == "semver"
    if section.semver is None and section.suffix is None and not by_version:
        with config_file.collect_at(*place, "prereleases"):
            if section.prereleases is not None:
                raise UsageError("prereleases needs semver, suffix or latest by semver", remedy="write semver: '*' too")
        return None
    suffixes = [
        config_file.attempt(lambda text=text: _suffix(text), *place, "suffix", at)
        for at, text in enumerate(section.suffix or ("",))
    ]
    known = tuple(dict.fromkeys(suffix for suffix in suffixes if suffix is not None))
    wanted = None
    if section.semver is not None:
        # Most files have no range of versions, whose module takes a while to import.
        from image_syncer.sync.versions import VersionRange  # noqa: PLC0415 - see above

        text = section.semver
        wanted = config_file.attempt(lambda: VersionRange.parse(text), *place, "semver")
    return TagVersions(wanted, known, prereleases=bool(section.prereleases))


def _suffix(text: str) -> TagMatcher:
    if _is_regex(text):
        return TagPattern.parse(text[1:-1])
    if set(text) & set("*?"):
        return TagGlob.parse(text)
    if not _SUFFIX.fullmatch(text):
        raise InvalidReference(
            f"{text[:200]!r}: no suffix of a version", remedy="it begins with -, _ or a dot, such as -alpine"
        )
    return text


def _latest(section: LatestSection | None) -> Latest | None:
    if section is None:
        return None
    if section.per != "none" and section.by != "semver":
        raise UsageError(f"latest: per: {section.per} needs by: semver", remedy="leave per out")
    if section.groups is not None and section.per == "none":
        raise UsageError("latest: groups needs per: major or per: minor", remedy="leave groups out, or add per")
    return Latest(section.keep, section.by, section.per, section.groups)
