"""The Go tool's images file: a map from a source to one target or a list of targets."""

import re

from image_syncer.config.documents.node import ListNode, MapEntry, MapNode, Node, Scalar, describe, quoted
from image_syncer.config.documents.problems import Problems, error_at
from image_syncer.config.documents.written_text import replaced_texts, show_written
from image_syncer.config.environment import Substitution
from image_syncer.errors import UsageError
from image_syncer.oci import Digest, PlatformFilter, Repository
from image_syncer.oci.layout_text import is_layout
from image_syncer.oci.reference import is_tag, split_reference
from image_syncer.structs import Struct
from image_syncer.sync.rule import AllTags, ByDigest, Rule, RuleTarget, Selection, TagNames, TagPattern

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PATTERN_MARK = ":/"


class RuleContext(Struct):
    """The common properties of the rules of one file."""

    file: str
    platforms: PlatformFilter
    substitution: Substitution


def parse_rules(document: MapNode, context: RuleContext, problems: Problems) -> tuple[Rule, ...]:
    """Return the rules of *document* in their order; errors of single rules are collected in *problems*."""
    rules: list[Rule] = []
    for entry in document.entries:
        with problems.collect_at(context.file, entry.key):
            rules.append(_rule(entry, context))
    return tuple(rules)


def parse_source(text: str) -> tuple[Repository, Selection]:
    """Return the repository of *text* and its selection of tags.

    `repo` selects all tags, `repo:v1,v2` these tags, `repo@sha256:...` one manifest, `repo:/regex/` the tags in which
    the regular expression matches anywhere. `UsageError` for other text.
    """
    name = _plain(text, "source")
    head, mark, pattern = name.partition(_PATTERN_MARK)
    if mark:
        return _repository(head), _pattern(pattern)
    head, tags, digest = _split(name)
    if digest is not None:
        return _repository(head), ByDigest(digest)
    return _repository(head), TagNames(tuple(dict.fromkeys(_tags(tags)))) if tags is not None else AllTags()


def parse_target(text: str, selection: Selection) -> RuleTarget:
    """Return the target of *text*, whose variables are replaced already, for *selection*; `UsageError`."""
    name = _plain(text, "target")
    if _PATTERN_MARK in name:
        raise UsageError(f"{quoted(name)}: a target cannot have a regular expression", remedy="move it to the source")
    head, tags, digest = _split(name)
    if digest is not None and selection != ByDigest(digest):
        raise UsageError(
            f"{quoted(name)}: the digest of a target must be that of its source",
            remedy="leave the digest out, or give the source the same one",
        )
    target = RuleTarget(_target_repository(head), tuple(_tags(tags)) if tags is not None else ())
    _check_count(target, selection)
    return target


def _rule(entry: MapEntry, context: RuleContext) -> Rule:
    key = entry.key
    if key.kind == "null":
        raise UsageError("a rule without a source", remedy="the key of a rule is the repository to copy from")
    source, selection = parse_source(key.text)
    targets = _targets(entry.value, selection, context)
    return Rule(key.text, source, selection, targets, context.platforms, f"{context.file}:{key.line}")


def _targets(value: Node, selection: Selection, context: RuleContext) -> tuple[RuleTarget, ...]:
    """Return the targets in their order, each once."""
    items = value.items if isinstance(value, ListNode) else (value,)
    if not items:
        raise error_at("an empty list of targets", context.file, value, remedy="name a repository")
    return tuple(dict.fromkeys(_target(item, selection, context) for item in items))


def _target(node: Node, selection: Selection, context: RuleContext) -> RuleTarget:
    if not isinstance(node, Scalar) or node.kind != "text":
        raise error_at(f"expected a target, found {describe(node)}", context.file, node, remedy=_shape_remedy(node))
    text = node.text
    try:
        text = context.substitution.apply(node.text)
        return parse_target(text, selection)
    except UsageError as error:
        # Substitution leaves only an unset `$NAME` in the text.
        unset = "a variable may be unset: $NAME then stays as written" if "$" in text else None
        error = show_written(error, replaced_texts([node], context.substitution))
        raise error_at(error.message, context.file, node, remedy=error.remedy or unset) from None


def _plain(text: str, side: str) -> str:
    """Return *text* without surrounding blanks; `UsageError` if it is empty or begins with a scheme."""
    name = text.strip()
    if not name:
        raise UsageError(f"an empty {side}", remedy="write registry/repository")
    scheme = _SCHEME.match(name)
    if scheme:
        # The error does not show the rest: a URL may contain a login.
        raise UsageError(
            f"a {side} that begins with {scheme.group()[:20]}",
            remedy="leave it out; insecure: true in the auth file allows plain HTTP",
        )
    return name


def _split(name: str) -> tuple[str, str | None, Digest | None]:
    """Split *name* into repository, tags as written, and digest; at least one of the last two is None."""
    head, tags, digest_text = split_reference(name)
    if digest_text is None:
        return head, tags, None
    if "," in digest_text:
        raise UsageError(f"{quoted(head)}: more than one digest", remedy="write one rule for each digest")
    digest = Digest.parse(digest_text.strip())
    if tags is not None:
        raise UsageError(
            f"{quoted(name)}: a tag and a digest together", remedy="keep one of them; a target may have a tag instead"
        )
    return head, None, digest


def _tags(text: str) -> list[str]:
    """Return the tags of a comma-separated list."""
    tags = [item.strip() for item in text.split(",")]
    for tag in tags:
        if not tag:
            raise UsageError(f"{quoted(text)}: an empty tag", remedy="remove the extra comma or colon")
        if not is_tag(tag):
            raise UsageError(f"{quoted(tag)}: not a tag; up to 128 letters, digits, '_', '.' and '-'")
    return tags


def _pattern(text: str) -> TagPattern:
    if text == "/" or not text.endswith("/"):
        raise UsageError(
            f"{quoted(_PATTERN_MARK + text)}: a regular expression needs a slash at both ends",
            remedy="such as repository:/^v1/; leave it out for all tags",
        )
    return TagPattern.parse(text[:-1])


def _target_repository(head: str) -> Repository:
    if "," in head:
        raise UsageError(f"{quoted(head)}: not a repository", remedy="write several targets as a list")
    return _repository(head)


def _repository(head: str) -> Repository:
    if is_layout(head):
        raise UsageError(f"{quoted(head)}: layouts are for native files", remedy="see docs/reference/configuration.md")
    return Repository.parse(head)


def _check_count(target: RuleTarget, selection: Selection) -> None:
    """Refuse target tags that do not match the source tags by position; a listing has an unknown number of tags."""
    if len(set(target.tags)) < len(target.tags):
        raise UsageError(
            f"{quoted(str(target))}: a duplicate tag, so one image would replace another",
            remedy="give each its own tag",
        )
    match selection:
        case TagNames():
            wanted = len(selection.names)
        case ByDigest():
            wanted = 1
        case _:
            return
    if target.tags and len(target.tags) != wanted:
        raise UsageError(
            f"{quoted(str(target))}: {len(target.tags)} tags for {wanted} tags of the source",
            remedy="give as many tags as the source has, in the same order, or none to keep them",
        )


def _shape_remedy(node: Node) -> str:
    if isinstance(node, MapNode):
        return "a file with auth and images goes to --config"
    return "a target is a text, such as registry.example.com/team/app, or a list of such texts"
