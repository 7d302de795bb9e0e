"""The files of the Go tool: logins (`auth`) and rules (`images`), in one file or two."""

import re
from collections.abc import Sequence
from typing import Final

from image_syncer.config.convert.conversion import Conversion, Value, literal
from image_syncer.config.convert.fields import Fields
from image_syncer.config.documents.node import ListNode, MapEntry, MapNode, Node, Scalar, describe
from image_syncer.config.documents.problems import Problems, error_at
from image_syncer.config.environment import Substitution
from image_syncer.config.go_tool.auth_file import parse_auth
from image_syncer.config.go_tool.images_file import parse_source, parse_target
from image_syncer.errors import UsageError
from image_syncer.registry.settings import RegistryAccount
from image_syncer.sync.rule import AllTags, ByDigest, Selection, TagNames

_VARIABLE: Final = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")


class KeptVariables(Substitution):
    """Replaces no variable: writes `$NAME` and `${NAME}` as the native file does, `${NAME}`, and `$$` as `$`."""

    def apply(self, text: str) -> str:
        """Return *text* as a value of the native file."""
        if not self.bare_names:
            return text
        return _VARIABLE.sub(lambda found: "$" if found[1] else f"${{{found[2] or found[3]}}}", text)


def convert_go_tool(document: Node, conversion: Conversion) -> None:
    """Add a file with `auth` and `images`, or with one of them alone, to *conversion*."""
    file = Fields.of(document, conversion)
    auth, images = _find(file, "auth"), _find(file, "images")
    if auth is None and images is None:
        entries = file.node.entries
        is_auth = bool(entries) and all(isinstance(entry.value, MapNode) for entry in entries)
        auth, images = (file.node, None) if is_auth else (None, file.node)
    if auth is not None:
        convert_auth(auth, conversion, KeptVariables({}, bare_names=images is None))
    if images is not None:
        convert_images(images, conversion)


def convert_auth(node: MapNode, conversion: Conversion, variables: KeptVariables | None = None) -> None:
    """Add the logins of *node* to *conversion*."""
    problems = Problems()
    accounts = parse_auth(node, conversion.file, variables or KeptVariables({}), problems)
    problems.raise_found()
    for account in accounts:
        conversion.registry(account.prefix).update(_section(account))


def convert_images(node: MapNode, conversion: Conversion) -> None:
    """Add the rules of *node* to *conversion*."""
    problems = Problems()
    for entry in node.entries:
        with problems.collect_at(conversion.file, entry.key):
            _convert_rule(entry, conversion)
    problems.raise_found()


def _find(file: Fields, key: str) -> MapNode | None:
    entry = next((one for one in file.node.entries if one.key.text.lower() == key), None)
    if entry is None:
        return None
    return Fields.of(entry.value, file.conversion, key).node


def _section(account: RegistryAccount) -> dict[str, Value]:
    section: dict[str, Value] = {}
    if account.credential is not None:
        section |= {"username": account.credential.username, "password": account.credential.password}
    if account.cloud is not None:
        section["auth"] = account.cloud
    if account.insecure:
        section["insecure"] = True
    return section


def _convert_rule(entry: MapEntry, conversion: Conversion) -> None:
    source, selection = parse_source(entry.key.text)
    targets = [_target(item, conversion) for item in _items(entry.value)]
    if isinstance(selection, ByDigest):
        plain = [_plain_target(text, selection).partition("@")[0] for text in targets]
        conversion.add_rule(entry.key.text, f"{source}@{selection.digest}", plain)
        return
    keeping: list[str] = []
    for text in targets:
        renamed = _renamed_tags(text, selection, entry, conversion)
        if not renamed:
            keeping.append(_plain_target(text, selection))
        for tag, target in renamed:
            conversion.add_rule(entry.key.text, str(source), [target], tags=[tag])
    if keeping:
        conversion.add_rule(entry.key.text, str(source), keeping, tags=_tags(selection))


def _items(value: Node) -> Sequence[Node]:
    return value.items if isinstance(value, ListNode) else (value,)


def _target(node: Node, conversion: Conversion) -> str:
    if not isinstance(node, Scalar) or node.kind != "text":
        raise error_at(f"expected a target, found {describe(node)}", conversion.file, node)
    return KeptVariables({}).apply(node.text).strip()


def _plain_target(text: str, selection: Selection) -> str:
    """Return the whole name of the target *text*; with variables it stays as it is, unchecked."""
    return text if "${" in text else str(parse_target(literal(text), selection))


def _renamed_tags(text: str, selection: Selection, entry: MapEntry, conversion: Conversion) -> list[tuple[str, str]]:
    """Return each tag of the source with its target, if the target renames tags by position."""
    if "${" in text:
        return []
    target = parse_target(text, selection)
    if not target.tags:
        return []
    if isinstance(selection, TagNames):
        pairs = zip(selection.names, target.tags, strict=True)
        return [(name, f"{target.repository}:{tag}") for name, tag in pairs]
    if len(target.tags) > 1:
        conversion.lose(entry.key.line, "tags by position for a list of tags that only the registry knows")
        return []
    raise UsageError("one target tag for tags that only the registry knows", remedy="write {tag}, or leave it out")


def _tags(selection: Selection) -> Value:
    match selection:
        case AllTags():
            return None
        case TagNames():
            return list(selection.names)
        case _:
            return [str(selection)]
