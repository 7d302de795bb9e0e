"""regsync's file (regclient): `version: 1` with `creds`, `defaults` and `sync`."""

import re
from collections.abc import Sequence
from typing import Final

from image_syncer.config.convert.conversion import (
    Conversion,
    Value,
    anchored,
    literal,
    semver_range,
    tags_of,
)
from image_syncer.config.convert.fields import Fields
from image_syncer.config.documents.node import Node
from image_syncer.errors import UsageError
from image_syncer.oci import Repository
from image_syncer.oci.reference import split_reference

_TEMPLATE: Final = re.compile(r"""\{\{-?\s*(env|file)\s+["'`]([^"'`]+)["'`]\s*-?\}\}""")
_TUNING: Final = "image-syncer finds the right value by itself"
_LATER_TAGS: Final = "image-syncer does not keep the image that a tag named before"
_CREDS_LOST: Final = {
    "clientCert": "write the pair into files, and name them in client_certificate: of the registry",
    "clientKey": "write the pair into files, and name them in client_certificate: of the registry",
    "regcert": "write it into a file, and name that in ca: of the registry",
    "reqPerSec": "image-syncer bounds concurrent requests (limits.requests), not their rate",
    "credHelper": "name the helper in docker's config.json (credHelpers), which image-syncer reads",
    "mirrors": "write mirrors: of the registry; image-syncer reads from them only what a digest names",
}
_STEP_TUNING: Final = ("fastCheck", "forceRecursive", "referrerSlow")
_STEP_LOST: Final = ("mediaTypes", "hooks")


def convert_regsync(document: Node, conversion: Conversion) -> None:
    """Add what the file *document* says to *conversion*."""
    file = Fields.of(document, conversion)
    file.text("version")
    for creds in file.sections("creds"):
        _convert_creds(creds)
    defaults = file.section("defaults")
    defaults.note("ratelimit", why="image-syncer reads the quota that a registry announces, and waits for it")
    defaults.note("parallel", why="use --proc, or limits: of a registry")
    defaults.note("cacheCount", "cacheTime", "blobLimit", why=_TUNING)
    defaults.lose("skipDockerConfig", why="image-syncer reads the logins of docker where the file has none")
    defaults.lose("userAgent", why="write user_agent: of each registry")
    steps = file.sections("sync")
    for step in steps:
        _convert_step(step, defaults)
    for key in (*_STEP_TUNING, *_STEP_LOST, "backup", "interval", "schedule", "digestTags", "referrers"):
        defaults.get(key)  # Each step looks them up.
    for key in ("referrerFilters", "referrerSource", "referrerTarget", "includeExternal"):
        defaults.get(key)
    defaults.finish()
    file.finish({"x-": "an extension"})


def _convert_creds(creds: Fields) -> None:
    host = _text(creds.required("registry"), creds, "registry")
    section = creds.conversion.registry("docker.io" if host == "docker.io" else host)
    for key, ours in (("user", "username"), ("pass", "password")):
        value = creds.text(key)
        if value is not None:
            section[ours] = _text(value, creds, key)
    tls = creds.text("tls")
    if tls == "disabled":
        section["plain_http"] = True
    elif tls == "insecure":
        section["insecure"] = True
    requests = creds.text("reqConcurrent")
    if requests and requests.isdecimal() and int(requests):
        section["limits"] = {"requests": int(requests)}
    if creds.text("hostname") not in (None, host):
        creds.conversion.lose(creds.line_of("hostname"), "hostname: image-syncer asks the host that names the registry")
    creds.note("blobChunk", "blobMax", "repoAuth", "credExpire", "api", "apiOpts", why=_TUNING)
    creds.finish(_CREDS_LOST)


def _convert_step(step: Fields, defaults: Fields) -> None:
    conversion, kind = step.conversion, step.required("type")
    source, target = (_text(step.required(key), step, key) for key in ("source", "target"))
    keys = _common_keys(step, defaults)
    match kind:
        case "image":
            step.note("tags", "tagSets", "repos", why="regsync does not read it for one image")
            name, tag, digest = split_reference(source)
            repository = str(Repository.parse(name))
            if digest is not None:
                conversion.add_rule(source, f"{repository}@{digest}", [target], **keys)
            else:
                tags = [tag or "latest"]
                conversion.add_rule(source, repository, [target], tags=tags, **keys)
        case "repository":
            step.note("repos", why="regsync does not read it for one repository")
            for tags in _selections(step):
                conversion.add_rule(source, str(Repository.parse(source)), [target], tags=tags, **keys)
        case "registry":
            _convert_registry(step, source, target, keys)
        case _:
            conversion.lose(step.line_of("type"), f"type {kind}: expected image, repository or registry")
    step.finish()


