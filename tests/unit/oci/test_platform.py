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
