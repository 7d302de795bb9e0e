"""Harbor's replication policies, as its API returns them (`GET /api/v2.0/replication/policies`)."""

import re
from typing import Final
from urllib.parse import urlsplit

from image_syncer.config.convert.conversion import Conversion, Value, literal, tags_of
from image_syncer.config.convert.fields import Fields
from image_syncer.config.documents.node import ListNode, Node

_BRACES: Final = re.compile(r"\{([^{}]*)\}")
_GLOB: Final = re.compile(r"[A-Za-z0-9_.*?-]+")
_MOST_ALTERNATIVES: Final = 100
_HUB: Final = ("hub.docker.com", "registry-1.docker.io", "index.docker.io")


def convert_harbor(document: Node, conversion: Conversion) -> None:
    """Add the policies of *document*, one or a list, to *conversion*; the target names the Harbor itself."""
    items = document.items if isinstance(document, ListNode) else (document,)
    for at, item in enumerate(items):
        _convert_policy(Fields.of(item, conversion, f"[{at}]"))


def _convert_policy(policy: Fields) -> None:
    conversion = policy.conversion
    name = policy.required("name")
    policy.skip("id", "description", "creation_time", "update_time", "speed", "copy_by_chunk", "creator")
    policy.note("single_active_replication", why="image-syncer runs a rule once at a time")
    if policy.truth("enabled") is False:
        conversion.note(policy.line_of("enabled"), f"{name}: the policy is disabled, so it makes no rule")
        return
    source, target = (_registry(policy, key) for key in ("src_registry", "dest_registry"))
    for key in ("deletion", "replicate_deletion"):
        if policy.truth(key):
            policy.lose(key, why="image-syncer deletes nothing at the target")
    if policy.truth("override") is False:
        conversion.lose(policy.line_of("override"), "override: image-syncer replaces a tag that changed at the source")
    keys = _schedule(policy)
    filters = _Filters(policy)
    targets = _targets(policy, target)
    for path in filters.names:
        lists = ("*" in path or "?" in path) and "on" not in keys
        conversion.add_rule(name, f"{source}/{path}", targets, tags=filters.tags, **keys, list=lists or None)
    policy.finish()


def _registry(policy: Fields, key: str) -> str:
    """Return the host of the registry at *key*, and add its login; without a URL it is the Harbor itself."""
    registry = policy.section(key)
    registry.skip("id", "name", "type", "description", "status", "creation_time", "update_time")
    url = registry.text("url")
    if url is None or registry.text("id") == "0":
        registry.truth("insecure")
        registry.get("credential")
        return policy.conversion.required_target("a policy of this Harbor").partition("/")[0]
    host = urlsplit(url if "//" in url else f"//{url}").netloc.rpartition("@")[2]
    host = "docker.io" if host in _HUB else host
    section: dict[str, Value] = {}
    login = registry.section("credential")
    access, secret = login.text("access_key"), login.text("access_secret")
    login.text("type")
    login.finish()
    if access and secret and set(secret) != {"*"}:
        section |= {"username": literal(access), "password": literal(secret)}
    elif access:
        policy.conversion.lose(login.line_of("access_secret"), f"{host}: Harbor does not export passwords")
    if registry.truth("insecure"):
        section["insecure"] = True
    registry.lose("token_service_url", why="image-syncer finds the token server by itself")
    registry.lose("ca_certificate", why="write it into a file, and name that in ca: of the registry")
    registry.finish()
    if section:
        policy.conversion.registry(host).update(section)
    return host


def _schedule(policy: Fields) -> dict[str, Value]:
    trigger = policy.section("trigger")
    kind = trigger.text("type") or "manual"
    settings = trigger.section("trigger_settings")
    cron = settings.text("cron")
    settings.finish()
    trigger.finish()
    if kind == "event_based":
        policy.conversion.lose(
            trigger.line_of("type"), "event_based: add hooks: of kind harbor and server:, and a webhook in Harbor"
        )
        return {"on": "event"}
    if kind != "scheduled" or cron is None:
        return {}
    fields = cron.split()
    if len(fields) == 6:  # noqa: PLR2004 - Harbor's cron begins with seconds
        if fields[0] not in ("0", "*"):
            policy.conversion.lose(settings.line_of("cron"), "cron: seconds")
        fields = fields[1:]
    return {"cron": " ".join("*" if field == "?" else field for field in fields)}


class _Filters:
    """The filters of a policy: *names* are patterns of repositories, *tags* is the selection of tags."""

    def __init__(self, policy: Fields) -> None:
        self.names = ["**"]
        include: list[str] = []
        exclude: list[str] = []
        for one in policy.sections("filters"):
            kind, leaves_out = one.text("type"), one.text("decoration") == "excludes"
            match kind:
                case "name":
                    self.names = _alternatives(one.text("value") or "**")
                case "tag":
                    found = [_tag(text) for text in _alternatives(one.text("value") or "**")]
                    (exclude if leaves_out else include).extend(found)
                case "resource":
                    one.note("value", why="image-syncer copies images and other artifacts alike")
                case _:
                    one.lose("value", why=f"a filter by {kind}")
            one.finish()
        self.tags = tags_of([] if include == ["*"] else include, exclude)


def _tag(pattern: str) -> str:
    pattern = pattern.replace("**", "*")
    if _GLOB.fullmatch(pattern):
        return pattern
    return f"/^{re.escape(pattern).replace(chr(92) + '*', '.*').replace(chr(92) + '?', '.')}$/"


def _alternatives(pattern: str) -> list[str]:
    """Return the patterns that *pattern* with `{a,b}` stands for, at most 100."""
    found = [pattern]
    while any(_BRACES.search(one) for one in found) and len(found) <= _MOST_ALTERNATIVES:
        found = [
            f"{one[: braces.start()]}{choice}{one[braces.end() :]}" if braces else one
            for one in found
            for braces in [_BRACES.search(one)]
            for choice in (braces[1].split(",") if braces else [""])
        ]
    return found


def _targets(policy: Fields, host: str) -> list[str]:
    """Return the target: the namespace replaces that many components at the start of a repository's path."""
    namespace = (policy.text("dest_namespace") or "").strip("/")
    count = int(policy.text("dest_namespace_replace_count") or "-1")
    if not namespace:
        return [f"{host}/{{repository}}"]
    if count < 0:
        return [f"{host}/{namespace}/{{name}}"]
    if count == 0:
        return [f"{host}/{namespace}/{{repository}}"]
    policy.conversion.lose(
        policy.line_of("dest_namespace_replace_count"), f"replaces {count} components: write rename: by hand"
    )
    return [f"{host}/{namespace}/{{name}}"]
