"""Files that are missing, unreadable, too large or in the wrong encoding."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from image_syncer.config.documents.document import FILE_LIMIT_BYTES, read_document
from image_syncer.config.documents.node import Scalar
from image_syncer.errors import ConfigError
from support.config_errors import without_columns


def error_text(directory: Path, load: Callable[[], object]) -> str:
    """Return the text of the error that *load* raises, without the directory."""
    with pytest.raises(ConfigError) as error:
        load()
    return without_columns(str(error.value).replace(f"{directory}/", ""))


def write(directory: Path, name: str, text: str | bytes) -> Path:
    """Return the path of a new file."""
    path = directory / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(path: Path) -> object:
    """Read *path* with a known remedy."""
    return read_document(path, remedy_if_empty="write something")


@pytest.mark.parametrize("name", ["a.yaml", "a.yml", "a.json", "a.JSON"])
def test_the_suffix_selects_the_syntax(tmp_path: Path, name: str) -> None:
    """All suffixes of the Go tool are accepted, in any case."""
    node = read_document(write(tmp_path, name, '{"key": "value"}'), remedy_if_empty="")
    assert node.entries[0].value == Scalar("value", "text", 1)


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    """Some editors on Windows write one."""
    assert read_document(write(tmp_path, "a.json", b"\xef\xbb\xbf{}"), remedy_if_empty="").entries == ()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "a: b", "a.txt: cannot tell YAML from JSON (the name must end in .yaml, .yml or .json)"),
        ("a", "a: b", "a: cannot tell YAML from JSON (the name must end in .yaml, .yml or .json)"),
        ("a.yaml", "", "a.yaml: the file is empty (write something)"),
        ("a.yaml", "---\n# nothing\n", "a.yaml: the file is empty (write something)"),
        ("a.json", "// nothing", "a.json: the file is empty (write something)"),
        ("a.json", "null", "a.json: the file is empty (write something)"),
        ("a.yaml", "# c\n- a\n", "a.yaml:2: expected a map, found a list (write something)"),
        ("a.yaml", "a: b\nc: \xff".encode("latin-1"), "a.yaml:2: not UTF-8 (save the file as UTF-8)"),
        ("a.yaml", b"#" * (FILE_LIMIT_BYTES + 1), "a.yaml: larger than 16 MiB"),
        ("a.yaml", "a: 1\nb: [", "a.yaml:2: not YAML: expected"),
    ],
)
def test_other_content_is_an_error(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    """The error has file, line, problem and remedy."""
    path = write(tmp_path, name, content)
    assert error_text(tmp_path, lambda: read(path)).startswith(message)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """The error names the path."""
    assert error_text(tmp_path, lambda: read(tmp_path / "no.yaml")) == "no.yaml: no such file (check the path)"


def test_a_directory_is_an_error(tmp_path: Path) -> None:
    """A directory may have a suffix, too."""
    (tmp_path / "dir.yaml").mkdir()
    assert error_text(tmp_path, lambda: read(tmp_path / "dir.yaml")) == "dir.yaml: a directory, not a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    """A file with secrets may belong to another user."""
    path = write(tmp_path, "secret.yaml", "a: b")
    path.chmod(0)
    assert error_text(tmp_path, lambda: read(path)).startswith("secret.yaml: may not be read by this user")


def test_any_other_system_error_is_named(tmp_path: Path) -> None:
    """A path below a file is an example."""
    write(tmp_path, "file", "")
    assert (
        error_text(tmp_path, lambda: read(tmp_path / "file" / "a.yaml"))
        == "file/a.yaml: cannot be read: Not a directory"
    )


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.yaml", "  - a\n", "a.yaml:1:3: "),
        ("a.json", " [1]", "a.json:1:2: "),
        ("a.yaml", "a: b\nß: \xff".encode("latin-1"), "a.yaml:2:1: "),
        ("a.yaml", b"a: \xc3\xa4 \xff", "a.yaml:1:6: "),
        ("a.yaml", "a:\n  bcd: e: f\n", "a.yaml:2:9: "),
        ("a.yaml", "a: b\n  \n ä: \x01", "a.yaml:3:5: "),
        ("a.yaml", "a: b\nc: {d: e, d: f}\n", "a.yaml:2:11: "),
        ("a.yaml", "a: b\nc:  !tag d\n", "a.yaml:2:5: "),
        ("a.yaml", "a:\n - b: *none\n", "a.yaml:2:7: "),
        ("a.json", '{"a": 1,\n  "a": 2}', "a.json:2:3: "),
        ("a.json", '/* x\n y */ {"a": 1 "b": 2}', "a.json:2:15: "),
        ("a.json", '// x\n["y", "z]', "a.json:2:7: "),
    ],
)
def test_an_error_has_its_column(tmp_path: Path, name: str, content: str | bytes, place: str) -> None:
    """Columns count characters from 1, as editors do."""
    path = write(tmp_path, name, content)
    with pytest.raises(ConfigError) as error:
        read(path)
    assert str(error.value).startswith(f"{tmp_path}/{place}")
    assert f"{path}:{error.value.line}:{error.value.column}: {error.value.problem}" == error.value.message
