"""Platform filters as `--os`, `--arch` and `--platform` define them."""

import pytest

from image_syncer.errors import InvalidReference
from image_syncer.oci import Platform, PlatformFilter


@pytest.mark.parametrize(
    ("systems", "architectures", "platform", "passes"),
    [
        (["linux"], [], Platform("linux", "amd64"), True),
        (["linux"], [], Platform("windows", "amd64"), False),
        (["linux"], ["arm64"], Platform("linux", "arm64", "v8"), True),
        (["linux"], ["arm64:v8"], Platform("linux", "arm64"), True),
        (["linux"], ["arm"], Platform("linux", "arm", "v6"), True),
        (["linux"], ["arm:v7"], Platform("linux", "arm", "v6"), False),
        (["linux"], ["arm:v7"], Platform("linux", "arm"), True),
        (["linux"], ["amd64:v2"], Platform("linux", "amd64"), False),
        ([], ["amd64", "arm64"], Platform("linux", "arm64"), True),
        (["windows:10.0.17763"], [], Platform("windows", "amd64", os_version="10.0.17763.1999"), True),
        (["windows:10.0.1"], [], Platform("windows", "amd64", os_version="10.0.17763.1999"), False),
        (["linux"], ["amd64"], Platform("", "amd64"), True),
        (["linux"], ["amd64"], Platform("linux", ""), True),
        (["linux"], ["amd64"], Platform("unknown", "unknown"), False),
        (["", " "], [""], Platform("plan9", "mips"), True),
    ],
)
def test_os_and_arch_filters(systems: list[str], architectures: list[str], platform: Platform, passes: bool) -> None:
    """Each list must match; a missing field matches every pattern; a pattern without variant matches all variants."""
    assert PlatformFilter.parse(systems, architectures).matches(platform) is passes


@pytest.mark.parametrize(
    ("option", "architecture", "variant"),
    [
        ("amd64", "x86_64", ""),
        ("x86_64", "amd64", ""),
        ("X86-64", "AMD64", "v1"),
        ("amd64:v1", "amd64", ""),
        ("amd64:1", "x86_64", "V1"),
        ("aarch64", "arm64", "v8"),
        ("arm64:8", "arm64", ""),
        ("arm64", "aarch64", "8"),
        ("arm64:v8", "aarch64", "v8.0"),
        ("arm64:9", "arm64", "v9.0"),
        ("armhf", "arm", "v7"),
        ("armhf", "arm", ""),
        ("arm:7", "armhf", ""),
        ("armel", "arm", "6"),
        ("i386", "386", ""),
    ],
)
def test_names_of_architectures_are_normalised_on_both_sides(option: str, architecture: str, variant: str) -> None:
    """As containerd does, in the filter and in the manifest."""
    platform = Platform("Linux", architecture, variant)
    assert PlatformFilter.parse(["LINUX"], [option]).matches(platform)
    assert PlatformFilter.parse(["LINUX"], [option.replace(":", "/")]).matches(platform)
    assert PlatformFilter.parse(platforms=[f"linux/{option.replace(':', '/')}"]).matches(platform)


@pytest.mark.parametrize(
    ("option", "architecture", "variant"),
    [("amd64:v1", "amd64", "v2"), ("amd64:v2", "x86_64", ""), ("armhf", "arm", "v6"), ("arm64:9", "aarch64", "")],
)
def test_other_variants_do_not_match(option: str, architecture: str, variant: str) -> None:
    """A missing variant means v1 for amd64, v7 for arm and v8 for arm64."""
    assert not PlatformFilter.parse([], [option]).matches(Platform("linux", architecture, variant))


def test_macos_is_darwin() -> None:
    """Go calls it so."""
    assert PlatformFilter.parse(["macOS"]).matches(Platform("darwin", "arm64"))


def test_a_platform_keeps_its_spelling() -> None:
    """Reports show it as the manifest has it."""
    assert str(Platform("linux", "x86_64")) == "linux/x86_64"


@pytest.mark.parametrize(
    "wanted",
    [
        PlatformFilter.parse(["linux"], ["arm:v7"], ["windows/amd64"]),
        PlatformFilter.parse(["windows:10.0.17763"], ["aarch64:8", "x86_64"], ["linux/armhf"]),
    ],
)
def test_a_filter_is_read_back_from_its_options(wanted: PlatformFilter) -> None:
    """The state and jobs store it so."""
    assert PlatformFilter.parse(*wanted.to_options()) == wanted
    assert wanted.unknown_names() == ()


def test_unknown_names_are_found_with_a_suggestion() -> None:
    """Each once; a known architecture with an impossible variant is one too."""
    wanted = PlatformFilter.parse(["linus", "linux"], ["amd46", "arm:v9"], ["linus/s390x"])
    assert wanted.unknown_names() == (
        "os 'linus' (did you mean linux?)",
        "architecture 'amd46' (did you mean amd64?)",
        "variant 'v9' of arm",
    )


def test_platform_pairs_are_not_mixed() -> None:
    """`--platform` never combines the os of one value with the architecture of another."""
    wanted = PlatformFilter.parse(platforms=["linux/arm64", "windows/amd64"])
    assert wanted.matches(Platform("linux", "arm64", "v8"))
    assert not wanted.matches(Platform("linux", "amd64"))


@pytest.mark.parametrize("text", ["linux", "linux/", "a/b/c/d", "//"])
def test_an_invalid_platform_is_refused(text: str) -> None:
    """The error says what a platform is."""
    with pytest.raises(InvalidReference, match="platform"):
        PlatformFilter.parse(platforms=[text])