def _convert_registry(step: Fields, source: str, target: str, keys: dict[str, Value]) -> None:
    repos = step.section("repos")
    allow, deny = repos.texts("allow"), repos.texts("deny")
    repos.finish()
    include = [f"/^(?:{pattern})$/" for pattern in allow]
    exclude = [f"/^(?:{pattern})$/" for pattern in deny]
    for tags in _selections(step):
        step.conversion.add_rule(
            source,
            f"{source}/**",
            [f"{target}/{{repository}}"],
            tags=tags,
            repositories=include,
            exclude=exclude,
            list=True,
            **keys,
        )


def _selections(step: Fields) -> Sequence[Value]:
    """Return the selections of tags: that of `tags`, or one for each of `tagSets`, whose tags are joined."""
    sets = step.sections("tagSets")
    tags = step.section("tags")
    selections = [_selection(tags)] if tags.node.entries or not sets else []
    return selections + [_selection(one) for one in sets]


def _selection(tags: Fields) -> Value:
    ranges = [semver_range(text) for text in tags.texts("semverRange") if text]
    include = [anchored(text) for text in tags.texts("allow")]
    exclude = [anchored(text) for text in tags.texts("deny")]
    tags.finish()
    return tags_of(include, exclude, semver=" || ".join(ranges))


def _common_keys(step: Fields, defaults: Fields) -> dict[str, Value]:
    """Return the keys of a rule that each kind of step may have; `defaults` stand in for those of the step."""
    keys: dict[str, Value] = {}
    platforms = step.texts("platforms") or step.texts("platform")
    if platforms:
        keys["platforms"] = platforms
    if step.text("platform"):
        step.note("platform", why="image-syncer keeps an index with this one platform; regsync copies its manifest")
    schedule, interval = step.text("schedule"), step.text("interval")
    if schedule is None and interval is None:
        schedule, interval = defaults.text("schedule"), defaults.text("interval")
    if schedule:
        keys["cron"] = schedule
    elif interval:
        keys["every"] = interval
    if _choice("includeExternal", step, defaults):
        keys["nondistributable_layers"] = True
    referrers = _referrers(step, defaults)
    if referrers is not None:
        keys["referrers"] = referrers
    step.note("ratelimit", why="image-syncer reads the quota that a registry announces, and waits for it")
    for key in _STEP_TUNING:
        step.note(key, why=_TUNING)
    for place in (step, defaults):
        place.lose("backup", why=_LATER_TAGS)
        place.lose("mediaTypes", why="image-syncer copies every media type")
        place.lose("hooks", why="image-syncer runs no commands")
    return keys


def _choice(key: str, step: Fields, defaults: Fields) -> bool | None:
    own = step.truth(key)
    return defaults.truth(key) if own is None else own


def _referrers(step: Fields, defaults: Fields) -> Value:
    """Return the value of `referrers:`; None for the default of image-syncer, which copies them."""
    wanted, by_tag = _choice("referrers", step, defaults), _choice("digestTags", step, defaults)
    place = step if step.get("referrerFilters") is not None else defaults
    types: list[str] = []
    for one in place.sections("referrerFilters"):
        kind = one.text("artifactType")
        if kind:
            types.append(kind)
        one.lose("annotations", why="image-syncer selects referrers by type")
        one.finish()
    ends = {
        ours: _text(text, step, key)
        for key, ours in (("referrerSource", "from"), ("referrerTarget", "to"))
        if (text := step.text(key) or defaults.text(key)) is not None
    }
    if wanted is False and not by_tag:
        return False
    section: dict[str, Value] = {"types": types} if types else {}
    if by_tag is False:
        section["legacy_tags"] = False
    if wanted is None and by_tag is None and not section:
        step.conversion.note(
            step.line, "image-syncer copies signatures and other referrers along; referrers: false switches it off"
        )
    return (section | ends) or None


def _text(text: str, place: Fields, key: str) -> str:
    """Return *text* with its templates for variables and files in our form; others are lost."""
    parts: list[str] = []
    end = 0
    for template in _TEMPLATE.finditer(text):
        kind, name = template.groups()
        parts += [literal(text[end : template.start()]), f"${{{name}}}" if kind == "env" else f"${{file:{name}}}"]
        end = template.end()
    rest = text[end:]
    if "{{" in rest:
        raise UsageError(
            f"{place.conversion.file}:{place.line_of(key)}: {key}: a template other than env and file",
            remedy="write the value itself",
        )
    return "".join([*parts, literal(rest)])
