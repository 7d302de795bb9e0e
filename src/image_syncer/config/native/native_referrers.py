"""The `referrers:` of rules and of `defaults:`."""

from collections.abc import Sequence

from image_syncer.config.documents.node import quoted
from image_syncer.config.documents.source_file import SourceFile, Step
from image_syncer.config.native.native_rule_model import ReferrersSection
from image_syncer.errors import UsageError
from image_syncer.oci.reference import split_reference
from image_syncer.oci.referrer import ReferrerKind
from image_syncer.sync.pattern import TargetTemplate
from image_syncer.sync.referrer_settings import DEFAULT_RECHECK_SECONDS, DEFAULT_REFERRERS, ReferrerSettings


def merge_sections(own: ReferrersSection | None, defaults: ReferrersSection | None) -> ReferrersSection | None:
    """Return the section of a rule with those keys of *defaults* that it does not have itself."""
    if own is None or defaults is None:
        return own or defaults
    keys = own.model_fields_set
    return own.model_copy(update={key: value for key, value in defaults if key not in keys})


def parse_referrers(
    section: ReferrersSection | None, place: Sequence[Step], config_file: SourceFile
) -> ReferrerSettings | None:
    """Return the settings of *section*; None if *config_file* has collected errors of it."""
    if section is None:
        return DEFAULT_REFERRERS
    source = config_file.attempt(lambda: _template(section.from_), *place, "from")
    target = config_file.attempt(lambda: _template(section.to), *place, "to")
    types = config_file.attempt(lambda: _types(section.types), *place, "types")
    exclude = config_file.attempt(lambda: _types(section.exclude), *place, "exclude")
    if types is None or exclude is None or (section.from_ and source is None) or (section.to and target is None):
        return None
    recheck = DEFAULT_RECHECK_SECONDS if section.recheck is None else section.recheck.total_seconds()
    return ReferrerSettings(
        enabled=section.enabled is not False,
        types=types,
        exclude=exclude,
        legacy_tags=section.legacy_tags is not False,
        recheck_seconds=recheck,
        required=section.required is True,
        source=source,
        target=target,
    )


def _template(text: str | None) -> TargetTemplate | None:
    if text is None:
        return None
    if split_reference(text.strip())[1] is not None:
        raise UsageError(f"{quoted(text)}: a repository without a tag", remedy="leave the tag out")
    template = TargetTemplate.parse(text.strip())
    if template.needs_digest or template.is_dated:
        raise UsageError(f"{quoted(text)}: neither {{digest_short}} nor {{date}} are allowed here")
    return template


def _types(texts: Sequence[str] | None) -> tuple[str, ...]:
    """Return the types; `UsageError` for a word that is no kind, which would match nothing."""
    for text in texts or ():
        if "/" not in text and "*" not in text and text not in set(ReferrerKind):
            kinds = ", ".join(ReferrerKind)
            raise UsageError(f"{quoted(text)}: neither an artifact type nor a kind", remedy=f"kinds are {kinds}")
    return tuple(dict.fromkeys(texts or ()))
