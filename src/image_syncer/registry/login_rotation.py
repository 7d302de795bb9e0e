"""The logins of one registry, used in turn, and what is left of the quota of each."""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Final

from image_syncer.concurrency.sleeper import Sleeper
from image_syncer.errors import Denied, QuotaUsedUp, StoreError, Unauthorized
from image_syncer.registry.host import Call, HostConnection
from image_syncer.registry.limits.quota import Quota, QuotaState
from image_syncer.registry.limits.retry import Clock
from image_syncer.registry.observer import RegistryObserver, Wait

_REFUSAL_SECONDS: Final = 600.0  # So long a login that was not let in is not the first to be tried.
_TOLD_AGAIN_SECONDS: Final = 300.0
_TOLD_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 60.0  # So long is waited for the answer of another before one looks again.
_REFUSALS: Final = 1_024


@dataclass(slots=True, eq=False)
class Login:
    """One login at a registry: *host* is the registry as it is seen with it, *user* whom it names.

    *counted* is how many requests are on their way that its quota counts. *cautious*: the others here have quotas, so
    the first of its own finds out what is left of it.
    """

    host: HostConnection
    user: str
    quota_state: QuotaState = field(default_factory=QuotaState)
    in_flight: int = 0
    cautious: bool = False
    refusals: dict[tuple[str, ...], float] = field(default_factory=dict[tuple[str, ...], float])

    def delay(self, now: float, *, counted: bool) -> float | None:
        """Return for how many seconds a request is held back, None for as long as others are on their way."""
        seconds = self.quota_state.delay(now, counted=counted)
        return None if not seconds and counted and self.in_flight >= self._at_once else seconds

    @property
    def _at_once(self) -> float:
        return 1 if self.cautious and self.quota_state.quota is None else self.quota_state.concurrency

    def is_refused(self, scopes: tuple[str, ...], now: float) -> bool:
        """Whether it was not let in for *scopes* lately."""
        return now < self.refusals.get(scopes, now)


@dataclass(frozen=True, slots=True)
class LoginServices:
    """What entries need to make people wait: a *clock*, *rests*, a *watcher*, and *patience* in seconds."""

    clock: Clock
    rests: Sleeper
    watcher: RegistryObserver
    patience: float


