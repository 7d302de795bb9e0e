"""Rotation through the logins of one registry, by access and by remaining quota.

Invariants:

* A request that a quota counts is in flight only while the quota has room for it: `Login.delay` refuses it (None) as
  soon as as many are in flight as remain. So parallel requests never overrun a quota that the registry has announced.
* A request waits for a login before it takes its slot, so waiting blocks no other request. Only an upload holds a slot
  meanwhile, its own; waits end by responses and by time, and neither needs an upload slot.
* Every change that may end a wait wakes all waiters (`Sleeper.wake`): a counted request finished, or a quota has room
  again. Waiters then decide again; none holds anything, so there is no order to keep and no deadlock.
"""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from image_syncer.concurrency.sleeper import Sleeper
from image_syncer.errors import Denied, QuotaUsedUp, StoreError, Unauthorized
from image_syncer.registry.host import Call, HostConnection
from image_syncer.registry.limits.quota import Quota, QuotaState
from image_syncer.registry.limits.retry import Clock
from image_syncer.registry.observer import RegistryObserver, Wait
from image_syncer.structs import Struct, field

_REFUSAL_SECONDS: Final = 600.0  # A refused login is tried last for this long.
_LONGEST_WAIT_SECONDS: Final = 300.0  # Longer waits are announced again, and checked again.
_ANNOUNCED_SECONDS: Final = 2.0  # Shorter waits are not announced.
_RESPONSE_SECONDS: Final = 60.0  # The longest wait for another request's response before a waiter checks again.
_REFUSALS: Final = 1_024


class Login(Struct, frozen=False, eq=False):
    """One login at a registry: *host* is the connection that uses it, *user* its name.

    *in_flight* counts the requests in flight that its quota counts. *cautious*: other logins here have quotas, so this
    one sends one request first, whose response tells its own quota.
    """

    host: HostConnection
    user: str
    quota_state: QuotaState = field(default_factory=QuotaState)
    in_flight: int = 0
    cautious: bool = False
    refusals: dict[tuple[str, ...], float] = field(default_factory=dict[tuple[str, ...], float])

    def delay(self, now: float, *, counted: bool) -> float | None:
        """Return the seconds until a request may start; None if that depends on requests in flight."""
        seconds = self.quota_state.delay(now, counted=counted)
        return None if not seconds and counted and self.in_flight >= self._concurrency else seconds

    @property
    def _concurrency(self) -> float:
        return 1 if self.cautious and self.quota_state.quota is None else self.quota_state.concurrency

    def is_refused(self, scopes: tuple[str, ...], now: float) -> bool:
        """Whether the registry refused this login for *scopes* recently."""
        return now < self.refusals.get(scopes, now)


