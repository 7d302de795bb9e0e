"""Platforms, and the filter that `--os`, `--arch` and `--platform` define."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from image_syncer.errors import InvalidReference

# The meaning of a missing variant (containerd's normalisation, which every builder follows).
_IMPLIED_VARIANT = {"arm64": "v8", "arm": "v7"}


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on (image-spec image-index.md, "platform"); a missing field is an empty string."""

    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = ""

    def __str__(self) -> str:
        parts = [self.os or "*", self.architecture or "*"]
        return "/".join([*parts, self.variant] if self.variant else parts)


@dataclass(frozen=True, slots=True)
class OsPattern:
    """One `--os` value: `linux`, or `windows:10.0.17763.1` (a prefix of the version)."""

    os: str
    version: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the pattern of `os` or `os:version`."""
        name, _, version = text.strip().partition(":")
        if not name:
            raise InvalidReference(f"{text!r}: an os filter is os or os:version, such as linux")
        return cls(name, version)

    def __str__(self) -> str:
        return f"{self.os}:{self.version}" if self.version else self.os

    def matches(self, platform: Platform) -> bool:
        """Whether *platform* matches; a platform without an os always does."""
        if not platform.os:
            return True
        if platform.os != self.os:
            return False
        return (
            not self.version
            or not platform.os_version
            or platform.os_version == self.version
            or platform.os_version.startswith(f"{self.version}.")
        )


@dataclass(frozen=True, slots=True)
class ArchPattern:
    """One `--arch` value: `amd64` or `arm:v7`; without a variant it matches all variants."""

    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the pattern of `arch` or `arch:variant`."""
        name, _, variant = text.strip().partition(":")
        if not name:
            raise InvalidReference(f"{text!r}: an arch filter is arch or arch:variant, such as arm:v7")
        return cls(name, variant)

    def __str__(self) -> str:
        return f"{self.architecture}:{self.variant}" if self.variant else self.architecture

    def matches(self, platform: Platform) -> bool:
        """Whether *platform* matches; a platform without an architecture always does."""
        if not platform.architecture:
            return True
        if platform.architecture != self.architecture:
            return False
        implied = _IMPLIED_VARIANT.get(self.architecture, "")
        return not self.variant or self.variant == (platform.variant or implied)


@dataclass(frozen=True, slots=True)
class PlatformFilter:
    """The platforms to keep: one of *systems*, one of *architectures* and one of *pairs*; an empty list means all."""

    systems: tuple[OsPattern, ...] = ()
    architectures: tuple[ArchPattern, ...] = ()
    pairs: tuple[tuple[OsPattern, ArchPattern], ...] = ()

    @classmethod
    def parse(
        cls, systems: Iterable[str] = (), architectures: Iterable[str] = (), platforms: Iterable[str] = ()
    ) -> Self:
        """Return the filter of `--os`, `--arch` and `--platform` (`os/arch[/variant]`), without empty ones."""
        return cls(
            tuple(OsPattern.parse(item) for item in systems if item.strip()),
            tuple(ArchPattern.parse(item) for item in architectures if item.strip()),
            tuple(_parse_pair(item) for item in platforms if item.strip()),
        )

    def to_options(self) -> tuple[list[str], list[str], list[str]]:
        """Return the arguments from which `parse` makes this filter."""
        pairs = ["/".join(filter(None, (str(os), arch.architecture, arch.variant))) for os, arch in self.pairs]
        return [*map(str, self.systems)], [*map(str, self.architectures)], pairs

    def __bool__(self) -> bool:
        return bool(self.systems or self.architectures or self.pairs)

    def matches(self, platform: Platform) -> bool:
        """Whether an image for *platform* is wanted. A field that the platform lacks matches every pattern."""
        return (
            (not self.systems or any(pattern.matches(platform) for pattern in self.systems))
            and (not self.architectures or any(pattern.matches(platform) for pattern in self.architectures))
            and (not self.pairs or any(os.matches(platform) and arch.matches(platform) for os, arch in self.pairs))
        )


def _parse_pair(text: str) -> tuple[OsPattern, ArchPattern]:
    parts = text.strip().split("/")
    match parts:
        case [os, arch] if os and arch:
            return OsPattern(os), ArchPattern(arch)
        case [os, arch, variant] if os and arch and variant:
            return OsPattern(os), ArchPattern(arch, variant)
        case _:
            raise InvalidReference(f"{text!r}: a platform is os/arch or os/arch/variant, such as linux/arm64")
