"""dregsy's file: tasks with a source, a target and mappings of image paths."""

import base64
import re
from typing import Final

from image_syncer.bounded_json import parse_object
from image_syncer.config.convert.conversion import Conversion, Value, literal, semver_range, tags_of
from image_syncer.config.convert.fields import Fields
from image_syncer.config.documents.node import Node
from image_syncer.config.documents.problems import error_at
from image_syncer.errors import StoreError
from image_syncer.registry.auth.cloud_providers import cloud_by_host

_REGEX: Final = "regex:"
_SEMVER: Final = "semver:"
_KEEP: Final = "keep:"
_KEEP_COUNT: Final = re.compile(r"keep:\s*latest\s+([0-9]+)")
_GROUP: Final = re.compile(r"\$(?:\{([0-9]+)\}|([0-9]+))")
_DIGEST: Final = re.compile(r"(?:([A-Za-z0-9_][A-Za-z0-9._-]*)@)?(sha256:[0-9a-f]{64})")


def convert_dregsy(document: Node, conversion: Conversion) -> None:
    """Add what the file *document* says to *conversion*."""
    file = Fields.of(document, conversion)
    file.note("relay", "docker", why="image-syncer copies by itself, without a relay")
    skopeo = file.section("skopeo")
    skopeo.note("binary", why="image-syncer copies by itself, without a relay")
    skopeo.lose("certs-dir", why="name its files in ca: and client_certificate: of the registry")
    skopeo.finish()
    file.note("lister", "watch", why="image-syncer lists, and reads a changed file, by itself")
    for task in file.sections("tasks"):
        _convert_task(task)
    file.finish()


def _convert_task(task: Fields) -> None:
    name = task.required("name")
    source, target = (_convert_location(task.section(side)) for side in ("source", "target"))
    interval = task.text("interval")
    keys: dict[str, Value] = {"every": f"{interval}s"} if interval and interval != "0" else {}
    task.note("verbose", why="use --debug")
    for mapping in task.sections("mappings"):
        _convert_mapping(mapping, name, (source, target), keys)
    task.finish()


def _convert_location(location: Fields) -> str:
    """Return the registry of *location*, and add its login."""
    host = location.required("registry")
    section: dict[str, Value] = {}
    auth = location.text("auth")
    if auth is not None and auth != "none":
        section |= _login(auth, location)
    if location.truth("skip-tls-verify"):
        section["insecure"] = True
    cloud = cloud_by_host(host)
    if location.get("auth-refresh") is not None and cloud is not None:
        section["auth"] = cloud
    else:
        location.lose("auth-refresh", why="image-syncer renews logins of clouds by itself, but this is none it knows")
    location.lose("lister", why="image-syncer lists repositories by the registry's catalogue")
    location.finish()
    if section:
        location.conversion.registry(host).update(section)
    return host


def _login(auth: str, location: Fields) -> dict[str, Value]:
    if auth.startswith("${"):
        location.conversion.lose(location.line_of("auth"), "auth: a variable with user name and password in one")
        return {}
    try:
        login = parse_object(base64.b64decode(auth), "auth")
        username, password = (login.get(key) for key in ("username", "password"))
    except (ValueError, StoreError):  # Their texts may quote the login.
        username = password = None
    if not isinstance(username, str) or not isinstance(password, str):
        message = 'auth: not the base64 form of {"username": ..., "password": ...}'
        raise error_at(message, location.conversion.file, location.node_of("auth"))
    return {"username": literal(username), "password": literal(password)}


