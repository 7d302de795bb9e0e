"""Layouts on disk as sources of rules."""

from image_syncer.config.documents.node import quoted
from image_syncer.errors import UsageError
from image_syncer.oci import Repository
from image_syncer.oci.layout_text import split_layout
from image_syncer.sync.pattern import has_wildcard


def parse_layout_source(text: str) -> Repository:
    """Return the layout, or the name in a layout, of *text*; `UsageError` for a tag, a digest or a wildcard."""
    parts = split_layout(text)
    if parts.tag is not None or parts.digest is not None:
        raise UsageError(f"{quoted(text)}: a source is a layout without a tag", remedy="select tags with tags:")
    if has_wildcard(text):
        raise UsageError(f"{quoted(text)}: a layout cannot have a wildcard", remedy="write one rule for each layout")
    return Repository.parse(text)


def refuse_layout_events(source: object) -> None:
    """Raise `UsageError` if *source* is a layout: no event would ever trigger its rule."""
    if isinstance(source, Repository) and source.is_layout:
        raise UsageError(f"{quoted(str(source))}: nothing announces a push to a layout", remedy="use every: or cron:")
