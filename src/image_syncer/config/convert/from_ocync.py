"""ocync's file: registries by name, groups of targets, and mappings."""

import re
from typing import Final

from image_syncer.config.convert.conversion import Conversion, Value, semver_range, tags_of
from image_syncer.config.convert.fields import Fields
from image_syncer.config.documents.node import ListNode, Node
from image_syncer.config.documents.problems import error_at
from image_syncer.registry.auth.cloud_providers import cloud_by_host

_PRERELEASES: Final = ("*-rc*", "*-alpha*", "*-beta*", "*-pre*", "*-snapshot*", "*-nightly*")
_GLOB_MARKS: Final = re.compile(r"[*?\[]")
_ORDERS: Final = {"semver": "semver", "alpha": "name"}
_CLOUDS: Final = ("ecr", "gar", "gcr", "acr")
_TUNING: Final = "image-syncer finds the right value by itself"


class _Names:
    """The registries of a file by their names, and its groups of targets."""

    def __init__(self, file: Fields) -> None:
        self._file = file
        self._hosts = {name: _convert_registry(section) for name, section in _named(file.section("registries"))}
        groups = file.section("target_groups")
        self._groups = {name: groups.texts(name) for name in groups.names()}

    def host(self, name: str, place: Fields, key: str) -> str:
        """Return the host of the registry *name*; `ConfigError` without it."""
        if name not in self._hosts:
            raise error_at(
                f"{key}: no registry is called {name!r}",
                place.conversion.file,
                place.node_of(key),
                remedy=f"known: {', '.join(self._hosts)}",
            )
        return self._hosts[name]

    def targets(self, place: Fields) -> list[str]:
        """Return the hosts of `targets` in *place*: a group, or registries."""
        names = place.texts("targets")
        grouped = self._groups.get(names[0]) if len(names) == 1 else None
        if isinstance(place.get("targets"), ListNode):
            grouped = None
        return [self.host(name, place, "targets") for name in grouped or names]


def convert_ocync(document: Node, conversion: Conversion) -> None:
    """Add what the file *document* says to *conversion*."""
    file = Fields.of(document, conversion)
    file.note("global", why=_TUNING)
    names, defaults = _Names(file), file.section("defaults")
    for mapping in file.sections("mappings"):
        _convert_mapping(mapping, defaults, names)
    for key in ("source", "targets", "platforms", "artifacts", "tags"):
        defaults.get(key)
    defaults.finish()
    file.finish()


def _named(sections: Fields) -> list[tuple[str, Fields]]:
    return [(name, sections.section(name)) for name in sections.names()]


def _convert_registry(registry: Fields) -> str:
    host = registry.required("url").removeprefix("https://").rstrip("/")
    section: dict[str, Value] = {}
    login = registry.section("credentials")
    for key in ("username", "password"):
        value = login.text(key)
        if value is not None:
            section[key] = value  # Its variables have our form.
    login.finish()
    kind = registry.text("auth_type")
    cloud = cloud_by_host(host) if kind in _CLOUDS else None
    if cloud is not None:
        section["auth"] = cloud
    elif kind in _CLOUDS:
        registry.conversion.lose(registry.line_of("auth_type"), f"auth_type {kind}: use the vendor's login helper")
    registry.lose("token", why="image-syncer needs a user name and a password")
    most = registry.text("max_concurrent")
    if most and most.isdecimal() and int(most):
        section["limits"] = {"requests": min(1000, int(most))}
    registry.note("head_first", why="image-syncer always asks by HEAD first")
    registry.finish()
    if section:
        registry.conversion.registry(host).update(section)
    return host


def _convert_mapping(mapping: Fields, defaults: Fields, names: _Names) -> None:
    conversion = mapping.conversion
    path = mapping.required("from").strip("/")
    source = names.host(*_own_or_default("source", mapping, defaults))
    place = mapping if mapping.get("targets") is not None else defaults
    mapping.text("to")
    targets = [f"{host}/{(mapping.text('to') or path).strip('/')}" for host in names.targets(place)]
    if not targets:
        raise error_at("a mapping without targets", conversion.file, mapping.node)
    keys: dict[str, Value] = {"platforms": mapping.texts("platforms") or defaults.texts("platforms")}
    artifacts = mapping if mapping.get("artifacts") is not None else defaults
    keys["referrers"] = _referrers(artifacts.section("artifacts"))
    for tags in _selections(mapping.section("tags"), defaults.section("tags")):
        conversion.add_rule(path, f"{source}/{path}", targets, tags=tags, **keys)
    mapping.finish()


def _own_or_default(key: str, mapping: Fields, defaults: Fields) -> tuple[str, Fields, str]:
    own = mapping.text(key)
    return (own, mapping, key) if own is not None else (defaults.required(key), defaults, key)


def _referrers(artifacts: Fields) -> Value:
    if artifacts.truth("enabled") is False:
        return False
    section: dict[str, Value] = {}
    for theirs, ours in (("include", "types"), ("exclude", "exclude")):
        kinds = artifacts.texts(theirs)
        if kinds:
            section[ours] = kinds
    artifacts.lose("require_artifacts", why="use trust: with require: to demand signatures or SBOMs")
    artifacts.finish()
    return section or None


def _selections(tags: Fields, defaults: Fields) -> list[Value]:
    """Return the selections of tags. Names in `include` pass every filter, so they are a rule of their own."""

    def texts(key: str) -> list[str]:
        own, inherited = tags.texts(key), defaults.texts(key)
        return own or inherited

    def text(key: str) -> str | None:
        own, inherited = tags.text(key), defaults.text(key)
        return own or inherited

    include = texts("include")
    names = [one for one in include if not _GLOB_MARKS.search(one)]
    rescued = [one for one in include if _GLOB_MARKS.search(one)]
    globs = [one for one in texts("glob") if one != "*"]
    hard = tags.texts("exclude")
    soft = [*defaults.texts("exclude"), *_PRERELEASES]
    if rescued:
        soft = [one for one in soft if one not in rescued]
        if set(rescued) & set(_PRERELEASES) != set(rescued):
            tags.conversion.lose(tags.line_of("include"), "include: a glob here passes the default excludes")
        globs += rescued if globs else []
    latest, sort, least = text("latest"), text("sort"), text("min_tags")
    keys: dict[str, Value] = {}
    if latest and latest.isdecimal():
        by = _ORDERS.get(sort or "semver", "semver")
        keys["latest"] = int(latest) if by == "semver" else {"by": by, "keep": int(latest)}
    if least and least.isdecimal() and int(least):
        keys["min_tags"] = int(least)
    for place in (tags, defaults):
        place.note("immutable_tags", why="use recheck_targets: to ask for unchanged tags less often")
    exclude = list(dict.fromkeys([*hard, *soft]))
    ranged = semver_range(text("semver") or "")
    tags.finish()
    defaults.finish()
    pipeline = tags_of(
        globs, exclude, semver=ranged, **({"prereleases": True, "suffix": "*"} if ranged else {}), **keys
    )
    return [names, pipeline] if names else [pipeline]
