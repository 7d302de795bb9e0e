"""Platforms, and the filter that `--os`, `--arch` and `--platform` define."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, Self

from image_syncer.errors import InvalidReference
from image_syncer.oci.content_selection import ContentSelection, IndexForm
from image_syncer.structs import Struct, replace

# The meaning of a missing variant. The names below are normalised as containerd does (github.com/containerd/platforms).
_IMPLIED_VARIANT: Final = {"amd64": "v1", "arm64": "v8", "arm": "v7"}
_OS_ALIASES: Final = {"macos": "darwin"}
_ARCHITECTURE_ALIASES: Final = {"i386": "386", "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
_ARM_ABIS: Final = {"armhf": "v7", "armel": "v6"}
_NUMBERED_VARIANT: Final = re.compile(r"v?([1-9][0-9]*)(?:\.0)?")

# What Go knows (internal/syslist), and what image builders use besides.
_SYSTEMS: Final = frozenset(
    [
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "hurd",
        "illumos",
        "ios",
        "js",
        "linux",
        "nacl",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "wasi",
        "wasip1",
        "windows",
        "zos",
        "unknown",
    ]
)
_ARCHITECTURES: Final = frozenset(
    [
        "386",
        "amd64",
        "amd64p32",
        "arm",
        "armbe",
        "arm64",
        "arm64be",
        "loong64",
        "mips",
        "mipsle",
        "mips64",
        "mips64le",
        "mips64p32",
        "mips64p32le",
        "ppc",
        "ppc64",
        "ppc64le",
        "riscv",
        "riscv64",
        "s390",
        "s390x",
        "sparc",
        "sparc64",
        "wasm",
        "wasm32",
        "unknown",
    ]
)
_EVERY: Final = "*"
_ANY: Final = re.compile(r".*")
_VARIANTS: Final = {
    "amd64": re.compile(r"v[1-4]"),
    "arm": re.compile(r"v[5-8]"),
    "arm64": re.compile(r"v(?:8|9)(?:\.[1-9])?"),
}


class Platform(Struct):
    """What an image runs on (image-spec image-index.md, "platform"); a missing field is an empty string."""

    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = ""

    def __str__(self) -> str:
        parts = [self.os or "*", self.architecture or "*"]
        return "/".join([*parts, self.variant] if self.variant else parts)

    def normalised(self) -> Self:
        """Return the platform in containerd's spelling, with the implied variant: `x86_64` becomes `amd64/v1`."""
        architecture, variant = _normalise_architecture(self.architecture, self.variant)
        implied = variant or _IMPLIED_VARIANT.get(architecture, "")
        return replace(self, os=_normalise_os(self.os), architecture=architecture, variant=implied)


class OsPattern(Struct):
    """One `--os` value: `linux`, or `windows:10.0.17763.1`, a prefix of the version or a glob such as `10.0.2*`."""

    os: str
    version: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the pattern of `os` or `os:version`."""
        name, _, version = text.strip().partition(":")
        if not name:
            raise InvalidReference(f"{text!r}: an os filter is os or os:version, such as linux")
        return cls(_normalise_os(name), version)

    def __str__(self) -> str:
        return f"{self.os}:{self.version}" if self.version else self.os

    def matches(self, platform: Platform) -> bool:
        """Whether *platform*, which is normalised, matches; a platform without an os always does."""
        if not platform.os:
            return True
        if platform.os != self.os:
            return False
        return (
            not self.version
            or not platform.os_version
            or platform.os_version == self.version
            or platform.os_version.startswith(f"{self.version}.")
            or ("*" in self.version and fnmatchcase(platform.os_version, self.version))
        )


class ArchPattern(Struct):
    """One `--arch` value: `amd64`, `arm:v7` or `arm/v7`; without a variant it matches all variants, `*` everything."""

    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the pattern of `arch`, `arch:variant` (the Go tool's form) or `arch/variant` (containerd's)."""
        name, _, variant = text.strip().replace("/", ":", 1).partition(":")
        if not name:
            raise InvalidReference(f"{text!r}: an arch filter is arch or arch:variant, such as arm:v7")
        return cls(*_normalise_architecture(name, variant))

    def __str__(self) -> str:
        return f"{self.architecture}:{self.variant}" if self.variant else self.architecture

    def matches(self, platform: Platform) -> bool:
        """Whether *platform*, which is normalised, matches; a platform without an architecture always does."""
        if not platform.architecture or self.architecture == _EVERY:
            return True
        return platform.architecture == self.architecture and (not self.variant or platform.variant == self.variant)


