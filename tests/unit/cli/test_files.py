import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from image_syncer.cli.files import check_writable, write
from image_syncer.errors import ImageSyncerError, UsageError


def test_a_file_is_replaced_and_no_temporary_file_stays(tmp_path: Path) -> None:
    """The directory has only the new file."""
    path = tmp_path / "report.json"
    path.write_text("old")
    write(path, ["new ", "content"])
    assert path.read_text() == "new content"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_content(tmp_path: Path) -> None:
    """A reader never sees half a file."""
    path = tmp_path / "report.json"
    path.write_text("old")

    def broken() -> Iterator[str]:
        yield "half"
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        write(path, broken())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_symbolic_link_stays(tmp_path: Path) -> None:
    """The target of the link is replaced."""
    (tmp_path / "real.json").write_text("old")
    link = tmp_path / "report.json"
    link.symlink_to(tmp_path / "real.json")
    write(link, ["new"])
    assert link.is_symlink()
    assert (tmp_path / "real.json").read_text() == "new"


def test_the_mode_of_a_file_is_kept(tmp_path: Path) -> None:
    """The same users can read the new file."""
    path = tmp_path / "report.json"
    path.write_text("old")
    path.chmod(0o640)
    write(path, ["new"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_the_umask_decides_about_the_mode_of_a_new_file(tmp_path: Path) -> None:
    """A umask of 022 gives mode 644."""
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
def test_the_check_refuses_a_path_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    """The error names the option."""
    with pytest.raises(UsageError, match=r"--report .*: cannot be written: "):
        check_writable(tmp_path / name, "--report")


def test_the_check_leaves_no_file(tmp_path: Path) -> None:
    """A run that is killed leaves no empty report."""
    check_writable(tmp_path / "report.json", "--report")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_vanishes_is_a_named_error(tmp_path: Path) -> None:
    """The directory may vanish between the check and the end of the run."""
    with pytest.raises(ImageSyncerError, match="its directory does not exist"):
        write(tmp_path / "gone" / "report.json", ["new"])
