"""The file `index.json` of a layout: which manifests it has, and under which names. No I/O."""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Final, TypeVar, cast

from image_syncer.bounded_json import JsonObject, parse_object
from image_syncer.errors import NotFound, ProtocolError, TooLarge
from image_syncer.oci import Descriptor, Digest, media_type
from image_syncer.oci.manifest import parse_descriptors
from image_syncer.oci.reference import is_tag, split_reference
from image_syncer.structs import replace

INDEX_LIMIT_BYTES: Final = 16 * 1024 * 1024
ENTRIES_LIMIT: Final = 50_000

_VALUES_LIMIT: Final = 1_000_000
_SHOWN_NAMES: Final = 5
_DEFAULT_TAG: Final = "latest"
_REF_NAME: Final = "org.opencontainers.image.ref.name"
_FULL_NAME: Final = "io.containerd.image.name"

_Key = TypeVar("_Key")

Name = tuple[str, str]
"""The name of a repository in the layout, empty without one; and the tag."""


class LayoutIndex:
    """The entries of an `index.json`. Keys and entries that this tool does not know stay as they are."""

    def __init__(self, document: JsonObject, what: str) -> None:
        self._what = what
        self._document = document
        self._count = 0
        self._entries: dict[int, tuple[Descriptor, JsonObject]] = {}
        self._named: dict[Name, dict[int, Descriptor]] = {}
        self._by_tag: dict[str, dict[int, Descriptor]] = {}
        self._by_digest: dict[Digest, dict[int, Descriptor]] = {}
        raw: object = document.get("manifests")
        entries = parse_descriptors(raw, f"{what}: index.json", ENTRIES_LIMIT)
        for entry, original in zip(entries, cast("list[JsonObject]", raw or []), strict=True):
            self._add(entry, original)

    @classmethod
    def parse(cls, content: bytes, what: str) -> "LayoutIndex":
        """Return the index in *content*; `ProtocolError` if it is none, `TooLarge` beyond 16 MiB or 50 000 entries."""
        if len(content) > INDEX_LIMIT_BYTES:
            raise TooLarge(f"{what}: index.json: larger than {INDEX_LIMIT_BYTES // 1024**2} MiB")
        return cls(parse_object(content, f"{what}: index.json", values=_VALUES_LIMIT), what)

    @classmethod
    def empty(cls, what: str) -> "LayoutIndex":
        """Return an index without entries."""
        return cls({"schemaVersion": 2, "mediaType": media_type.OCI_INDEX, "manifests": []}, what)

    @property
    def entries(self) -> Iterable[Descriptor]:
        """The entries in their order."""
        return (entry for entry, _ in self._entries.values())

    def content(self) -> bytes:
        """Return the bytes of the file; `TooLarge` if this tool could not read them again."""
        document = {**self._document, "manifests": [raw for _, raw in self._entries.values()]}
        content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        if len(self._entries) > ENTRIES_LIMIT or len(content) > INDEX_LIMIT_BYTES:
            raise TooLarge(
                f"{self._what}: index.json: more than {ENTRIES_LIMIT} entries or {INDEX_LIMIT_BYTES // 1024**2} MiB",
                remedy="use several layouts, such as oci:DIR/{repository}",
            )
        return content

    def find(self, name: str, tag: str) -> Descriptor:
        """Return the entry of *tag* in the repository *name*; `NotFound`, or `ProtocolError` if there are several.

        Without a *name*, an entry with any name has the tag. The tag `latest` also finds the only entry of a layout if
        that has no name at all, as several tools write it.
        """
        found = self._named.get((name, tag)) or (None if name else self._by_tag.get(tag))
        if not found and not name and tag == _DEFAULT_TAG:
            found = self._only_unnamed()
        if not found:
            raise NotFound(f"{self._what}: no image {_text((name, tag))!r}; it has {self._listed()}")
        entries = {entry.digest: entry for entry in found.values()}
        if len(entries) > 1:
            names = [_text(one) for one in self._named if one[1] == tag]
            raise ProtocolError(
                f"{self._what}: several images have the tag {tag!r}: {_some(names)}", remedy="add the name, or a digest"
            )
        return next(iter(entries.values()))

    def find_digest(self, digest: Digest) -> Descriptor | None:
        """Return the entry of *digest*, None without one."""
        return next(iter(self._by_digest.get(digest, {}).values()), None)

    def tags(self, name: str) -> Mapping[str, Digest | None]:
        """Return the tags of the repository *name* and the digest of each; None if several images have the tag.

        Without a *name*, those of all repositories; `latest` for the only entry if that has no name.
        """
        if name:
            found = {tag: entries for (other, tag), entries in self._named.items() if other == name}
        else:
            found = {tag: self._named.get(("", tag)) or entries for tag, entries in self._by_tag.items()}
            if not found and (only := self._only_unnamed()):
                found = {_DEFAULT_TAG: only}
        digests = {tag: {entry.digest for entry in entries.values()} for tag, entries in found.items()}
        return {tag: several.pop() if len(several) == 1 else None for tag, several in digests.items()}

    def put(self, name: Name | None, entry: Descriptor, children: Collection[Digest] = ()) -> None:
        """Add *entry*, under *name* if there is one, in place of all that has that name.

        Entries without a name are dropped if *entry* covers them: one of its *children*, or the same with a name.
        """
        if name is None:
            self._remove_unnamed(children)
            if entry.digest not in self._by_digest:
                self._add(entry, entry_document(entry))
            return
        for key in tuple(self._named.get(name, {})):
            self._remove(key)
        self._remove_unnamed((entry.digest, *children))
        named = replace(entry, annotations={**entry.annotations, _REF_NAME: _text(name)})
        self._add(named, entry_document(named))

    def _remove_unnamed(self, digests: Iterable[Digest]) -> None:
        for digest in digests:
            for key, listed in tuple(self._by_digest.get(digest, {}).items()):
                if not _names(listed):
                    self._remove(key)

    def _only_unnamed(self) -> dict[int, Descriptor]:
        if len(self._entries) != 1:
            return {}
        key, (entry, _) = next(iter(self._entries.items()))
        return {} if _names(entry) else {key: entry}

    def _listed(self) -> str:
        return _some([_text(name) for name in self._named]) if self._named else "no names"

    def _add(self, entry: Descriptor, raw: JsonObject) -> None:
        self._count += 1
        self._entries[self._count] = entry, raw
        self._by_digest.setdefault(entry.digest, {})[self._count] = entry
        for name in _names(entry):
            self._named.setdefault(name, {})[self._count] = entry
            self._by_tag.setdefault(name[1], {})[self._count] = entry

    def _remove(self, key: int) -> None:
        entry, _ = self._entries.pop(key)
        _drop(self._by_digest, entry.digest, key)
        for name in _names(entry):
            _drop(self._named, name, key)
            _drop(self._by_tag, name[1], key)


