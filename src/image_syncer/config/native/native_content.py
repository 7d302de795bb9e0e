"""Keys of rules that select images by what they are, and say in which form to copy them."""

from collections.abc import Mapping, Sequence

from image_syncer.config.documents.node import quoted
from image_syncer.config.documents.source_file import SourceFile, Step
from image_syncer.config.native.native_rule_model import RuleSection
from image_syncer.errors import UsageError
from image_syncer.oci import PlatformFilter
from image_syncer.oci.content_selection import NO_CONTENT_SELECTION, ContentSelection, IndexForm, Texts
from image_syncer.structs import replace
from image_syncer.sync.content_filter import KINDS
from image_syncer.sync.tag_pattern import TagPattern


def with_content(
    platforms: PlatformFilter, section: RuleSection, place: Sequence[Step], config_file: SourceFile
) -> PlatformFilter | None:
    """Return *platforms* with the selection by content of *section*; None if *config_file* has collected errors."""
    types = config_file.attempt(lambda: _types(section.artifacts or ()), *place, "artifacts")
    texts = {
        key: config_file.attempt(lambda key=key: _texts(getattr(section, key) or {}), *place, key)
        for key in ("annotations", "labels", "entries")
    }
    form = IndexForm(section.index)
    if section.convert is not None and form.is_sparse:
        config_file.attempt(_refuse_sparse_conversion, *place, "index")
        return None
    if types is None or None in texts.values():
        return None
    known = {key: value or () for key, value in texts.items()}
    content = ContentSelection(types, **known, to_oci=section.convert is not None, index=form)
    return platforms if content == NO_CONTENT_SELECTION else replace(platforms, content=content)


def _refuse_sparse_conversion() -> None:
    raise UsageError("index: a converted index cannot be sparse", remedy="index: trimmed")


def _types(names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if name not in KINDS and "/" not in name:
            raise UsageError(
                f"{quoted(name)}: not a type of artifact", remedy=f"{', '.join(KINDS)}, or a media type with * in it"
            )
    return tuple(dict.fromkeys(names))


def _texts(values: Mapping[str, str]) -> Texts:
    for text in values.values():
        if len(text) > len("//") and text.startswith("/") and text.endswith("/"):
            TagPattern.parse(text[1:-1])
    return tuple(values.items())
