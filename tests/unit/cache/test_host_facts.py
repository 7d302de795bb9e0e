"""Facts about registries in front of a backend."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import cast

from image_syncer.cache.backend import CacheBackend, CacheRecord, FactRecord, LazyBackend
from image_syncer.cache.host_facts import RELOAD_SECONDS, PersistentHostFacts
from image_syncer.cache.memory import MemoryHostFacts
from image_syncer.cache.write_behind import WriteBehind
from image_syncer.roles import HostFact

NOW = datetime(2026, 5, 1, tzinfo=UTC)


class Backend:
    """A backend with facts alone, which other processes can change."""

    def __init__(self) -> None:
        self.facts: dict[str, tuple[HostFact, float]] = {}
        self.queries = 0
        self.during_query = lambda: None

    async def host_facts(self, _host: str) -> Mapping[str, tuple[HostFact, float]]:
        """Return the facts."""
        self.queries += 1
        found = dict(self.facts)
        self.during_query()
        return found

    async def write(self, notes: tuple[CacheRecord, ...], *, tidy: bool) -> None:
        """Store *notes*."""
        del tidy
        for note in notes:
            assert isinstance(note, FactRecord)
            self.facts.pop(note.key, None)
            if note.value is not None:
                self.facts[note.key] = HostFact(note.value, NOW), note.seconds


def opened(backend: Backend, now: list[float], *, is_new: bool = False) -> tuple[PersistentHostFacts, list[int]]:
    """Return facts over *backend* at the time *now*, and a list that grows when the backend is opened."""
    opened: list[int] = []

    @asynccontextmanager
    async def open_backend() -> AsyncGenerator[CacheBackend]:
        opened.append(1)
        yield cast("CacheBackend", backend)

    warnings: list[str] = []
    buffer = WriteBehind(LazyBackend(open_backend, lambda: is_new), warnings.append)
    return PersistentHostFacts(buffer, lambda: now[0]), opened


async def test_a_host_is_read_once_and_again_after_five_minutes() -> None:
    """Facts of other processes appear then, and what they removed disappears."""
    backend, now = Backend(), [0.0]
    backend.facts["old"] = HostFact("yes", NOW), 3600.0
    facts, _ = opened(backend, now)
    assert [await facts.get("a.test", key) for key in ("old", "new")] == [HostFact("yes", NOW), None]
    backend.facts = {"new": (HostFact("yes", NOW), 3600.0)}
    now[0] = RELOAD_SECONDS - 1
    assert await facts.get("a.test", "new") is None
    assert backend.queries == 1
    now[0] = RELOAD_SECONDS
    assert [await facts.get("a.test", key) for key in ("old", "new")] == [None, HostFact("yes", NOW)]
    assert backend.queries == 2


async def test_a_change_during_the_query_is_newer_than_its_answer() -> None:
    """What this process records or forgets then counts."""
    backend, now = Backend(), [0.0]
    backend.facts = {"wrong": (HostFact("yes", NOW), 3600.0), "same": (HostFact("old", NOW), 3600.0)}
    facts, _ = opened(backend, now)

    def change() -> None:
        facts.forget("a.test", "wrong")
        facts.remember("a.test", "same", "new", seconds=60)

    backend.during_query = change
    assert await facts.get("a.test", "wrong") is None
    found = await facts.get("a.test", "same")
    assert found is not None
    assert found.value == "new"


async def test_a_state_that_does_not_exist_is_not_created_for_a_question() -> None:
    """A run that finds nothing to do leaves no file behind."""
    facts, opens = opened(Backend(), [0.0], is_new=True)
    assert await facts.get("a.test", "key") is None
    assert opens == []


async def test_the_oldest_of_ten_thousand_facts_is_forgotten() -> None:
    """Memory is bounded."""
    facts = MemoryHostFacts()
    for number in range(10_001):
        facts.remember("a.test", str(number), "yes", seconds=60)
    assert await facts.get("a.test", "0") is None
    assert await facts.get("a.test", "1") is not None
