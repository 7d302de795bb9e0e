"""The keys of rules about names at their targets: strip, rename, flatten, prefix and rename_tags."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from image_syncer.config.documents.node import quoted
from image_syncer.config.documents.source_file import SourceFile, Step
from image_syncer.config.native.native_rule_model import RuleSection
from image_syncer.errors import UsageError
from image_syncer.oci.reference import is_path
from image_syncer.sync.naming import KEEP_NAMES, Naming, Replacement
from image_syncer.sync.pattern import TargetTemplate
from image_syncer.sync.rule import Triggers

_PATH_KEYS: Final = ("strip", "rename", "flatten", "prefix")
_JOINER: Final = "-"


def parse_naming(section: RuleSection, place: Sequence[Step], config_file: SourceFile) -> Naming | None:
    """Return how the rule of *section* names its images; None if *config_file* has collected errors of it."""
    if all(getattr(section, key) is None for key in (*_PATH_KEYS, "rename_tags")):
        return KEEP_NAMES
    strip = config_file.attempt(lambda: _strip(section.strip), *place, "strip")
    renames = _replacements(section.rename, _path_replacement, (*place, "rename"), config_file)
    prefix = config_file.attempt(lambda: _components(section.prefix, "prefix"), *place, "prefix")
    tag_renames = _replacements(section.rename_tags, _tag_replacement, (*place, "rename_tags"), config_file)
    if strip is None or renames is None or prefix is None or tag_renames is None:
        return None
    flatten = _JOINER if section.flatten is True else section.flatten or ""
    return Naming(strip, renames, flatten, prefix, tag_renames)


def check_names(
    section: RuleSection,
    targets: Sequence[TargetTemplate],
    triggers: Triggers,
    place: Sequence[Step],
    config_file: SourceFile,
) -> None:
    """Collect an error for each key that no target uses, and for a target that events cannot name."""
    if not targets:
        return  # Each of them has an error of its own.
    for key in _PATH_KEYS:
        if getattr(section, key) is not None and not any(target.uses_path for target in targets):
            with config_file.collect_at(*place, key):
                raise UsageError(f"{key}: no target has {{repository}}, {{namespace}} or {{name}}")
    if section.rename_tags is not None and not any("tag" in target.placeholders for target in targets):
        with config_file.collect_at(*place, "rename_tags"):
            raise UsageError("rename_tags: no target has the tag of the source", remedy="write {tag}, or no tag")
    for number, target in enumerate(targets):
        if triggers.events and (target.needs_digest or target.is_dated):
            with config_file.collect_at(*place, "targets", number):
                name = "{digest_short}" if target.needs_digest else "{date}"
                raise UsageError(
                    f"{quoted(str(target))}: {name} in a rule with on: event: its name would change with each event",
                    remedy="use every or cron",
                )


def _strip(value: str | int | None) -> str | int:
    return value if isinstance(value, int) else _components(value, "strip")


def _components(text: str | None, key: str) -> str:
    """Return *text* without slashes around it; `UsageError` if it is no beginning of a path."""
    if text is None:
        return ""
    path = text.strip().strip("/")
    if not is_path(path):
        raise UsageError(
            f"{key}: {quoted(text)}: not the beginning of a repository's path", remedy="such as mirror or team/base"
        )
    return path


def _path_replacement(pattern: str, text: str) -> Replacement:
    if text != text.lower():
        raise UsageError(f"{quoted(text)}: a repository name must be lower case")
    return Replacement.parse(pattern, text)


def _tag_replacement(pattern: str, text: str) -> Replacement:
    if "/" in text:
        raise UsageError(f"{quoted(text)}: a tag has no slash", remedy="rename: changes the path of the repository")
    return Replacement.parse(pattern, text)


def _replacements(
    texts: Mapping[str, str] | None,
    parse: Callable[[str, str], Replacement],
    place: Sequence[Step],
    config_file: SourceFile,
) -> tuple[Replacement, ...] | None:
    found = [
        config_file.attempt(lambda pattern=pattern, text=text: parse(pattern, text), *place, pattern)
        for pattern, text in (texts or {}).items()
    ]
    known = tuple(one for one in found if one is not None)
    return known if len(known) == len(found) else None
