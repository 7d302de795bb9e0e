from collections.abc import Iterator
from pathlib import Path

import pytest

from image_syncer.testing.fake_registry import FakeRegistry
from support.command_line import CommandLine


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[CommandLine]:
    """Return the command line in a directory of its own."""
    line = CommandLine(tmp_path)
    yield line
    line.close()


@pytest.fixture
def source() -> Iterator[FakeRegistry]:
    """Return a registry to read from."""
    with FakeRegistry.in_thread() as registry:
        yield registry


@pytest.fixture
def target() -> Iterator[FakeRegistry]:
    """Return a registry to write to."""
    with FakeRegistry.in_thread() as registry:
        yield registry
