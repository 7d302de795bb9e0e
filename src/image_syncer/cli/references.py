"""References on the command line."""

from image_syncer.errors import UsageError
from image_syncer.oci import Reference, Repository
from image_syncer.oci.layout_text import DOCKER_ARCHIVE, is_layout, scheme_of, split_layout
from image_syncer.oci.reference import split_reference


def parse_source(text: str) -> Reference:
    """Return the reference to read; without tag and digest its tag is `latest`."""
    _check_scheme(text)
    return Reference.parse(text)


def parse_target(text: str, source: Reference) -> Reference:
    """Return the reference to write; without tag and digest it gets those of *source*."""
    _check_scheme(text)
    bare = _is_bare(text)
    target = source.in_repository(Repository.parse(text)) if bare else Reference.parse(text)
    if scheme_of(target.repository.registry) == DOCKER_ARCHIVE:
        raise UsageError(f"{text}: a docker-archive can only be a source", remedy="write oci-archive:FILE")
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
    if is_layout(text):
        return Repository.parse(text)
    name, tag, digest = split_reference(text)
    if tag is not None or digest is not None:
        raise UsageError(f"{text}: a repository has neither tag nor digest", remedy=f"write {name}")
    return Repository.parse(text)


def _is_bare(text: str) -> bool:
    """Whether *text* has neither tag nor digest."""
    if is_layout(text):
        parts = split_layout(text)
        return parts.tag is None and parts.digest is None
    _, tag, digest = split_reference(text)
    return tag is None and digest is None


def _check_scheme(text: str) -> None:
    scheme, separator, rest = text.partition("://")
    if separator and not is_layout(text):
        raise UsageError(f"{text}: references have no scheme such as {scheme}://", remedy=f"write {rest}")
