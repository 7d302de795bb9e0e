"""`ways:` of rules, of defaults and of registries."""

from pathlib import Path

import pytest

from image_syncer.config.load import load_file
from image_syncer.config.model import Configuration
from image_syncer.errors import UsageError
from image_syncer.oci import PlatformFilter
from image_syncer.roles import ALL_WAYS, Way

RULE = "{name: app, source: s.example.com/app, targets: [t.example.com/app]"


def load(directory: Path, rule: str = "", defaults: str = "{}", registry: str = "{}") -> Configuration:
    """Return a file with these keys."""
    file = directory / "mirror.yaml"
    registries = f"registries:\n  t.example.com: {registry}\n"
    file.write_text(f"version: 1\n{registries}defaults: {defaults}\nrules:\n  - {RULE}{rule}}}\n")
    return load_file(file, platforms=PlatformFilter(), environment={})


def test_all_ways_are_allowed_unless_said(tmp_path: Path) -> None:
    """A rule's own key replaces that of `defaults:`; a registry has one of its own."""
    plain = load(tmp_path)
    assert (plain.rules[0].ways, plain.accounts[0].ways) == (ALL_WAYS, ALL_WAYS)
    found = load(tmp_path, ", ways: [mount, stream]", "{ways: stream}", "{ways: [import, stream]}")
    assert (found.rules[0].ways, found.accounts[0].ways) == ({Way.MOUNT, Way.STREAM}, {Way.IMPORT, Way.STREAM})
    assert load(tmp_path, defaults="{ways: stream}").rules[0].ways == {Way.STREAM}


def test_what_a_cache_pulls_from(tmp_path: Path) -> None:
    """A registry or a prefix, in its usual spelling; a wrong one is one line that says where."""
    assert (
        load(tmp_path, registry="{pulls_from: index.docker.io/library/}").accounts[0].pulls_from == "docker.io/library"
    )
    assert not load(tmp_path).accounts[0].pulls_from
    for wrong in ("https://docker.io", "hub", "docker.io/UPPER"):
        with pytest.raises(UsageError, match=r"registries\.t\.example\.com\.pulls_from: .*neither registry nor"):
            load(tmp_path, registry=f"{{pulls_from: '{wrong}'}}")


@pytest.mark.parametrize(
    ("ways", "message"),
    [
        ("[mount]", "stream is missing: the other ways fall back to it"),
        ("[]", "stream is missing"),
        ("[stream, fly]", "'mount', 'import', 'hydrate' or 'stream'"),
    ],
)
def test_a_wrong_way_is_one_line(tmp_path: Path, ways: str, message: str) -> None:
    """It says where, and what is possible."""
    with pytest.raises(UsageError) as raised:
        load(tmp_path, f", ways: {ways}")
    assert message in str(raised.value)
    assert "ways" in str(raised.value)
    assert "\n" not in str(raised.value)
