"""A source may name one manifest by its digest; the targets then may name it by tags."""

from pathlib import Path

import pytest

from image_syncer.config.load import load_file
from image_syncer.errors import UsageError
from image_syncer.oci import Digest, PlatformFilter, Repository
from image_syncer.sync.pairing import pair_up
from image_syncer.sync.rule import ByDigest, Rule

PIN = "sha256:" + "1" * 64


def rule(directory: Path, more: str, *, source: str, targets: str = "t.io/x") -> Rule:
    """Return the only rule of a native file, with *more* in it."""
    path = directory / "n.yaml"
    path.write_text(f"version: 1\nrules:\n - name: one\n   source: {source}\n   targets: {targets}\n   {more}\n")
    return load_file(path, platforms=PlatformFilter(), environment={}).rules[0]


def test_a_source_with_a_digest_selects_that_manifest(tmp_path: Path) -> None:
    """Its targets keep the digest, or get tags."""
    found = rule(tmp_path, "", source=f"q.io/a@{PIN}", targets="[t.io/kept, 't.io/named:v1', 't.io/named:latest']")
    assert found.source == Repository.parse("q.io/a")
    assert found.selection == ByDigest(Digest.parse(PIN))
    copies = pair_up(found, [Repository.parse("q.io/a").at(Digest.parse(PIN))]).copies
    assert [str(copy.target) for copy in copies] == [f"t.io/kept@{PIN}", "t.io/named:v1", "t.io/named:latest"]


@pytest.mark.parametrize(
    ("source", "more", "message"),
    [
        (f"q.io/a@{PIN}", "tags: v1", "n.yaml:6.*tags: the source names one manifest by its digest"),
        (f"q.io/**@{PIN}", "on: event", "a pattern of repositories with a digest"),
        (f"user:secret@q.io/a@{PIN}", "", "a source cannot have an @"),
        ("q.io/a@sha256:12", "", "a source cannot have an @"),
        (f"q.io/a:v1@{PIN}", "", "a source is a repository without a tag"),
    ],
)
def test_a_digest_excludes_other_selections(tmp_path: Path, source: str, more: str, message: str) -> None:
    """One line, without a login."""
    with pytest.raises(UsageError, match=message) as caught:
        rule(tmp_path, more, source=source)
    assert "secret" not in str(caught.value)
