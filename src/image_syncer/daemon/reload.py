"""A changed configuration takes effect without a restart; a bad one is refused, and the old one stays."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from image_syncer.config.model import Configuration
from image_syncer.errors import ImageSyncerError, UsageError

_LOOK_SECONDS: Final = 1.0
_REST_SECONDS: Final = 2.0

_Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """Where the configuration is written, and how it is read (`UsageError` with file and line where it is bad)."""

    path: Path
    load: Callable[[], Configuration]


class Reloader:
    """Reads the file again when it has changed, or when *asked* is set, and lets *apply* make it hold.

    *apply* refuses with a `UsageError` what cannot be, before it has changed anything. Where it could not finish (the
    database does not answer) it is called again.
    """

    def __init__(
        self,
        file: ConfigurationFile,
        running: Configuration,
        apply: Callable[[Configuration], Awaitable[None]],
        *,
        asked: asyncio.Event,
    ) -> None:
        self._file = file
        self._running = running
        self._apply = apply
        self._asked = asked
        self._log: Any = structlog.get_logger()

    async def run(self) -> None:
        """Watch for ever."""
        read = self._stamps()
        last = read
        while True:
            await self._rest(_LOOK_SECONDS)
            now = self._stamps()
            # A file that is being written changes from one look to the next; one that is being replaced is missing.
            settled = None not in now and now == last and now != read
            last = now
            if self._asked.is_set() or settled:
                self._asked.clear()
                read = now
                if await self._reload():
                    read = last = self._stamps()

    async def _reload(self) -> bool:
        try:
            wanted = await asyncio.to_thread(self._file.load)
            await self._make_hold(wanted)
        except UsageError as error:
            self._log.error("configuration.refused", error=str(error), remedy="the old one stays in force")
            return False
        for key in needing_restart(self._running, wanted):
            self._log.warning("configuration.needs_restart", key=key)
        self._running = wanted
        for text in wanted.warnings:
            self._log.warning("configuration.warning", text=text)
        self._log.info("configuration.reloaded", rules=len(wanted.rules), hooks=len(wanted.hooks))
        return True

    async def _make_hold(self, wanted: Configuration) -> None:
        while True:
            try:
                return await self._apply(wanted)
            except UsageError:
                raise
            except ImageSyncerError as error:
                self._log.warning("configuration.postponed", error=str(error))
            await asyncio.sleep(_REST_SECONDS)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._asked.wait()
        except TimeoutError:
            return

    def _stamps(self) -> _Stamp:
        return tuple(_stamp(path) for path in (self._file.path, *map(Path, self._running.files)))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def needing_restart(old: Configuration, new: Configuration) -> list[str]:
    """Return the parts of *new* that differ from *old* and cannot change while we run."""
    pairs: dict[str, tuple[object, object]] = {"state": (old.state, new.state)}
    if old.server is not None and new.server is not None:
        pairs["server.listen"] = (old.server.host, old.server.port), (new.server.host, new.server.port)
        pairs["server.drain"] = old.server.drain_seconds, new.server.drain_seconds
    if old.fork is not None and new.fork is not None:
        pairs["sync.retryCount"] = old.fork.retries, new.fork.retries
        pairs["sync.filePosition"] = (old.fork.queue_file, old.fork.log_file), (new.fork.queue_file, new.fork.log_file)
    return [key for key, (before, after) in pairs.items() if before != after]
