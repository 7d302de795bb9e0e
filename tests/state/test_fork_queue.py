"""The fork's pending queue: nothing in it is lost, and it is never overwritten."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from image_syncer.errors import ConfigError
from image_syncer.state import State, import_fork_queue
from image_syncer.state.fork_queue import PendingImage, read_fork_queue

NOW = datetime(2026, 5, 1, tzinfo=UTC)
QUEUE = {
    "hub.test/team/app:1.0&mirror.test": 0,
    "hub.test/team/app:1.0&other.test:5000": 3,
    "hub.test:5000/team/a/b:v2&mirror.test/sub": 99,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A queue as the fork wrote it."""
    path = tmp_path / "images.json"
    path.write_text(json.dumps(QUEUE), encoding="utf-8")
    return path


def test_entries_are_split_at_their_destination(file: Path) -> None:
    """The index is not looked at (F7), and ports and paths do not confuse the split (F4, F5)."""
    queue = read_fork_queue(file)
    assert queue is not None
    assert queue.images == (
        PendingImage("hub.test/team/app", "1.0", "mirror.test"),
        PendingImage("hub.test/team/app", "1.0", "other.test:5000"),
        PendingImage("hub.test:5000/team/a/b", "v2", "mirror.test/sub"),
    )


def content_of(file: Path) -> bytes:
    """Return the bytes of *file*, none where it is gone."""
    return file.read_bytes() if file.exists() else b""


def write(file: Path, content: bytes) -> None:
    """Put *content* in place of the queue."""
    file.write_bytes(content)


async def test_every_image_becomes_an_event_and_the_file_is_kept_aside(state: State, file: Path) -> None:
    """One event per tag: today's rules say where it goes."""
    content = content_of(file)
    imported = await import_fork_queue(file, state.events, now=NOW)
    assert imported is not None
    assert (imported.kept_as.name, content_of(imported.kept_as)) == ("images.json.imported", content)
    assert content_of(file) == b""
    waiting = {(event.source, event.repository, event.tag) for event in await state.events.list_pending()}
    assert waiting == {("fork-queue", "hub.test/team/app", "1.0"), ("fork-queue", "hub.test:5000/team/a/b", "v2")}


async def test_an_import_that_was_stopped_before_the_rename_is_no_second_event(state: State, file: Path) -> None:
    """Killed between commit and rename, the next start finds the same events."""
    content = content_of(file)
    await import_fork_queue(file, state.events, now=NOW)
    write(file, content)
    imported = await import_fork_queue(file, state.events, now=NOW)
    assert imported is not None
    assert imported.kept_as.name == "images.json.imported.1"
    assert await state.events.count_pending() == 2


async def test_a_file_kept_aside_earlier_is_not_overwritten(state: State, file: Path) -> None:
    """What somebody keeps is his."""
    earlier = file.with_name("images.json.imported")
    earlier.write_text("precious", encoding="utf-8")
    await import_fork_queue(file, state.events, now=NOW)
    assert earlier.read_text(encoding="utf-8") == "precious"


async def test_no_file_is_nothing_to_import(state: State, tmp_path: Path) -> None:
    """The ordinary start."""
    assert await import_fork_queue(tmp_path / "images.json", state.events, now=NOW) is None


@pytest.mark.parametrize("content", [b"{}", b"null", b" {} \n"])
async def test_an_empty_queue_is_kept_aside_too(state: State, file: Path, content: bytes) -> None:
    """The fork wrote one at every stop without work."""
    write(file, content)
    assert await import_fork_queue(file, state.events, now=NOW) is not None
    assert await state.events.count_pending() == 0


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b'{"hub.test/team/app:1.0&mirror', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b'["hub.test/a/b:1&c.test"]', "one JSON object"),
        (b'{"hub.test/a/b": "c.test/a/b"}', "not an entry"),
        (b'{"hub.test/a/b:1&c.test": "x"}', "not an entry"),
        (b" " * (16 * 1024 * 1024 + 1), "larger"),
    ],
)
async def test_a_damaged_queue_is_refused_and_left_alone(state: State, file: Path, content: bytes, why: str) -> None:
    """The fork overwrote it with {} (F8); a rules file of the Go tool with the same name is no queue either."""
    write(file, content)
    with pytest.raises(ConfigError, match=why):
        await import_fork_queue(file, state.events, now=NOW)
    assert content_of(file) == content
    assert await state.events.count_pending() == 0


def test_the_line_of_the_damage_is_named(file: Path) -> None:
    """A person can mend it."""
    file.write_text('{\n"hub.test/a/b:1&c.test": 0,\n}', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"images\.json:3: "):
        read_fork_queue(file)


@pytest.mark.parametrize(
    "key", ["hub.test/Team/app:1&c", "hub.test/a/b&c", "hub.test/a/b:&c", "hub.test/a/b:x y&c", "nginx:1&c", "&c"]
)
async def test_one_impossible_name_does_not_hold_up_the_others(state: State, file: Path, key: str) -> None:
    """The fork let such names through; no registry has them. They are reported, and the file is kept."""
    write(file, json.dumps({key: 0, "hub.test/a/b:1&c": 0}).encode())
    imported = await import_fork_queue(file, state.events, now=NOW)
    assert imported is not None
    assert [image.tag for image in imported.queue.images] == ["1"]
    assert len(imported.queue.rejected) == 1


def test_the_first_part_is_a_registry_even_without_a_dot(file: Path) -> None:
    """As in the fork; it is never a namespace of Docker Hub."""
    file.write_text('{"harbor/team/app:1&c": 0, "Docker.io/nginx:2&c": 0}', encoding="utf-8")
    queue = read_fork_queue(file)
    assert queue is not None
    assert {image.repository for image in queue.images} == {"harbor/team/app", "docker.io/library/nginx"}
