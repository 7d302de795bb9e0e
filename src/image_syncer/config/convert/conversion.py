"""Collects the native file that a conversion makes, and what it could not carry over."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from image_syncer.errors import UsageError
from image_syncer.oci import Repository
from image_syncer.structs import Struct, field

Value = str | int | bool | None | Sequence["Value"] | Mapping[str, "Value"]
"""Plain data of the native file."""

NAME_LIMIT: Final = 128
_NOT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9._/@:-]+")
_BLANKS_IN_RANGE: Final = re.compile(r"([<>=~^!]) (?=[0-9vxX*])")
_VARIABLE: Final = re.compile(r"\$\{")


class Finding(Struct):
    """What a conversion has to say about a line of the file.

    `lost`: the native file does less, more or other than the original. `note`: image-syncer does it in another way.
    """

    file: str
    line: int
    kind: Literal["lost", "note"]
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.kind}: {self.message}"


class Converted(Struct):
    """The native file as plain data, and the findings in the order of their lines."""

    document: Mapping[str, Value]
    findings: tuple[Finding, ...]

    @property
    def lost(self) -> tuple[Finding, ...]:
        """What could not be carried over."""
        return tuple(finding for finding in self.findings if finding.kind == "lost")


class Conversion(Struct, frozen=False):
    """The conversion of *file*; *target* is where images go if the file does not say: `registry[/namespace]`."""

    file: str
    target: str | None = None
    registries: dict[str, dict[str, Value]] = field(default_factory=dict[str, dict[str, Value]])
    rules: list[dict[str, Value]] = field(default_factory=list[dict[str, Value]])
    defaults: dict[str, Value] = field(default_factory=dict[str, Value])
    others: dict[str, Value] = field(default_factory=dict[str, Value])
    findings: list[Finding] = field(default_factory=list[Finding])
    _names: dict[str, int] = field(default_factory=dict[str, int])

    def lose(self, line: int, message: str) -> None:
        """Record that something in *line* could not be carried over."""
        self.findings.append(Finding(self.file, line, "lost", message))

    def note(self, line: int, message: str) -> None:
        """Record that image-syncer does something in *line* in another way."""
        self.findings.append(Finding(self.file, line, "note", message))

    def registry(self, host: str) -> dict[str, Value]:
        """Return the section of the registry *host*, to add keys to."""
        return self.registries.setdefault(host, {})

    def add_rule(self, name: str, source: str, targets: Sequence[str], **keys: Value) -> None:
        """Add a rule; *name* is made unique and valid, and keys without a value are left out."""
        rule: dict[str, Value] = {"name": self._unique(name), "source": source}
        rule["targets"] = targets[0] if len(targets) == 1 else list(targets)
        self.rules.append(rule | {key: value for key, value in keys.items() if value not in (None, (), [], {})})

    def add_images(
        self, name: str, images_from: Mapping[str, Value], targets: Sequence[str], platforms: Sequence[str] = ()
    ) -> None:
        """Add a rule whose images *images_from* lists."""
        rule: dict[str, Value] = {"name": self._unique(name), "images_from": images_from}
        rule["targets"] = targets[0] if len(targets) == 1 else list(targets)
        self.rules.append(rule | ({"platforms": platforms} if platforms else {}))

    def required_target(self, what: str) -> str:
        """Return the target; `UsageError` if none was given."""
        if self.target is None:
            raise UsageError(
                f"{self.file}: {what} names no target", remedy="give it with --target registry.example.com/mirror"
            )
        return self.target.rstrip("/")

    def finish(self) -> Converted:
        """Return the native file and the findings."""
        document: dict[str, Value] = {"version": 1}
        sections: dict[str, Value] = {"registries": self.registries, "defaults": self.defaults, "rules": self.rules}
        document |= {name: content for name, content in sections.items() if content}
        findings = sorted(dict.fromkeys(self.findings), key=lambda finding: finding.line)
        return Converted(document | self.others, tuple(findings))

    def _unique(self, name: str) -> str:
        beginning = _NOT_IN_NAME.sub("-", name).lstrip("._/@:-")[: NAME_LIMIT - 8] or "rule"
        unique = beginning
        while unique in self._names:
            number = self._names[beginning] = self._names[beginning] + 1
            unique = f"{beginning}-{number}"
        self._names[unique] = 1
        return unique


def literal(text: str) -> str:
    """Return *text* as a value of the native file that has no variables in it."""
    return _VARIABLE.sub("$${", text)


def source_of(registry: str, path: str) -> str:
    """Return the source *path* at *registry* as the native file writes it; `InvalidReference` for no repository."""
    return str(Repository.of(registry, path))


def tags_of(include: Sequence[str] = (), exclude: Sequence[str] = (), **keys: Value) -> Value:
    """Return the value of `tags:` in its shortest form; None: all tags."""
    more: dict[str, Any] = {key: value for key, value in keys.items() if value not in (None, (), [], "")}
    if exclude:
        more["exclude"] = list(exclude)
    if include and not more:
        return list(include)
    return ({"include": list(include)} if include else {}) | more or None


def anchored(pattern: str) -> str:
    """Return the matcher of tags that the regular expression *pattern* matches as a whole: a name if it is plain."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", pattern):
        return pattern
    return f"/^(?:{pattern})$/"


def semver_range(text: str) -> str:
    """Return the version range *text* of a Go library in the native form: no commas, no blanks in a comparison."""
    return _BLANKS_IN_RANGE.sub(r"\1", " ".join(text.replace(",", " ").split()))