def entry_document(entry: Descriptor) -> JsonObject:
    """Return the JSON form of *entry*, with the annotations that it has."""
    document: JsonObject = {"mediaType": entry.media_type, "digest": str(entry.digest), "size": entry.size}
    if entry.artifact_type:
        document["artifactType"] = entry.artifact_type
    if entry.annotations:
        document["annotations"] = dict(entry.annotations)
    return document


def parse_name(text: str) -> Name | None:
    """Return the name and tag in *text*, such as `v1` or `docker.io/library/nginx:v1`; None if it has no tag."""
    if is_tag(text):
        return "", text
    name, tag, digest = split_reference(text)
    return None if tag is None or digest is not None or not name or not is_tag(tag) else (name, tag)


def _names(entry: Descriptor) -> frozenset[Name]:
    texts = (entry.annotations.get(key) for key in (_REF_NAME, _FULL_NAME))
    return frozenset(name for text in texts if text and (name := parse_name(text)) is not None)


def _text(name: Name) -> str:
    return ":".join(filter(None, name))


def _some(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN_NAMES])
    return f"{shown} and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else shown


def _drop(entries: dict[_Key, dict[int, Descriptor]], at: _Key, key: int) -> None:
    del entries[at][key]
    if not entries[at]:
        del entries[at]
