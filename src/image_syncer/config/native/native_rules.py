"""Rules of the native file."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from croniter import CroniterError, croniter

from image_syncer.config.documents.node import quoted
from image_syncer.config.documents.source_file import SourceFile, Step
from image_syncer.config.native.native_content import with_content
from image_syncer.config.native.native_images import check_list_target, parse_image_list
from image_syncer.config.native.native_layouts import parse_layout_source, refuse_layout_events
from image_syncer.config.native.native_names import check_names, parse_naming
from image_syncer.config.native.native_pin import split_pin
from image_syncer.config.native.native_referrers import parse_referrers
from image_syncer.config.native.native_repositories import parse_repository_keys
from image_syncer.config.native.native_rule_model import RuleSection
from image_syncer.config.native.native_tags import check_triggers, parse_selection
from image_syncer.errors import UsageError
from image_syncer.oci import Digest, PlatformFilter, Repository
from image_syncer.oci.layout_text import is_layout
from image_syncer.oci.reference import split_reference
from image_syncer.roles.ways import ALL_WAYS
from image_syncer.structs import Struct, replace
from image_syncer.sync.image_lists import ImageList
from image_syncer.sync.naming import KEEP_NAMES, Naming
from image_syncer.sync.pattern import SourcePattern, TargetTemplate, has_wildcard
from image_syncer.sync.rule import (
    AllTags,
    ByDigest,
    Cron,
    Every,
    Rule,
    Schedule,
    Selection,
    TagNames,
    Triggers,
)

SHORTEST_INTERVAL_SECONDS: Final = 10.0
"""Shortest interval of a rule; more frequent runs would only load the registries."""

_SCHEDULE_KEYS: Final = ("every", "cron", "timezone", "jitter")
_CRON_FIELDS: Final = 5
_RANDOM_FIELD: Final = re.compile(r"(?<![A-Za-z])[HhRr](?![A-Za-z])")
_ANY_DAY: Final = datetime(2025, 1, 1, tzinfo=UTC)
_HUB_PAGES: Final = frozenset({"hub.docker.com", "www.docker.com"})
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SAMPLE_TAG: Final = "x"
_SAMPLE_DIGEST: Final = Digest.of(b"")
_SAMPLE_DATE: Final = "2000-01-31"


def parse_rule(section: RuleSection, number: int, config_file: SourceFile, platforms: PlatformFilter) -> Rule | None:
    """Return the rule of *section*, the file's *number*-th; None if *config_file* has collected errors of it."""
    place: tuple[Step, ...] = ("rules", number)
    source, pin = _source(section, place, config_file)
    selection = pin or config_file.attempt(
        lambda: parse_selection(section.tags, (*place, "tags"), config_file), *place, "tags"
    )
    kept = config_file.attempt(lambda: PlatformFilter.parse(platforms=section.platforms or ()), *place, "platforms")
    filtered = None if kept is None else with_content(platforms or kept, section, place, config_file)
    schedule_key = next((key for key in _SCHEDULE_KEYS if getattr(section, key) is not None), "name")
    schedule = config_file.attempt(lambda: _schedule(section), *place, schedule_key)
    referrers = parse_referrers(section.referrers, (*place, "referrers"), config_file)
    if source is None:
        return None
    triggers = Triggers(schedule, "event" in section.on)
    if triggers.events:
        with config_file.collect_at(*place, "on"):
            refuse_layout_events(source)
    repositories = parse_repository_keys(section, source, triggers, place, config_file)
    naming = parse_naming(section, place, config_file)
    targets = _targets(section, _Sources(source, selection or AllTags(), naming or KEEP_NAMES), place, config_file)
    check_names(section, targets or (), triggers, place, config_file)
    if selection is None or filtered is None or targets is None or referrers is None or repositories is None:
        return None
    if naming is None:
        return None
    config_file.attempt(lambda: check_triggers(selection, triggers), *place, "tags", "min_age")
    return Rule(
        section.name,
        source,
        selection,
        targets,
        filtered,
        config_file.location(*place),
        triggers,
        recheck_seconds=None if section.recheck_targets is None else section.recheck_targets.total_seconds() or None,
        renames_digests=section.other_digests == "rename",
        nondistributable_layers=section.nondistributable_layers,
        referrers=referrers,
        repositories=repositories.repositories,
        lists=repositories.lists,
        max_repositories=repositories.max_repositories,
        naming=naming,
        ways=ALL_WAYS if section.ways is None else frozenset(section.ways),
    )


def _source(
    section: RuleSection, place: tuple[Step, ...], config_file: SourceFile
) -> tuple[Repository | SourcePattern | ImageList | None, ByDigest | None]:
    """Return the source, and the digest that it names; None for either after collected errors or without one."""
    if section.images_from is not None:
        return parse_image_list(section, place, config_file), None
    text = section.source or ""
    name, pin = config_file.attempt(lambda: split_pin(text, section.tags), *place, "tags") or ("", None)
    return config_file.attempt(lambda: parse_source(name), *place, "source") if name else None, pin


