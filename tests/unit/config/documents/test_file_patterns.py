"""Patterns of files find what a shell finds, within bounds."""

import glob
import os
from pathlib import Path

import pytest
from tests.unit.config.native.test_native_parts import load, write

from image_syncer.config.documents import file_patterns
from image_syncer.config.documents.file_patterns import find_files, fixed_directory
from image_syncer.errors import ConfigError, UsageError

FILES = ("a.yaml", "b.json", ".hidden.yaml", "x/c.yaml", "x/y/d.yaml", "x/.z/e.yaml", "[q]/f.yaml", "x1/g.yaml")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files in several directories."""
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    "pattern",
    [
        *("*", "*.yaml", "**", "**/*", "**/*.yaml", "x*/*.yaml", "x/**/d.yaml", "**/y/*", ".*", "x/.z/*", "**/.z/*"),
        *("?.yaml", "[ab].*", "x/*", "[[]q]/*", "*/y/d.yaml", "./*.yaml", "x/../*.yaml", "none*", "*/*/*/*/*"),
    ],
)
def test_a_pattern_finds_what_the_standard_library_finds(tree: Path, pattern: str) -> None:
    """Existing patterns keep their meaning, relative and absolute ones."""
    start = f"{glob.escape(str(tree))}/"
    wanted = {os.path.normpath(path) for path in glob.glob(start + pattern, recursive=True)}  # noqa: PTH207
    wanted.discard(str(tree))
    found = {os.path.normpath(path) for path in find_files(pattern, str(tree))} - {str(tree)}
    assert found == wanted
    assert {os.path.normpath(path) for path in find_files(start + pattern)} - {str(tree)} == wanted


def test_links_form_no_loops(tree: Path) -> None:
    """A directory that links to one above it is searched once."""
    (tree / "x" / "up").symlink_to(tree)
    (tree / "x" / "self").symlink_to("self")
    found = find_files("**/*.yaml", str(tree))
    assert len(found) == len({os.path.realpath(path) for path in found})
    assert len(found) < len(FILES)


@pytest.mark.parametrize(
    ("limit", "what"),
    [("ENTRIES_LIMIT", "files"), ("DIRECTORIES_LIMIT", "directories"), ("DEPTH_LIMIT", "levels of directories")],
)
def test_each_bound_is_an_error_that_names_the_pattern(
    tree: Path, monkeypatch: pytest.MonkeyPatch, limit: str, what: str
) -> None:
    """A pattern that finds nothing is bounded too."""
    monkeypatch.setattr(file_patterns, limit, 1)
    with pytest.raises(UsageError, match=rf"'\*\*/none': this pattern searches more than 1 {what}"):
        find_files("**/none", str(tree))


def test_including_the_whole_disk_is_an_error_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the place of the pattern."""
    monkeypatch.setattr(file_patterns, "DIRECTORIES_LIMIT", 20)
    write(tmp_path, {"all.yaml": "version: 1\ninclude:\n  - /**\nrules: []\n"})
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "all.yaml")
    assert str(error.value).startswith(f"{tmp_path}/all.yaml:3:5: '/**': this pattern searches more than 20 ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every directory")
def test_a_directory_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    """Its rules would silently be missing."""
    (tmp_path / "conf.d").mkdir(mode=0)
    write(tmp_path, {"all.yaml": "version: 1\ninclude: conf.d\nrules: []\n"})
    with pytest.raises(ConfigError, match="this directory cannot be listed: Permission denied"):
        load(tmp_path / "all.yaml")


@pytest.mark.parametrize(
    ("pattern", "directory"),
    [("/**", "/"), ("/etc/*.yaml", "/etc"), ("*.yaml", ""), ("conf/**/x", "conf"), ("a/b*/c", "a")],
)
def test_the_fixed_part_of_a_pattern_is_a_directory(pattern: str, directory: str) -> None:
    """The daemon watches it."""
    assert fixed_directory(pattern) == directory