class PlatformFilter(Struct):
    """What to keep of an image: one of *systems*, of *architectures* and of *pairs*; an empty list means all.

    *content* selects by more than the platform, and says in which form to copy; None: everything as it is.
    """

    systems: tuple[OsPattern, ...] = ()
    architectures: tuple[ArchPattern, ...] = ()
    pairs: tuple[tuple[OsPattern, ArchPattern], ...] = ()
    content: ContentSelection | None = None

    @classmethod
    def parse(
        cls,
        systems: Iterable[str] = (),
        architectures: Iterable[str] = (),
        platforms: Iterable[str] = (),
        content: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return the filter of `--os`, `--arch` and `--platform`, without empty ones.

        A platform is `os/arch[/variant][:version]`; the architecture may be `*`. *content* is that of `to_options`.
        """
        return cls(
            tuple(OsPattern.parse(item) for item in systems if item.strip()),
            tuple(ArchPattern.parse(item) for item in architectures if item.strip()),
            tuple(_parse_pair(item) for item in platforms if item.strip()),
            None if content is None else ContentSelection.parse(content),
        )

    def to_options(self) -> tuple[Any, ...]:
        """Return the arguments from which `parse` makes this filter, as JSON."""
        lists = [*map(str, self.systems)], [*map(str, self.architectures)], [_pair_text(*pair) for pair in self.pairs]
        return lists if self.content is None else (*lists, self.content.to_options())

    @property
    def any_form(self) -> Self:
        """The same filter for targets that store an index in different forms."""
        if self.content is None or self.content.index is IndexForm.TRIMMED:
            return self
        return replace(self, content=replace(self.content, index=IndexForm.TRIMMED))

    def __bool__(self) -> bool:
        return bool(self.systems or self.architectures or self.pairs or self.content)

    def matches(self, platform: Platform) -> bool:
        """Whether an image for *platform* is wanted. A field that the platform lacks matches every pattern."""
        platform = platform.normalised()
        return (
            (not self.systems or any(pattern.matches(platform) for pattern in self.systems))
            and (not self.architectures or any(pattern.matches(platform) for pattern in self.architectures))
            and (not self.pairs or any(os.matches(platform) and arch.matches(platform) for os, arch in self.pairs))
        )

    def unknown_names(self) -> tuple[str, ...]:
        """Return each name that no image builder uses, with what kind of name it is: likely a typing error."""
        pairs = [os for os, _ in self.pairs], [arch for _, arch in self.pairs]
        names = dict.fromkeys(_unknown_names((*self.systems, *pairs[0]), (*self.architectures, *pairs[1])))
        return tuple(names)


def _unknown_names(systems: Iterable[OsPattern], architectures: Iterable[ArchPattern]) -> Iterator[str]:
    for pattern in systems:
        if pattern.os not in _SYSTEMS:
            yield f"os {pattern.os!r}{_suggestion(pattern.os, _SYSTEMS)}"
    for arch in architectures:
        if arch.architecture == _EVERY:
            continue
        if arch.architecture not in _ARCHITECTURES:
            yield f"architecture {arch.architecture!r}{_suggestion(arch.architecture, _ARCHITECTURES)}"
        elif arch.variant and not _VARIANTS.get(arch.architecture, _ANY).fullmatch(arch.variant):
            yield f"variant {arch.variant!r} of {arch.architecture}"


def _suggestion(name: str, known: Collection[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only for warnings

    close = get_close_matches(name, sorted(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _normalise_os(name: str) -> str:
    name = name.lower()
    return _OS_ALIASES.get(name, name)


def _normalise_architecture(name: str, variant: str) -> tuple[str, str]:
    name, variant = name.lower(), variant.lower()
    if name in _ARM_ABIS:
        return "arm", _ARM_ABIS[name]
    name = _ARCHITECTURE_ALIASES.get(name, name)
    numbered = _NUMBERED_VARIANT.fullmatch(variant) if name in _IMPLIED_VARIANT else None
    return name, f"v{numbered[1]}" if numbered else variant


def _parse_pair(text: str) -> tuple[OsPattern, ArchPattern]:
    name, colon, version = text.strip().partition(":")
    parts = name.split("/")
    match parts:
        case [os, arch] if os and arch and bool(version) == bool(colon):
            return OsPattern(_normalise_os(os), version), ArchPattern(*_normalise_architecture(arch, ""))
        case [os, arch, variant] if os and arch and variant and bool(version) == bool(colon):
            return OsPattern(_normalise_os(os), version), ArchPattern(*_normalise_architecture(arch, variant))
        case _:
            raise InvalidReference(
                f"{text!r}: a platform is os/arch[/variant][:version], such as linux/arm64 or windows/*:10.0.20348*"
            )


def _pair_text(system: OsPattern, architecture: ArchPattern) -> str:
    name = "/".join(filter(None, (system.os, architecture.architecture, architecture.variant)))
    return f"{name}:{system.version}" if system.version else name