class LoginPool:
    """The logins of *registry* in order of preference; at least one, which may be anonymous.

    A login is used until it is refused or its quota is used up; then the next one is. Requests wait only if no login
    can send them, and at most *patience* seconds for a quota.
    """

    def __init__(
        self,
        registry: str,
        logins: Sequence[Login],
        *,
        clock: Clock,
        sleeper: Sleeper,
        observer: RegistryObserver,
        patience: float,
    ) -> None:
        self._registry = registry
        self._logins = tuple(logins)
        self._clock = clock
        self._sleeper = sleeper
        self._observer = observer
        self._patience = patience
        self._current: Login | None = None
        self._announced_until = float("-inf")

    @property
    def first(self) -> Login:
        """The preferred login."""
        return self._logins[0]

    @property
    def users(self) -> tuple[str, ...]:
        """The user names of all logins; an anonymous one is empty."""
        return tuple(login.user for login in self._logins)

    def available(self, call: Call) -> Login | None:
        """Return the login that can send *call* now; None if none can."""
        now = self._clock.monotonic()
        for login in self._candidates(call, now):
            seconds = login.delay(now, counted=call.is_counted)
            if seconds is None:
                # The response to a request in flight tells whether this quota has room or the next login's turn came.
                return None
            if not seconds:
                if login is not self._current:
                    self._current = login
                    self._observer.on_login(self._registry, login.user)
                return login
        return None

    async def wait_available(self, call: Call) -> Login:
        """Return a login that can send *call*, as soon as there is one; `QuotaUsedUp` if that exceeds the patience."""
        while (login := self.available(call)) is None:
            await self._wait(call)
        return login

    def record_quota(self, login: Login, quota: Quota, began: float, *, counted: bool) -> None:
        """Record *quota*, from the response to a request of *login* that *began* at that time."""
        known = login.quota_state
        login.quota_state = known.after_answer(quota, began, self._clock.monotonic(), counted=counted)
        if known.quota is None:
            for other in self._logins:
                other.cautious = True
        if known.used_up_at is not None and login.quota_state.used_up_at is None:
            self._announced_until = float("-inf")
            self._observer.on_resume(self._registry)
            self._sleeper.wake(self)

    def record_exhausted(self, login: Login, quota: Quota, retry_after: float | None) -> None:
        """Record that the registry refused a request of *login* because its quota is used up."""
        login.quota_state = login.quota_state.after_refusal(quota, retry_after, self._clock.monotonic())

    def count_in_flight(self, login: Login, call: Call) -> AbstractContextManager[None]:
        """Count *call* as in flight with *login*, if a quota counts it; wake waiters when it has finished."""
        return self._counted(login) if call.is_counted else nullcontext()

    @contextmanager
    def _counted(self, login: Login) -> Generator[None]:
        login.in_flight += 1
        try:
            yield
        finally:
            login.in_flight -= 1
            self._sleeper.wake(self)

    def record_refusal(self, login: Login, call: Call, error: StoreError) -> bool:
        """Record *error* if it refuses *login* access for *call*; return whether another login may have access."""
        if len(self._logins) == 1 or not isinstance(error, Unauthorized | Denied):
            return False
        now = self._clock.monotonic()
        while len(login.refusals) >= _REFUSALS:
            del login.refusals[next(iter(login.refusals))]
        login.refusals[call.scopes] = now + _REFUSAL_SECONDS
        if all(one.is_refused(call.scopes, now) for one in self._logins):
            error.remedy = f"none of the {len(self._logins)} logins of {self._registry} has access; check their rights"
            return False
        return True

    def _candidates(self, call: Call, now: float) -> Sequence[Login]:
        if len(self._logins) == 1:
            return self._logins
        accepted = [login for login in self._logins if not login.is_refused(call.scopes, now)]
        # Logins with quota left come first: an exhausted one is checked again only if all are exhausted.
        return sorted(accepted, key=lambda login: login.quota_state.used_up_at is not None) or self._logins[:1]

    async def _wait(self, call: Call) -> None:
        """Wait until a login may be available; the caller checks again."""
        now = self._clock.monotonic()
        delays = [(login.delay(now, counted=call.is_counted), login) for login in self._candidates(call, now)]
        if any(seconds is None for seconds, _ in delays):
            await self._sleeper.sleep(_RESPONSE_SECONDS, self)
            return
        seconds, login = min(((seconds or 0.0, login) for seconds, login in delays), key=lambda delay: delay[0])
        since = login.quota_state.used_up_at
        if since is not None and now + seconds - since > self._patience:
            raise self._used_up(login, seconds)
        if seconds >= _ANNOUNCED_SECONDS and now >= self._announced_until:
            self._announced_until = now + min(seconds, _LONGEST_WAIT_SECONDS)
            self._observer.on_wait(Wait(self._registry, seconds, _describe(login)))
        await self._sleeper.sleep(min(seconds, _LONGEST_WAIT_SECONDS), self)

    def _used_up(self, login: Login, seconds: float) -> QuotaUsedUp:
        longer = "wait longer with --patience"
        if len(self._logins) > 1:
            remedy = f"give further logins of {self._registry}, or {longer}"
        elif login.user:
            remedy = f"give several logins of {self._registry}, or {longer}"
        else:
            remedy = f"log in to {self._registry}, since an account has a quota of its own, or {longer}"
        message = f"{self._registry}: {_describe(login)}, the next request may be made in {_minutes(seconds)}"
        return QuotaUsedUp(message, retry_after=seconds, status=None, remedy=remedy)


def _describe(login: Login) -> str:
    quota = str(login.quota_state.quota or "")
    return f"quota used up ({quota})" if quota else "quota used up"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{round(seconds / 60)} min"  # noqa: PLR2004 - two minutes
