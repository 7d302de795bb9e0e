"""Files of a configuration that are none: pipes, devices, directories."""

import os
import threading
from pathlib import Path

import pytest

from image_syncer.cli.main import main
from image_syncer.config import bounded_file
from image_syncer.config.bounded_file import read_bounded


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """Return a named pipe."""
    path = tmp_path / "mirror.yaml"
    os.mkfifo(path)
    return path


def test_a_pipe_without_a_writer_is_one_clear_error(
    pipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a minute, in place of never."""
    monkeypatch.setattr(bounded_file, "_PIPE_SECONDS", 0.05)
    assert main(["config", "validate", "-c", str(pipe)]) == 2
    error = capsys.readouterr().err
    assert f"{pipe}: cannot be read: nothing was written into this pipe for 0.05 s" in error
    assert error.count("\n") == 1


def test_a_pipe_is_read_to_its_end(pipe: Path) -> None:
    """Its writer comes late, and writes more than a pipe holds; no more is read than the limit."""
    content = b"x" * 200_000

    def write() -> None:
        with pipe.open("wb") as file:
            for at in range(0, len(content), 50_000):
                file.write(content[at : at + 50_000])
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    assert read_bounded(pipe, 300_000) == content
    writer.join()
    assert read_bounded(Path("/dev/zero"), 1000) == bytes(1001)
    assert read_bounded(Path("/dev/null"), 1000) == b""


def test_a_process_substitution_is_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    """`-c <(sops -d mirror.yaml)`: the shell gives a pipe that is open already."""
    reading, writing = os.pipe()
    os.write(writing, b"version: 1\nrules: [{name: a, source: q.io/a, targets: t.io/a}]\n")
    os.close(writing)
    try:
        assert main(["config", "validate", "-c", f"/dev/fd/{reading}"]) == 0
    finally:
        os.close(reading)
    assert "valid: 1 rule" in capsys.readouterr().out
