"""The configuration in force, and its reload: a changed file takes effect without a restart, a bad one is refused."""

import asyncio
import stat
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import structlog

from image_syncer.app import Options
from image_syncer.config.documents.document import SUFFIXES
from image_syncer.config.documents.problems import ConfigErrors
from image_syncer.config.model import Configuration
from image_syncer.errors import ConfigError, ImageSyncerError, UsageError
from image_syncer.events.matching import Matches, match_push, rules_for_referrers
from image_syncer.oci import Repository
from image_syncer.sync.rule import Rule

_CHECK_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 2.0
_MATCHES_KEPT: Final = 4096  # as many as one notification may have entries

Stamp = tuple[int, int, int]
Stamps = tuple[Stamp | None, ...]
"""The state of each watched file, the main file first; None: there is no such file."""


class LiveConfig:
    """The rules in force, how registries are reached, and how many copies each registry takes at once.

    *refused* is why the last reload was refused; None if the file is in force. *file* is the path of the file, for
    commands that operators copy.
    """

    def __init__(
        self, rules: tuple[Rule, ...], options: Options | None = None, copy_limits: Mapping[str, int] | None = None
    ) -> None:
        self.file: str | None = None
        self.apply(rules, options or Options(), copy_limits or {})

    def apply(self, rules: tuple[Rule, ...], options: Options, copy_limits: Mapping[str, int]) -> None:
        """Replace everything at once."""
        self.rules = rules
        self.options = options
        self.copy_limits = copy_limits

        @lru_cache(maxsize=_MATCHES_KEPT)
        def match(repository: Repository, tag: str) -> Matches:
            return match_push(repository, tag, rules)

        @lru_cache(maxsize=_MATCHES_KEPT)
        def follow(repository: Repository) -> list[tuple[Rule, Repository]]:
            return rules_for_referrers(repository, rules, options.trust)

        self._match = match
        self._follow = follow
        self.refused: str | None = None

    def match(self, repository: Repository, tag: str) -> Matches:
        """Return what the rules make of a push; `InvalidReference` for an invalid *tag*.

        The recorder of an event and its dispatcher both need this; the second call finds the result of the first.
        """
        return self._match(repository, tag)

    def rules_for_referrers(self, repository: Repository) -> Sequence[tuple[Rule, Repository]]:
        """Return the rules that a referrer in *repository* may concern, with the source repository of their images."""
        return self._follow(repository)

    def find(self, name: str | None) -> Rule | None:
        """Return the rule *name*; None if the configuration has no such rule (any more)."""
        return next((rule for rule in self.rules if rule.name == name), None)


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """The configuration file, and how to read it (`UsageError` with file and line if it is invalid)."""

    path: Path
    load: Callable[[], Configuration]


class Reloader:
    """Reads the file again when it has changed or when *requested* is set, and passes it to *apply*.

    *apply* raises `UsageError` for a configuration that it refuses, before it has changed anything. After any other
    error (the database does not answer) the reloader calls it again. A refusal stays in `config.refused`.
    """

    def __init__(
        self,
        file: ConfigurationFile,
        running: Configuration,
        apply: Callable[[Configuration], Awaitable[None]],
        *,
        requested: asyncio.Event,
        config: LiveConfig,
    ) -> None:
        self._file = file
        self._running = running
        self._watched: tuple[str, ...] = tuple(running.files)
        self._apply = apply
        self._requested = requested
        self._config = config
        self._log: Any = structlog.get_logger()

    async def run(self) -> None:
        """Watch the file until cancelled."""
        loaded = self._stamps()
        last = loaded
        while True:
            await self._pause(_CHECK_SECONDS)
            now = self._stamps()
            settled = is_settled(now, last, loaded)
            last = now
            is_requested = self._requested.is_set()
            if is_requested or settled:
                self._requested.clear()
                # A refused configuration may have new files: then these stamps are too few, and it is read once more,
                # so that no change of them since then is missed.
                loaded = now
                if await self._reload(is_requested=is_requested):
                    loaded = last = self._stamps()

    async def _reload(self, *, is_requested: bool) -> bool:
        try:
            wanted = await asyncio.to_thread(self._file.load)
            await self._apply_until_done(wanted)
        except UsageError as error:
            remedy = "correct the file; the previous configuration stays in force"
            if is_requested or str(error) != self._config.refused:
                self._log.error("configuration.refused", error=str(error), remedy=remedy)
            self._config.refused = str(error)
            self._watched = tuple(dict.fromkeys((*self._running.files, *files_of(error))))
            return False
        self._config.refused = None
        for key in needing_restart(self._running, wanted):
            self._log.warning("configuration.needs_restart", key=key)
        self._running = wanted
        self._watched = tuple(wanted.files)
        for text in wanted.warnings:
            self._log.warning("configuration.warning", text=text)
        self._log.info("configuration.reloaded", rules=len(wanted.rules), hooks=len(wanted.hooks))
        return True

    async def _apply_until_done(self, wanted: Configuration) -> None:
        while True:
            try:
                return await self._apply(wanted)
            except UsageError:
                raise
            except ImageSyncerError as error:
                self._log.warning("configuration.postponed", error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._requested.wait()
        except TimeoutError:
            return

    def _stamps(self) -> Stamps:
        return tuple(stamp(path) for path in (self._file.path, *map(Path, self._watched)))


def files_of(error: UsageError) -> Sequence[str]:
    """Return the files whose change may correct *error*: those that have the problems, and those that they name."""
    if not isinstance(error, ConfigError):
        return ()
    each = error.errors if isinstance(error, ConfigErrors) else (error,)
    return (*error.watched, *(one.file for one in each))


def is_settled(now: Stamps, last: Stamps, loaded: Stamps) -> bool:
    """Whether the files are complete, and others than those that were *loaded*; *now* and *last* are two checks.

    A file that is being written changes between two checks. The first one, the main file, is missing while it is being
    replaced; an included one may be removed for good.
    """
    return now[0] is not None and now == last and now != loaded


def stamp(path: Path) -> Stamp | None:
    """Return what changes with the content of the file *path*, or with the names of the files of a directory."""
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):  # Other files in it change as well: a database, a log.
            names = frozenset(file.name for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
            return hash(names), len(names), found.st_ino
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def needing_restart(old: Configuration, new: Configuration) -> list[str]:
    """Return the keys that differ between *old* and *new* and take effect at the next start only."""
    pairs: dict[str, tuple[object, object]] = {"state": (old.state, new.state)}
    if old.server is not None and new.server is not None:
        pairs["server.listen"] = (old.server.host, old.server.port), (new.server.host, new.server.port)
        pairs["server.drain"] = old.server.drain_seconds, new.server.drain_seconds
    if old.fork is not None and new.fork is not None:
        pairs["sync.retryCount"] = old.fork.retries, new.fork.retries
        pairs["sync.filePosition"] = (old.fork.queue_file, old.fork.log_file), (new.fork.queue_file, new.fork.log_file)
    return [key for key, (before, after) in pairs.items() if before != after]
