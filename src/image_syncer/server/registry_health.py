"""Registries that are down, as the copies of this process find them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from image_syncer.errors import CopyFailed, RegistryDown, Unavailable

_FORGET_AFTER: Final = timedelta(minutes=30)  # jobs retry within ten minutes, unless all have ended


@dataclass(frozen=True, slots=True)
class RegistryOutage:
    """A registry is down *since* then; *error* is the last failure."""

    since: datetime
    seen: datetime
    error: str
    remedy: str | None = None


class RegistryHealth:
    """Keeps one outage for each registry, and logs its start and its end once. *now* returns the aware time."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._outages: dict[str, RegistryOutage] = {}
        self._log: Any = structlog.get_logger()

    @property
    def outages(self) -> Mapping[str, RegistryOutage]:
        """The registries that are down now."""
        oldest = self._now() - _FORGET_AFTER
        return {registry: outage for registry, outage in sorted(self._outages.items()) if outage.seen >= oldest}

    def record(self, source: str, target: str, failure: CopyFailed | None) -> None:
        """Record what a copy between two registries shows: *failure*, or that both answered."""
        down = {"source": source, "target": target}.get(failure.side or "") if failure is not None else None
        if failure is None or not isinstance(failure.cause, Unavailable):
            self._record_up(*({source, target} if failure is None else {down}))
        elif isinstance(failure.cause, RegistryDown) and down is not None:
            self._record_down(down, failure.cause)

    def _record_down(self, registry: str, failure: RegistryDown) -> None:
        now = self._now()
        known = self.outages.get(registry)
        error = failure.message.removeprefix(f"{registry}: ")
        if known is None:
            self._outages[registry] = RegistryOutage(now, now, error, failure.remedy)
            self._log.warning("registry.down", registry=registry, error=error, remedy=failure.remedy)
        else:
            self._outages[registry] = replace(known, seen=now, error=error, remedy=failure.remedy)

    def _record_up(self, *registries: str | None) -> None:
        for registry in registries:
            outage = self._outages.pop(registry or "", None)
            if outage is not None:
                seconds = round((self._now() - outage.since).total_seconds(), 1)
                self._log.info("registry.up", registry=registry, seconds=seconds)
