"""A source that names one manifest by its digest: `registry/repository@sha256:...`."""

from image_syncer.config.native.native_rule_model import TagsSection
from image_syncer.errors import InvalidReference, UsageError
from image_syncer.oci import Digest
from image_syncer.sync.pattern import has_wildcard
from image_syncer.sync.rule import ByDigest


def split_pin(source: str, tags: TagsSection | None) -> tuple[str, ByDigest | None]:
    """Return *source* without its digest, and the selection of that digest; None without one.

    `UsageError` if the rule selects *tags* too. Other text behind an @ stays, and is refused with the source.
    """
    name, _, text = source.strip().rpartition("@")
    try:
        digest = Digest.parse(text) if name and "@" not in name else None
    except InvalidReference:
        digest = None
    if digest is None:
        return source, None
    if tags is not None:
        raise UsageError("tags: the source names one manifest by its digest", remedy="keep the digest or the tags")
    if has_wildcard(name):
        raise UsageError("source: a pattern of repositories with a digest", remedy="name the repository")
    return name, ByDigest(digest)
