import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from image_syncer.cli.files import check_writable, write
from image_syncer.errors import ImageSyncerError, UsageError


def test_a_file_is_written_whole_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    """The new content replaces the old, and no temporary file is left."""
    path = tmp_path / "report.json"
    path.write_text("old")
    write(path, ["new ", "content"])
    assert path.read_text() == "new content"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    """A reader never sees a part."""
    path = tmp_path / "report.json"
    path.write_text("old")

    def broken() -> Iterator[str]:
        yield "half"
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        write(path, broken())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """What a link points to is replaced, not the link."""
    (tmp_path / "real.json").write_text("old")
    link = tmp_path / "report.json"
    link.symlink_to(tmp_path / "real.json")
    write(link, ["new"])
    assert link.is_symlink()
    assert (tmp_path / "real.json").read_text() == "new"


def test_rights_of_a_file_are_kept(tmp_path: Path) -> None:
    """Who may read the old report may read the new one, and nobody else."""
    path = tmp_path / "report.json"
    path.write_text("old")
    path.chmod(0o640)
    write(path, ["new"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_file_has_the_usual_rights(tmp_path: Path) -> None:
    """The umask decides, as it does for every program."""
    path = tmp_path / "report.json"
    before = os.umask(0o022)
    try:
        write(path, ["new"])
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_device_is_written_in_place() -> None:
    """`--report /dev/null` is no error."""
    check_writable(Path("/dev/null"), "--report")
    write(Path("/dev/null"), ["new"])
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("name", ["missing/report.json", "."])
def test_a_path_that_cannot_be_written_is_found_out_early(tmp_path: Path, name: str) -> None:
    """One line with the option, before anything is contacted."""
    with pytest.raises(UsageError, match=r"--report .*: cannot be written: "):
        check_writable(tmp_path / name, "--report")


def test_the_check_leaves_nothing_behind(tmp_path: Path) -> None:
    """A run that never ends has written no report."""
    check_writable(tmp_path / "report.json", "--report")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_vanished_is_one_clear_error(tmp_path: Path) -> None:
    """What happens between the check and the end is reported like everything else."""
    with pytest.raises(ImageSyncerError, match="its directory does not exist"):
        write(tmp_path / "gone" / "report.json", ["new"])
