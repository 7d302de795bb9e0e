"""The check of names and words."""

from pathlib import Path

import pytest

from check_names import old_words, repeated_stems


def test_a_stem_in_two_packages_is_reported() -> None:
    """Both files are named; each layer may have its own errors, and tests any name."""
    files = ["src/image_syncer/a/lease.py", "src/image_syncer/b/lease.py", "tests/lease.py"]
    (finding,) = repeated_stems([*files, "src/image_syncer/a/errors.py", "src/image_syncer/b/errors.py"])
    assert all(file in finding for file in files[:2])


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("# no-body waits, who-ever asks", 2),
        ("# the daemon is-told to stop", 1),
        ("# no caller waits", 0),
        ('user = "nobody"', 0),
    ],
)
def test_old_words_are_reported(text: str, findings: int, tmp_path: Path) -> None:
    """The Unix user of that name is none of them. Words are split here, or this file would be reported too."""
    file = tmp_path / "module.py"
    file.write_text(text.replace("is-told", "is " + "told").replace("-", ""))
    assert len(list(old_words([str(file)]))) == findings
