"""Directories of strangers as layouts: nothing outside of them is read or written, and nothing large."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from image_syncer.errors import ContentMismatch, NotFound, ProtocolError, Refused, StoreError
from image_syncer.testing import Blob
from image_syncer.testing.images import single
from unit.layout.layout_kit import layout, opened, push


def replace_by_link(path: Path, target: str | Path) -> None:
    """Move what is at *path* aside, and put a link to *target* there."""
    path.rename(path.with_name("aside"))
    path.symlink_to(target)


BLOBS = Path("blobs") / "sha256"


def _link(file: Path) -> None:
    aside = file.parents[3] / file.name
    file.rename(aside)
    file.symlink_to(aside)


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


HOSTILE: Mapping[str, tuple[Callable[[Path], object], type[StoreError], str]] = {
    "no layout file": (lambda path: (path / "oci-layout").unlink(), NotFound, "oci-layout is missing"),
    "no version": (lambda path: (path / "oci-layout").write_text("{}"), ProtocolError, "version is None"),
    "a later version": (
        lambda path: (path / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}'),
        ProtocolError,
        "version is '2.0.0'",
    ),
    "large file": (lambda path: (path / "oci-layout").write_bytes(b" " * 5000), Refused, "more than"),
    "no index": (lambda path: (path / "index.json").unlink(), NotFound, "index.json"),
    "broken index": (lambda path: (path / "index.json").write_text("["), ProtocolError, "index.json: not JSON"),
    "a sparse index of 1 TiB": (lambda path: os.truncate(path / "index.json", 1 << 40), Refused, "more than 16 MiB"),
    "the index is a link": (lambda path: replace_by_link(path / "index.json", "aside"), Refused, "a link"),
    "the layout file is a link": (
        lambda path: replace_by_link(path / "oci-layout", "/etc/hostname"),
        Refused,
        "a link",
    ),
    "the blobs are a link": (lambda path: replace_by_link(path / "blobs", "aside"), Refused, "a link"),
    "the algorithm is a link": (lambda path: replace_by_link(path / BLOBS, "aside"), Refused, "a link"),
    "a blob is a link": (lambda path: [_link(file) for file in (path / BLOBS).iterdir()], Refused, "a link"),
    "a blob is a pipe": (
        lambda path: [_pipe(file) for file in (path / BLOBS).iterdir()],
        Refused,
        "not a regular file",
    ),
    "other content": (
        lambda path: [file.write_bytes(b"{}") for file in (path / BLOBS).iterdir()],
        ContentMismatch,
        "other content",
    ),
    "a sparse manifest of 1 TiB": (
        lambda path: [os.truncate(file, 1 << 40) for file in (path / BLOBS).iterdir()],
        Refused,
        "more than 4 MiB",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_hostile_directory_is_refused(tmp_path: Path, case: str) -> None:
    """Nothing outside of it is read, and nothing large."""
    change, error, message = HOSTILE[case]
    async with opened() as stores:
        await push(stores.target(layout(tmp_path / "app")), single("app"), "v1")
    change(tmp_path / "app")
    async with opened() as stores:
        with pytest.raises(error, match=message):
            await stores.source(layout(tmp_path / "app")).manifest("v1")


def names(path: Path) -> set[str]:
    """Return the names of all files below *path*."""
    return {file.name for file in path.rglob("*")}


def a_directory_with_files(path: Path) -> None:
    """Make a directory that is no layout."""
    path.mkdir()
    (path / "file").write_text("mine")


def a_file(path: Path) -> None:
    """Make a file."""
    path.write_text("mine")


def a_link_to_write_through(path: Path) -> None:
    """Make an empty directory but for a link, where unfinished blobs would be."""
    path.mkdir()
    (path / ".partial").symlink_to(path.parent)


def a_link_in_place_of_the_blobs(path: Path) -> None:
    """Make a layout whose blobs are elsewhere."""
    path.mkdir()
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (path / "blobs").symlink_to(path.parent)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(a_directory_with_files, "not empty", id="other files"),
        pytest.param(a_file, "File exists", id="a file"),
        pytest.param(a_link_to_write_through, "a link", id="a link to write through"),
        pytest.param(a_link_in_place_of_the_blobs, "a link", id="a link in place of the blobs"),
    ],
)
async def test_a_directory_that_is_no_layout_is_no_target(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    """Its files stay as they are."""
    path = tmp_path / "target"
    make(path)
    async with opened() as stores:
        with pytest.raises(Refused, match=message):
            await push(stores.target(layout(path)), single("app"), "v1")
    assert names(tmp_path) <= {"target", "file", ".partial", "oci-layout", "blobs", "index.json"}


def link_to_mine(path: Path) -> None:
    """Give the file `mine` the name *path*, too."""
    path.hardlink_to(path.parents[2] / "mine")


@pytest.mark.parametrize("make", [os.mkfifo, link_to_mine])
async def test_an_unfinished_blob_of_a_stranger_is_not_continued(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    """A pipe would block, and another name of a file of the user would overwrite it."""
    blob = Blob.generated("blob", 1000)
    (tmp_path / "mine").write_text("mine")
    async with opened() as stores:
        await push(stores.target(layout(tmp_path / "app")), single("app"), "v1")
    (tmp_path / "app" / ".partial").mkdir()
    make(tmp_path / "app" / ".partial" / f"sha256-{blob.digest.encoded}")
    async with opened() as stores:
        with pytest.raises(Refused, match="not a regular file, or one with several names"):
            await stores.target(layout(tmp_path / "app")).push_blob(blob.descriptor, blob.open)
    assert (tmp_path / "mine").read_text() == "mine"
