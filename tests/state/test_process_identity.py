"""Who works on an upload, and what becomes of it when he is gone."""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from image_syncer.cache.backend import UploadRecord
from image_syncer.oci import Digest, Repository
from image_syncer.roles import UploadCheckpoint
from image_syncer.state import State
from image_syncer.state.cache_tables import StateCacheBackend
from image_syncer.state.process_identity import is_gone, this_process

HERE = Repository("target.test", "mirror/app")
BLOB = Digest.of(b"blob")
BEGUN = UploadCheckpoint("/v2/mirror/app/blobs/uploads/1?_state=x", 5)


def test_a_process_that_lives_is_not_gone() -> None:
    """This one, for a start; and it is called the same each time."""
    assert this_process() == this_process() != ""
    assert not is_gone(this_process())


def test_a_process_that_has_ended_is_gone() -> None:
    """Also before anybody has asked how."""
    program = "from image_syncer.state.process_identity import this_process; print(this_process(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        name = other.stdout.readline().decode().strip()
        assert not is_gone(name)
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(name)
    assert is_gone(name)


def test_another_process_with_the_same_id_is_another() -> None:
    """Ids are used again: when it began tells them apart."""
    here, _, began = this_process().rpartition(" ")
    assert is_gone(f"{here} {int(began) - 1}")


@pytest.mark.parametrize("name", ["", "x", "elsewhere pid:[1] 1 1", "elsewhere pid:[1] x y"])
def test_of_a_process_elsewhere_nothing_is_known(name: str) -> None:
    """Another machine, another container, or a malformed text."""
    assert not is_gone(name)


def archive(state: State, *, later: float = 0, holder: str | None = None) -> StateCacheBackend:
    """Return the archive in *state*, *later* seconds after noon, as the process *holder* has it."""
    now = datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(seconds=later)
    return StateCacheBackend(state.database, keep=timedelta(days=30), now=lambda: now, holder=holder)


async def test_an_upload_of_who_has_gone_is_taken_by_one(state: State) -> None:
    """At once, and the second who asks gets nothing."""
    gone = f"{this_process().rpartition(' ')[0]} 1"
    await archive(state, holder=gone).write([UploadRecord(HERE, BLOB, BEGUN)], tidy=False)
    assert await archive(state, later=1).take_upload(HERE, BLOB) == BEGUN
    assert await archive(state, later=2, holder="other pid:[1] 7 7").take_upload(HERE, BLOB) is None


async def test_an_upload_of_who_may_live_is_left_for_a_minute(state: State) -> None:
    """Who works on it writes of it more often than that."""
    await archive(state, holder="other pid:[1] 7 7").write([UploadRecord(HERE, BLOB, BEGUN)], tidy=False)
    assert await archive(state, later=59).take_upload(HERE, BLOB) is None
    assert await archive(state, later=61).take_upload(HERE, BLOB) == BEGUN


async def test_two_who_ask_at_once_do_not_both_get_it(state: State) -> None:
    """The first process to change the row has it."""
    await archive(state, holder="").write([UploadRecord(HERE, BLOB, BEGUN)], tidy=False)
    asking = [archive(state, later=100, holder=f"other pid:[1] {number} 7") for number in range(5)]
    taken = await asyncio.gather(*(one.take_upload(HERE, BLOB) for one in asking))
    assert sorted(taken, key=str) == [None, None, None, None, BEGUN]


async def test_what_is_not_noted_is_not_taken(state: State) -> None:
    """Another blob, another repository."""
    await archive(state).write([UploadRecord(HERE, BLOB, BEGUN)], tidy=False)
    assert await archive(state).take_upload(HERE, Digest.of(b"other")) is None
    assert await archive(state).take_upload(Repository("target.test", "other"), BLOB) is None
    await archive(state).write([UploadRecord(HERE, BLOB, None)], tidy=False)
    assert await archive(state).take_upload(HERE, BLOB) is None
