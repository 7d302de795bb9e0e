"""Keys of rules that select by content."""

from pathlib import Path

import pytest

from image_syncer.config.load import load_file
from image_syncer.errors import UsageError
from image_syncer.oci import PlatformFilter
from image_syncer.oci.content_selection import ContentSelection, IndexForm


def platforms(directory: Path, *keys: str, given: PlatformFilter | None = None) -> PlatformFilter:
    """Return the filter of the only rule of a native file, which has *keys*."""
    path = directory / "n.yaml"
    lines = [
        "version: 1",
        "rules:",
        " - name: one",
        "   source: q.io/a",
        "   targets: t.io/x",
        *(f"   {k}" for k in keys),
    ]
    path.write_text("\n".join(lines) + "\n")
    return load_file(path, platforms=given or PlatformFilter(), environment={}).rules[0].platforms


def test_content_keys_become_a_selection(tmp_path: Path) -> None:
    """Beside the platforms, which the command line may replace."""
    keys = (
        "platforms: linux/amd64",
        "artifacts: [image, 'application/vnd.example.*']",
        "annotations: {org.opencontainers.image.version: '1.*'}",
        "labels: {team: payments}",
        "entries: {variant: /slim|full/}",
        "index: auto",
    )
    content = ContentSelection(
        ("image", "application/vnd.example.*"),
        (("org.opencontainers.image.version", "1.*"),),
        (("team", "payments"),),
        (("variant", "/slim|full/"),),
        index=IndexForm.AUTO,
    )
    assert platforms(tmp_path, *keys).content == content
    given = PlatformFilter.parse(["windows"])
    assert platforms(tmp_path, *keys, given=given).systems == given.systems
    assert platforms(tmp_path, *keys, given=given).content == content
    assert platforms(tmp_path, "convert: oci").content == ContentSelection(to_oci=True)
    assert not platforms(tmp_path, "index: trimmed")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["artifacts: [images]"], "'images': not a type of artifact .*image, helm, wasm, model"),
        (["labels: {team: '/(/'}"], "n.yaml:6:.*not a regular expression"),
        (["index: spare"], "index: unknown value 'spare'.*did you mean sparse"),
        (["convert: docker"], "convert: unknown value 'docker'"),
        (["convert: oci", "index: auto"], "n.yaml:7:.*a converted index cannot be sparse"),
        (["annotations: {}"], "annotations: an empty"),
        (["platforms: 'windows/*:'"], "a platform is os/arch"),
    ],
    ids=str,
)
def test_bad_content_keys_are_errors(tmp_path: Path, keys: list[str], message: str) -> None:
    """With file, line and remedy."""
    with pytest.raises(UsageError, match=message):
        platforms(tmp_path, *keys)