def _convert_mapping(mapping: Fields, task: str, ends: tuple[str, str], keys: dict[str, Value]) -> None:
    conversion, (source, target) = mapping.conversion, ends
    path, to = mapping.required("from").strip("/"), (mapping.text("to") or "").strip("/")
    keys = keys | _platforms(mapping)
    if path.startswith(_REGEX):
        keys["repositories"] = [f"/^(?:{path.removeprefix(_REGEX).strip()})$/"]
        keys["list"] = True
        source = f"{source}/**"
    else:
        source = f"{source}/{path}"
    targets = [f"{target}/{to or '{repository}'}"]
    if to.startswith(_REGEX):
        pattern, _, replacement = to.removeprefix(_REGEX).strip().partition(",")
        keys["rename"] = {pattern.strip(): _GROUP.sub(lambda group: rf"\{group[1] or group[2]}", replacement.strip())}
        targets = [f"{target}/{{repository}}"]
    elif path.startswith(_REGEX) and to:
        targets = [f"{target}/{to}/{{repository}}"]
    for tags in _selections(mapping):
        conversion.add_rule(task, source, targets, tags=tags, **keys)
    for tag, digest in _digests(mapping):
        conversion.add_rule(task, f"{source}@{digest}", [f"{targets[0]}:{tag}" if tag else targets[0]], **keys)
    mapping.finish()


def _platforms(mapping: Fields) -> dict[str, Value]:
    platform = mapping.text("platform")
    if platform is None:
        mapping.conversion.note(
            mapping.line, "dregsy copies the platform of its own machine; image-syncer copies all: use platforms:"
        )
    return {} if platform in (None, "all") else {"platforms": [platform]}


def _digests(mapping: Fields) -> list[tuple[str | None, str]]:
    return [
        (found[1], found[2]) for text in mapping.texts("tags") if (found := _DIGEST.fullmatch(text.strip())) is not None
    ]


def _selections(mapping: Fields) -> list[Value]:
    """Return the selections of tags. dregsy joins names, ranges and expressions, so ranges are a rule of their own."""
    texts = [text.strip() for text in mapping.texts("tags")]
    names = [text for text in texts if not text.startswith((_REGEX, _SEMVER, _KEEP)) and not _DIGEST.fullmatch(text)]
    patterns = [text.removeprefix(_REGEX).strip() for text in texts if text.startswith(_REGEX)]
    ranges = [semver_range(text.removeprefix(_SEMVER)) for text in texts if text.startswith(_SEMVER)]
    counts = [int(found[1]) for text in texts if (found := _KEEP_COUNT.fullmatch(text)) is not None]
    keeps = [text.removeprefix(_KEEP).strip() for text in texts if text.startswith(_KEEP) and "latest" not in text]
    latest = counts[-1] if counts else None
    if not texts:
        return [None]
    kept, dropped = _keep_filters(keeps, mapping)
    selections: list[Value] = []
    if names:
        selections.append(names)
    if ranges or (not patterns and not names and texts):
        selections.append(
            tags_of(kept, dropped, semver=" || ".join(ranges), latest=latest, prereleases=True, suffix="*")
        )
    for pattern in patterns:
        if pattern.startswith("!"):
            selections.append(tags_of(kept, [*dropped, _whole(pattern[1:])], latest=latest))
        elif kept:
            mapping.conversion.lose(mapping.line_of("tags"), f"regex: {pattern}: together with keep:")
        else:
            selections.append(tags_of([_whole(pattern)], dropped, latest=latest))
    if latest is not None and len(selections) > 1:
        mapping.conversion.lose(mapping.line_of("tags"), "keep: latest: counts the tags of each filter by itself")
    digests_only = all(_DIGEST.fullmatch(text) for text in texts)
    return [] if digests_only else selections


def _keep_filters(keeps: list[str], mapping: Fields) -> tuple[list[str], list[str]]:
    """Return what `keep:` lets pass and what it drops; more than one to pass cannot be carried over."""
    kept = [_whole(text) for text in keeps if not text.startswith("!")]
    if len(kept) > 1:
        mapping.conversion.lose(mapping.line_of("tags"), "keep: more than one expression that has to match")
    return kept[:1], [_whole(text[1:]) for text in keeps if text.startswith("!")]


def _whole(pattern: str) -> str:
    pattern = pattern.strip()
    return f"/{'' if pattern.startswith('^') else '^'}{pattern}{'' if pattern.endswith('$') else '$'}/"
