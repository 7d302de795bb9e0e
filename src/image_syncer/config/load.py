"""Load configuration files of every dialect, without contacting any server. Errors have a file and a line."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from image_syncer.config.documents.document import read_document
from image_syncer.config.documents.node import MapNode, Node, Scalar, describe, unknown_key
from image_syncer.config.documents.problems import Problems
from image_syncer.config.environment import Substitution
from image_syncer.config.go_tool.auth_file import parse_auth, read_auth_file
from image_syncer.config.go_tool.images_file import RuleContext, parse_rules
from image_syncer.config.locations import StateSettings
from image_syncer.config.model import Configuration, QueueSettings
from image_syncer.config.platform_warnings import platform_warnings
from image_syncer.errors import ConfigError, UsageError
from image_syncer.oci import PlatformFilter
from image_syncer.registry.settings import RegistryAccount
from image_syncer.structs import replace
from image_syncer.sync.rule import Rule

_OWN_KINDS: Final = frozenset({"fork", "go-tool", "list"})
_GO_TOOL_KEYS: Final = ("auth", "images")
_DAEMON_KEYS: Final = frozenset({"app", "registry", "sync", "rabbitmq"})
_EMPTY_RULES: Final = "write at least one rule: registry.example.com/team/app:v1: other.example.com/team/app"
_EMPTY_FILE: Final = "write auth: and images:, as in examples/config.yaml"
_NO_AUTH_FILE: Final = "no auth file is given: registry access is anonymous, or uses the logins that docker stored"
_NO_RULES: Final = "no rules: nothing will be copied"


def load_go_tool_files(
    *, auth: Path | None, images: Path | None, platforms: PlatformFilter, environment: Mapping[str, str]
) -> Configuration:
    """Return the configuration of the files of `--auth` and `--images`; without *auth* access is anonymous.

    `UsageError` without *images*.
    """
    if images is None:
        raise UsageError(
            "no rules are given", remedy="give rules with --images FILE, or rules and logins with --config FILE"
        )
    problems = Problems()
    access: tuple[RegistryAccount, ...] = ()
    rules: tuple[Rule, ...] = ()
    if auth is not None:
        with problems.collect_at(str(auth)):
            access = read_auth_file(auth, environment, problems)
    with problems.collect_at(str(images)):
        document = read_document(images, remedy_if_empty=_EMPTY_RULES)
        rules = parse_rules(document, _context(str(images), platforms, environment), problems)
    problems.raise_found()
    warnings = () if auth is not None else (_NO_AUTH_FILE,)
    return _with_platform_warnings(_configuration(access, rules, warnings=warnings))


def load_file(
    path: Path, *, platforms: PlatformFilter, environment: Mapping[str, str], allow_open: bool = False
) -> Configuration:
    """Return the configuration of the file of `--config`; its top-level keys decide about the dialect.

    A directory is a native file that includes all files in it.

    With *allow_open* the fork's file needs no login for its hook.
    """
    document = read_configuration(path)
    return load_document(document, str(path), platforms=platforms, environment=environment, allow_open=allow_open)


def load_document(
    document: MapNode, file: str, *, platforms: PlatformFilter, environment: Mapping[str, str], allow_open: bool = False
) -> Configuration:
    """Return the configuration of *document*, the content of *file*, as `load_file` does."""
    dialect = _load_dialect(document, file, platforms=platforms, environment=environment, allow_open=allow_open)
    return _with_platform_warnings(dialect)


def _with_platform_warnings(configuration: Configuration) -> Configuration:
    """Return *configuration* with the warnings about its platforms, each filter once."""
    filters = {rule.platforms: rule for rule in reversed(configuration.rules)}
    warnings = [
        warning
        for platforms, rule in reversed(filters.items())
        for warning in platform_warnings(platforms, f"{rule.origin}: " if rule.origin else "")
    ]
    return replace(configuration, warnings=(*configuration.warnings, *warnings))


def _load_dialect(
    document: MapNode, file: str, *, platforms: PlatformFilter, environment: Mapping[str, str], allow_open: bool
) -> Configuration:
    keys = {entry.key.text.lower() for entry in document.entries}
    if "version" in keys:
        from image_syncer.config.native.native_file import parse_native  # noqa: PLC0415 - pydantic is slow to import

        return parse_native(document, file, platforms=platforms, environment=environment)
    if "images" in keys:
        return _go_tool_file(document, file, platforms, environment)
    if _DAEMON_KEYS & keys:
        from image_syncer.config.fork.fork_file import parse_fork  # noqa: PLC0415 - as above

        return parse_fork(document, file, platforms=platforms, environment=environment, allow_open=allow_open)
    if "rules" in keys:
        raise ConfigError("version is missing", file=file, remedy="begin the file with version: 1")
    raise ConfigError("not a configuration file of image-syncer", file=file, remedy=_what_else(file))


def _what_else(file: str) -> str:
    """Return what to do with a file that is of none of the dialects; its path *file* may be one of another tool."""
    from image_syncer.config.convert.kinds import guess_kind  # noqa: PLC0415 - only for errors

    with suppress(UsageError):
        kind = guess_kind(Path(file)) if Path(file).is_file() else "list"  # A pipe can be read only once.
        if kind not in _OWN_KINDS:
            return f"it looks like one of {kind}: --from {kind} reads it, image-syncer config convert translates it"
    return (
        "it needs version: (native), images: and auth: (one pass), or app:, registry:, sync: (daemon); "
        "give a file with only rules to --images, one with only logins to --auth"
    )


def load_daemon_state(path: Path, *, environment: Mapping[str, str]) -> StateSettings:
    """Return the state of the daemon whose file is at *path*; `UsageError` if the file is not for a daemon.

    It needs no variables except those in `state:`, and ignores the other sections.
    """
    document = read_configuration(path)
    keys = {entry.key.text.lower() for entry in document.entries}
    state: StateSettings | None = None
    if "version" in keys:
        from image_syncer.config.native.native_file import parse_native_state  # noqa: PLC0415 - as above

        state = parse_native_state(document, str(path), environment)
    elif "images" not in keys and _DAEMON_KEYS & keys:
        state = StateSettings()
    if state is None:
        raise UsageError(f"{path}: this file has no server, so it has no jobs", remedy="name the daemon's file with -c")
    return state


def load_rules(path: Path, *, environment: Mapping[str, str]) -> Sequence[Rule]:
    """Return the rules of the file of `--config`; those of a native file need no variables of other sections."""
    document = read_configuration(path)
    if document.find("version") is None:
        return load_document(
            document, str(path), platforms=PlatformFilter(), environment=environment, allow_open=True
        ).rules
    from image_syncer.config.native.native_file import parse_native_rules  # noqa: PLC0415 - as above

    return parse_native_rules(document, str(path), environment)


def load_queue_kinds(path: Path, environment: Mapping[str, str]) -> Sequence[QueueSettings]:
    """Return the kind and the origin of each queue in the native file at *path*; none for a file that is no document.

    The other sections need not be valid.
    """
    try:
        document = read_configuration(path)
    except ConfigError:
        return ()  # `load_file` reports it.
    if document.find("version") is None:
        return ()
    from image_syncer.config.native.native_file import queue_kinds  # noqa: PLC0415 - as above

    return tuple(queue_kinds(document, str(path), environment))


def read_configuration(path: Path) -> MapNode:
    """Return the document of the file or the directory of `--config`."""
    if path.is_dir():
        from image_syncer.config.native.native_parts import directory_document  # noqa: PLC0415 - as above

        return directory_document(path)
    return read_document(path, remedy_if_empty=_EMPTY_FILE)


def _go_tool_file(
    document: MapNode, file: str, platforms: PlatformFilter, environment: Mapping[str, str]
) -> Configuration:
    problems = Problems()
    sections = _sections(document, file, problems)
    # The Go tool replaces no variables in the logins of this file, so passwords with a bare `$` are in use.
    access = parse_auth(sections["auth"], file, Substitution.for_file(file, environment, bare_names=False), problems)
    rules = parse_rules(sections["images"], _context(file, platforms, environment), problems)
    problems.raise_found()
    return _configuration(access, rules)


def _context(file: str, platforms: PlatformFilter, environment: Mapping[str, str]) -> RuleContext:
    return RuleContext(file, platforms, Substitution.for_file(file, environment))


def _sections(document: MapNode, file: str, problems: Problems) -> dict[str, MapNode]:
    sections: dict[str, MapNode] = {}
    for entry in document.entries:
        with problems.collect_at(file, entry.key):
            name = entry.key.text.lower()
            if name not in _GO_TOOL_KEYS:
                raise unknown_key(entry.key, _GO_TOOL_KEYS)
            if name in sections:
                raise UsageError(f"duplicate key {name}", remedy="keep one of them")
            sections[name] = _section(name, entry.value)
    return {name: sections.get(name, MapNode((), document.line)) for name in _GO_TOOL_KEYS}


def _section(name: str, value: Node) -> MapNode:
    if isinstance(value, MapNode):
        return value
    if name == "auth" and isinstance(value, Scalar) and value.kind == "null":
        return MapNode((), value.line)
    raise UsageError(f"{name}: expected a map, found {describe(value)}", remedy=_EMPTY_FILE)


def _configuration(
    access: tuple[RegistryAccount, ...], rules: tuple[Rule, ...], warnings: tuple[str, ...] = ()
) -> Configuration:
    return Configuration(access, rules, warnings if rules else (*warnings, _NO_RULES))