class LoginPool:
    """The logins of *registry*, the first first; there is at least one, which may be nobody's.

    Each is used until it is refused, or until its quota is used up; then the next one is. They are waited for only
    where none can be used.
    """

    def __init__(self, registry: str, entries: Sequence[Login], reception: LoginServices) -> None:
        self._registry = registry
        self._entries = tuple(entries)
        self._reception = reception
        self._current: Login | None = None
        self._told_until = float("-inf")

    @property
    def first(self) -> Login:
        """The one that is preferred."""
        return self._entries[0]

    def available(self, call: Call) -> Login | None:
        """Return who makes *call* without having to wait, None where nobody can."""
        now = self._reception.clock.monotonic()
        for entry in self._candidates(call, now):
            seconds = entry.delay(now, counted=call.is_counted)
            if seconds is None:
                return (
                    None  # The answer to another request is near, and will tell whether the next one's turn has come.
                )
            if not seconds:
                if entry is not self._current:
                    self._current = entry
                    self._reception.watcher.on_login(self._registry, entry.user)
                return entry
        return None

    async def wait_available(self, call: Call) -> Login:
        """Return who makes *call*, as soon as somebody can; `QuotaUsedUp` where that is beyond our patience."""
        while (entry := self.available(call)) is None:
            await self._rest(call)
        return entry

    def record_quota(self, entry: Login, quota: Quota, began: float, *, counted: bool) -> None:
        """Learn from the answer to a request of *entry* that *began* then."""
        known = entry.quota_state
        entry.quota_state = known.after_answer(quota, began, self._reception.clock.monotonic(), counted=counted)
        if known.quota is None:
            for other in self._entries:
                other.cautious = True
        if known.used_up_at is not None and entry.quota_state.used_up_at is None:
            self._told_until = float("-inf")
            self._reception.watcher.on_resume(self._registry)
            self._reception.rests.wake(self)

    def record_exhausted(self, entry: Login, quota: Quota, wish: float | None) -> None:
        """Learn that a request of *entry* was refused because nothing is left of its quota."""
        entry.quota_state = entry.quota_state.after_refusal(quota, wish, self._reception.clock.monotonic())

    def count_in_flight(self, entry: Login, call: Call) -> AbstractContextManager[None]:
        """Count *call* as in flight with *entry*, where a quota counts it; wake waiters when it has finished."""
        return self._counted(entry) if call.is_counted else nullcontext()

    @contextmanager
    def _counted(self, entry: Login) -> Generator[None]:
        entry.in_flight += 1
        try:
            yield
        finally:
            entry.in_flight -= 1
            self._reception.rests.wake(self)

    def record_refusal(self, entry: Login, call: Call, refusal: StoreError) -> bool:
        """Learn that *entry* was not let in with *call*; return whether another one may be."""
        if len(self._entries) == 1 or not isinstance(refusal, Unauthorized | Denied):
            return False
        now = self._reception.clock.monotonic()
        while len(entry.refusals) >= _REFUSALS:
            del entry.refusals[next(iter(entry.refusals))]
        entry.refusals[call.scopes] = now + _REFUSAL_SECONDS
        if all(one.is_refused(call.scopes, now) for one in self._entries):
            refusal.remedy = (
                f"none of the {len(self._entries)} logins of {self._registry} is let in; check their rights"
            )
            return False
        return True

    def _candidates(self, call: Call, now: float) -> Sequence[Login]:
        if len(self._entries) == 1:
            return self._entries
        let_in = [entry for entry in self._entries if not entry.is_refused(call.scopes, now)]
        # As long as somebody has something left nobody looks whether another one has again.
        return sorted(let_in, key=lambda entry: entry.quota_state.used_up_at is not None) or self._entries[:1]

    async def _rest(self, call: Call) -> None:
        reception, now = self._reception, self._reception.clock.monotonic()
        holds = [(entry.delay(now, counted=call.is_counted), entry) for entry in self._candidates(call, now)]
        if any(seconds is None for seconds, _ in holds):
            await reception.rests.sleep(_ANSWER_SECONDS, self)
            return
        seconds, entry = min(((seconds or 0.0, entry) for seconds, entry in holds), key=lambda hold: hold[0])
        since = entry.quota_state.used_up_at
        if since is not None and now + seconds - since > reception.patience:
            raise self._used_up(entry, seconds)
        if seconds >= _TOLD_SECONDS and now >= self._told_until:
            self._told_until = now + min(seconds, _TOLD_AGAIN_SECONDS)
            reception.watcher.on_wait(Wait(self._registry, seconds, _words(entry)))
        await reception.rests.sleep(min(seconds, _TOLD_AGAIN_SECONDS), self)

    def _used_up(self, entry: Login, seconds: float) -> QuotaUsedUp:
        longer = "wait longer with --patience"
        if len(self._entries) > 1:
            remedy = f"give further logins of {self._registry}, or {longer}"
        elif entry.user:
            remedy = f"give several logins of {self._registry}, or {longer}"
        else:
            remedy = f"log in to {self._registry}, since an account has a quota of its own, or {longer}"
        message = f"{self._registry}: {_words(entry)}, the next request may be made in {_minutes(seconds)}"
        return QuotaUsedUp(message, retry_after=seconds, status=None, remedy=remedy)


def _words(entry: Login) -> str:
    quota = str(entry.quota_state.quota or "")
    return f"quota used up ({quota})" if quota else "quota used up"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{round(seconds / 60)} min"  # noqa: PLR2004 - two minutes