def parse_source(text: str) -> Repository | SourcePattern:
    """Return the repository or the pattern of repositories in *text*; `UsageError` for other text."""
    name = text.strip()
    if is_layout(name):
        return parse_layout_source(name)
    scheme = _SCHEME.match(name)
    if scheme:
        # The error does not show the rest: a URL may contain a login.
        raise UsageError(f"a source that begins with {scheme.group()[:20]}", remedy="leave it out")
    if name.partition("/")[0] in _HUB_PAGES:
        raise UsageError(
            f"{quoted(name)}: a web page, not a registry",
            remedy="write docker.io/library/nginx for an official image, docker.io/team/app for others",
        )
    _, tag, digest = split_reference(name)
    if digest is not None:
        raise UsageError("a source cannot have an @", remedy="leave the login out; a digest is sha256: and 64 digits")
    if tag is not None:
        raise UsageError(f"{quoted(name)}: a source is a repository without a tag", remedy="select tags with tags:")
    return SourcePattern.parse(name) if has_wildcard(name) else Repository.parse(name)


class _Sources(Struct):
    """What a rule copies, to check its targets with."""

    source: Repository | SourcePattern | ImageList
    selection: Selection
    naming: Naming


def _targets(
    section: RuleSection,
    wanted: _Sources,
    place: Sequence[Step],
    config_file: SourceFile,
) -> tuple[TargetTemplate, ...] | None:
    """Return the targets in their order, each once."""

    def target(text: str, at: int) -> TargetTemplate:
        return _target(config_file.substitute(text, *place, "targets", at), wanted)

    found = [
        config_file.attempt(lambda text=text, at=at: target(text, at), *place, "targets", at)
        for at, text in enumerate(section.targets)
    ]
    known = tuple(dict.fromkeys(one for one in found if one is not None))
    return known if None not in found else None


def _target(text: str, wanted: _Sources) -> TargetTemplate:
    source, selection = wanted.source, wanted.selection
    name = text.strip()
    scheme = _SCHEME.match(name)
    if scheme:
        raise UsageError(
            f"a target that begins with {scheme.group()[:20]}",
            remedy="leave it out; insecure: true under registries: allows plain HTTP",
        )
    template = TargetTemplate.parse(name)
    if isinstance(source, ImageList):
        return check_list_target(template, name)
    is_pattern = isinstance(source, SourcePattern)
    sample = (source.sample if is_pattern else source).tag(_SAMPLE_TAG)
    # Only the path of a real source shows what the rule makes of it.
    naming = KEEP_NAMES if is_pattern else wanted.naming
    if naming.tag_renames:
        naming = replace(naming, tag_renames=())
    if template.fill(sample, naming, digest=_SAMPLE_DIGEST, date=_SAMPLE_DATE) == sample:
        raise UsageError(f"{quoted(name)}: source and target are the same")
    if template.renames_all and isinstance(selection, TagNames) and len(selection.names) > 1:
        raise UsageError(
            f"{quoted(name)}: one tag for {len(selection.names)} images, so one would replace another",
            remedy="write {tag}, or leave the tag out",
        )
    return template


def _schedule(section: RuleSection) -> Schedule | None:
    jitter = section.jitter.total_seconds() if section.jitter else 0.0
    if section.every is not None and section.cron is not None:
        raise UsageError("every and cron exclude each other", remedy="keep one of them, or write two rules")
    if section.timezone is not None and section.cron is None:
        raise UsageError("timezone needs cron", remedy="leave it out; an interval has no time zone")
    if section.every is not None:
        return _every(section.every.total_seconds(), jitter)
    if section.cron is not None:
        return Cron(_cron(section.cron), _timezone(section.timezone or "UTC"), jitter)
    if jitter:
        raise UsageError("jitter needs every or cron", remedy="leave it out")
    return None


def _every(seconds: float, jitter: float) -> Every:
    if seconds < SHORTEST_INTERVAL_SECONDS:
        raise UsageError(f"every: shorter than {SHORTEST_INTERVAL_SECONDS:.0f} s", remedy="on: [event] reacts faster")
    if jitter > seconds:
        raise UsageError("jitter: longer than every")
    return Every(seconds, jitter)


def _cron(text: str) -> str:
    """Return *text* with single blanks; `UsageError` if it is no cron expression or never matches."""
    expression = " ".join(text.split())
    if len(expression.split()) != _CRON_FIELDS:
        raise UsageError(
            f"cron: {quoted(text)} does not have {_CRON_FIELDS} fields",
            remedy="minute hour day month weekday, such as 15 3 * * *",
        )
    if _RANDOM_FIELD.search(expression):
        raise UsageError(f"cron: {quoted(text)}: H and R have no fixed time", remedy="use jitter for a random time")
    try:
        croniter(expression, _ANY_DAY).get_next(datetime)
    except CroniterError as error:
        raise UsageError(f"cron: {quoted(text)}: not a cron expression, or it never matches") from error
    return expression


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise UsageError(
            f"timezone: unknown time zone {quoted(name)}",
            remedy="such as Europe/Berlin, or UTC; the package tzdata has them",
        ) from error
    return name
