"""The time by which rows are old enough to be removed: a clock that is ahead for a while removes nothing.

Each removal looks at the clock and records the look in the state. A look is trusted if the clock went on from the last
trusted look by no more than the time that passed, which the uptime of the machine measures. After a restart of the
machine, on another machine of a fleet, and in a new state that cannot be known: then the look is only suspected. It is
trusted once the clock has gone on from there for an hour. A clock that goes back ends the suspicion.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final
from uuid import uuid4

from image_syncer.state.column_values import instant_of, microseconds, words
from image_syncer.state.sql_session import SqlDatabase, SqlSession
from image_syncer.structs import Struct

TRUST_AFTER: Final = timedelta(hours=1)
"""How long a clock must go on after a jump ahead until it is trusted."""

TOLERANCE: Final = timedelta(minutes=1)
"""The clocks of processes that share a state differ by less."""

_BOOT_CLOCK: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)  # It counts the time of a suspended machine.
_TRUSTED: Final = "trusted"
_SUSPECTED: Final = "suspected"
_TABLE: Final = "image_syncer_clock_looks"
# Processes that look at once take turns, from the first trusted look on.
_LOCK: Final = f"UPDATE {_TABLE} SET uptime = uptime WHERE name = '{_TRUSTED}'"  # noqa: S608 - our names
_SELECT: Final = f"SELECT name, seen_at, boot, uptime FROM {_TABLE}"  # noqa: S608 - our table
_UPSERT: Final = f"""
    INSERT INTO {_TABLE} (name, seen_at, boot, uptime) VALUES (:name, :seen_at, :boot, :uptime)
    ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at, boot = excluded.boot, uptime = excluded.uptime
"""  # noqa: S608 - our table
_DELETE: Final = f"DELETE FROM {_TABLE} WHERE name = :name"  # noqa: S608 - our table


class Uptime(Struct):
    """How long the machine is up. Only values with the same *boot* can be compared."""

    boot: str
    passed: timedelta


class Look(Struct):
    """What a clock showed, *seen_at*, and at which uptime."""

    seen_at: datetime
    uptime: Uptime

    def passed_until(self, later: "Look") -> timedelta | None:
        """Return the time from here to *later* by the uptime; None if that cannot be known."""
        if self.uptime.boot != later.uptime.boot or later.uptime.passed < self.uptime.passed:
            return None
        return later.uptime.passed - self.uptime.passed


class TrustedTime(Struct):
    """The last trusted look and, until it is trusted or refuted, a suspected later one."""

    trusted: Look | None = None
    suspected: Look | None = None

    @property
    def now(self) -> datetime | None:
        """The latest time that is certainly not ahead; None if no look is trusted yet, so nothing may be removed."""
        return None if self.trusted is None else self.trusted.seen_at

    @property
    def jump(self) -> timedelta | None:
        """By how much the clock jumped ahead; None without a jump, and if the uptime does not tell."""
        if self.trusted is None or self.suspected is None:
            return None
        passed = self.trusted.passed_until(self.suspected)
        return None if passed is None else self.suspected.seen_at - self.trusted.seen_at - passed


def judge(before: TrustedTime, look: Look) -> TrustedTime:
    """Return what is trusted and suspected after *look*."""
    trusted, suspected = before.trusted, before.suspected
    if trusted is not None:
        passed = trusted.passed_until(look) or timedelta()
        if look.seen_at - trusted.seen_at <= passed + TOLERANCE:
            return TrustedTime(look)
    if suspected is None:
        return TrustedTime(trusted, look)
    went_on = look.seen_at - suspected.seen_at
    passed = suspected.passed_until(look)
    if went_on < -TOLERANCE or (passed is not None and abs(went_on - passed) > TOLERANCE):
        return TrustedTime(trusted, look)  # It went back, or jumped again.
    if passed is not None:
        return TrustedTime(look) if passed >= TRUST_AFTER else before
    # This look may be a jump of another machine, so it confirms no more than the earlier one.
    return TrustedTime(suspected, look) if went_on >= TRUST_AFTER else before


@cache
def _this_boot() -> str:
    """Return what tells this boot of this machine, and a container with an uptime of its own; else, this process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/time').readlink()}"
    except OSError:
        return uuid4().hex


def uptime_now() -> Uptime:
    """Return the uptime of this machine."""
    seconds = time.monotonic() if _BOOT_CLOCK is None else time.clock_gettime(_BOOT_CLOCK)
    return Uptime(_this_boot(), timedelta(seconds=seconds))


class TrustedClock:
    """The trusted time of *database*, by the clock *now* and the *uptime*."""

    def __init__(
        self,
        database: SqlDatabase,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        uptime: Callable[[], Uptime] = uptime_now,
    ) -> None:
        self._database = database
        self._now = now
        self._uptime = uptime

    async def look(self) -> TrustedTime:
        """Record what the clock shows, and return what is trusted now."""
        look = Look(self._now(), self._uptime())
        return await self._database.write_sql(lambda session: _record(session, look))


def _record(session: SqlSession, look: Look) -> TrustedTime:
    session.change(_LOCK, {})
    looks = {
        name: Look(instant_of(seen_at), Uptime(boot, timedelta(microseconds=uptime)))
        for name, seen_at, boot, uptime in session.rows(_SELECT, {})
    }
    before = TrustedTime(looks.get(_TRUSTED), looks.get(_SUSPECTED))
    after = judge(before, look)
    for name, old, new in ((_TRUSTED, before.trusted, after.trusted), (_SUSPECTED, before.suspected, after.suspected)):
        if new is None and old is not None:
            session.change(_DELETE, {"name": name})
        elif new is not None and new != old:
            values = {"name": name, "seen_at": microseconds(new.seen_at), "boot": words(new.uptime.boot)}
            session.change(_UPSERT, {**values, "uptime": new.uptime.passed // timedelta(microseconds=1)})
    return after
