"""References on the command line."""

from image_syncer.errors import UsageError
from image_syncer.oci import Reference, Repository
from image_syncer.oci.reference import split_reference

_LAYOUTS = ("oci:", "oci-archive:")


def parse_source(text: str) -> Reference:
    """Return the reference to read; without tag and digest its tag is `latest`."""
    _check_scheme(text)
    return Reference.parse(text)


def parse_target(text: str, source: Reference) -> Reference:
    """Return the reference to write; without tag and digest it gets those of *source*."""
    _check_scheme(text)
    _, tag, digest = split_reference(text)
    bare = tag is None and digest is None
    target = source.in_repository(Repository.parse(text)) if bare else Reference.parse(text)
    if target == source:
        raise UsageError(f"{text}: source and target are the same")
    if target.digest is not None and source.digest is not None and target.digest != source.digest:
        raise UsageError(f"{text}: a copy has the digest of its source", remedy="leave the digest out, or name a tag")
    if target.digest is not None and source.tag is not None:
        raise UsageError(
            f"{text}: the digest of the tag {source.tag} is not known yet", remedy="name a tag as the target"
        )
    return target


def parse_repository(text: str) -> Repository:
    """Return the repository; a tag or digest is refused."""
    _check_scheme(text)
    name, tag, digest = split_reference(text)
    if tag is not None or digest is not None:
        raise UsageError(f"{text}: a repository has neither tag nor digest", remedy=f"write {name}")
    return Repository.parse(text)


def _check_scheme(text: str) -> None:
    if text.startswith(_LAYOUTS):
        raise UsageError(
            f"{text}: this version of image-syncer cannot copy image layouts",
            remedy="name a repository at a registry, such as registry.example.com/team/app:v1",
        )
    scheme, separator, rest = text.partition("://")
    if separator:
        raise UsageError(f"{text}: references have no scheme such as {scheme}://", remedy=f"write {rest}")
