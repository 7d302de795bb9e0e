"""Layouts on disk as sources and targets of native rules."""

from pathlib import Path

import pytest

from image_syncer.config.load import load_file
from image_syncer.errors import UsageError
from image_syncer.oci import Digest, PlatformFilter, Reference
from image_syncer.sync.pairing import pair_up
from image_syncer.sync.rule import ByDigest, Rule

PIN = "sha256:" + "1" * 64


def rule(directory: Path, source: str, targets: str, more: str = "") -> Rule:
    """Return the only rule of a native file, with *more* in it."""
    path = directory / "n.yaml"
    path.write_text(f"version: 1\nrules:\n - name: one\n   source: {source}\n   targets: {targets}\n   {more}\n")
    return load_file(path, platforms=PlatformFilter(), environment={}).rules[0]


@pytest.mark.parametrize(
    ("target", "source", "becomes"),
    [
        ("oci:images", "q.io/team/app:v1", "oci:images:v1"),
        ("oci:images:stable", "q.io/team/app:v1", "oci:images:stable"),
        ("'oci:images:{tag}-copy'", "q.io/team/app:v1", "oci:images:v1-copy"),
        ("'oci:/srv/{repository}'", "q.io/team/app:v1", "oci:/srv/team/app:v1"),
        ("'oci:/srv/{registry}/{repository}'", "q.io/team/app:v1", "oci:/srv/q.io/team/app:v1"),
        ("'oci:/srv:{repository}'", "q.io/team/app:v1", "oci:/srv:team/app:v1"),
        ("'oci:/srv:{registry}/{repository}:{tag}'", "q.io/team/app:v1", "oci:/srv:q.io/team/app:v1"),
        ("'oci:/srv:{registry}/{repository}'", "localhost:5000/app:v1", "oci:/srv:localhost:5000/app:v1"),
        ("'oci:/srv:{repository}:all'", "q.io/team/app:v1", "oci:/srv:team/app:all"),
        ("'oci:../{namespace}/{name}:{name}-{tag}'", "q.io/team/app:v1", "oci:../team/app:app-v1"),
        ("'oci-archive:{repository}.tar'", "q.io/team/app:v1", "oci-archive:team/app.tar:v1"),
        ("oci:images", f"q.io/team/app@{PIN}", f"oci:images@{PIN}"),
        ("q.io/mirror/app", "oci:images:v1", "q.io/mirror/app:v1"),
        ("'q.io/mirror/{repository}'", "oci:images:team/app:v1", "q.io/mirror/team/app:v1"),
        ("q.io/mirror/app", "docker-archive:saved.tar:v1", "q.io/mirror/app:v1"),
    ],
)
def test_a_target_is_made_of_its_source(tmp_path: Path, target: str, source: str, becomes: str) -> None:
    """The path and the name of a layout may have what a path at a registry may have."""
    reference = Reference.parse(source)
    found = rule(tmp_path, str(reference.repository), target)
    paired = pair_up(found, [reference])
    assert [str(copy.target) for copy in paired.copies] == [becomes]
    assert paired.failures == []


def test_a_layout_with_a_digest_names_one_manifest(tmp_path: Path) -> None:
    """As a repository does."""
    found = rule(tmp_path, f"oci:images@{PIN}", "q.io/app:v1")
    assert str(found.source) == "oci:images"
    assert found.selection == ByDigest(Digest.parse(PIN))


@pytest.mark.parametrize(
    ("source", "target", "more", "message"),
    [
        ("oci:images:v1", "t.io/x", "", "a source is a layout without a tag"),
        ("localhost:5000/app", "'oci:/srv/{registry}'", "", "the path of a layout has no colon"),
        ("'oci:'", "t.io/x", "", "the path is missing"),
        ("oci:images/*", "t.io/x", "", "a layout cannot have a wildcard"),
        ("oci:images", "t.io/x", "on: event", "nothing announces a push to a layout"),
        ("q.io/a", "docker-archive:x.tar", "", "can only be a source .write oci-archive:FILE"),
        ("q.io/a", f"oci:images@{PIN}", "", "a target with a digest"),
        ("q.io/a", "'oci:'", "", "the path is missing"),
        ("q.io/a", "'oci:/srv/{tag}'", "", "'{tag}' is not allowed here"),
        ("q.io/a", "'oci:/srv:{repository}:{registry}'", "", "'{registry}' is not allowed here"),
        ("q.io/a", "'oci:/srv:{repository}:{nope}'", "", "'{nope}' is not allowed here"),
        ("q.io/a", "'oci:/srv/{repository}'", "rename: {'^a$': '../../etc'}", "leads out of its directory"),
        ("oci:./images", "oci:images", "", "source and target are the same"),
        ("oci://registry.example.com/chart", "t.io/x", "", "a source that begins with oci://"),
    ],
)
def test_mistakes_have_their_line(tmp_path: Path, source: str, target: str, more: str, message: str) -> None:
    """Each with the remedy."""
    with pytest.raises(UsageError, match=rf"n\.yaml:[3-6]:\d+: .*{message}"):
        rule(tmp_path, source, target, more)


def test_the_files_of_the_go_tool_have_no_layouts(tmp_path: Path) -> None:
    """`oci:v1` is a tag of `docker.io/library/oci` there, as always."""
    path = tmp_path / "images.yaml"
    path.write_text("images:\n  'oci:v1,v2': t.io/x\n")
    found = load_file(path, platforms=PlatformFilter(), environment={}).rules[0]
    assert str(found.source) == "docker.io/library/oci"
    path.write_text("images:\n  'oci:./images/x': t.io/x\n")
    with pytest.raises(UsageError, match=r"images.yaml:2.*layouts are for native files"):
        load_file(path, platforms=PlatformFilter(), environment={})
