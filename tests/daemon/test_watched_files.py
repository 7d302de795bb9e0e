"""Which changes of files make the daemon read its configuration again."""

from pathlib import Path

import pytest

from image_syncer.daemon.reload import Stamps, is_settled, stamp

OLD, NEW = (1, 1, 1), (2, 2, 2)


@pytest.mark.parametrize(
    ("now", "last", "loaded", "expected"),
    [
        ((OLD,), (OLD,), (OLD,), False),
        ((NEW,), (OLD,), (OLD,), False),  # It may still be written.
        ((NEW,), (NEW,), (OLD,), True),
        ((None,), (None,), (OLD,), False),  # It is being replaced.
        ((OLD, NEW), (OLD, NEW), (OLD, OLD), True),
        ((OLD, None), (OLD, OLD), (OLD, OLD), False),
        ((OLD, None), (OLD, None), (OLD, OLD), True),  # An included file was removed.
        ((OLD, None), (OLD, None), (OLD, None), False),
        ((None, NEW), (None, NEW), (OLD, OLD), False),
    ],
)
def test_complete_changes_are_read(now: Stamps, last: Stamps, loaded: Stamps, expected: bool) -> None:
    """Two equal checks in a row."""
    assert is_settled(now, last, loaded) is expected


def test_a_directory_changes_with_the_names_of_its_configuration_files(tmp_path: Path) -> None:
    """A database or a log beside them changes all the time."""
    (tmp_path / "a.yaml").write_text("")
    before = stamp(tmp_path)
    (tmp_path / "state.db-wal").write_text("")
    assert stamp(tmp_path) == before
    (tmp_path / "b.json").write_text("{}")
    added = stamp(tmp_path)
    assert added != before
    (tmp_path / "b.json").unlink()
    assert stamp(tmp_path) == before
    assert stamp(tmp_path / "gone") is None
