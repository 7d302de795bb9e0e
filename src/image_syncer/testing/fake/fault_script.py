"""The script of a fake registry: which faults meet which requests, and which have."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from random import Random
from threading import Lock
from typing import TypedDict, Unpack

from image_syncer.testing.fake.fault_injection import Fault
from image_syncer.testing.request_log import Kind, Request


class Which(TypedDict, total=False):
    """A choice of requests: those that fit everything given.

    *path* is a pattern as of `fnmatch` for the path without its query. The first *after* that fit pass unharmed, then
    *times* are met (None: all), each with *chance* of 1, decided by *rng* or by the registry's own.
    """

    method: str | None
    kind: Kind | None
    path: str | None
    after: int
    times: int | None
    chance: float
    rng: Random | None


@dataclass(slots=True)
class Rule:
    """One fault and the requests that it is for; *seen* counts those, *fired* how many of them it has met."""

    fault: Fault
    method: str | None = None
    kind: Kind | None = None
    path: str | None = None
    after: int = 0
    times: int | None = None
    chance: float = 1.0
    rng: Random | None = field(default=None, repr=False)
    seen: int = 0
    fired: int = 0

    def __post_init__(self) -> None:
        if self.chance < 1.0 and self.rng is None:
            raise ValueError("a fault with a chance needs a random source: give rng=Random(seed)")

    def fits(self, request: Request) -> bool:
        """Whether *request* is one that this rule is for."""
        return (
            self.method in {None, request.method}
            and self.kind in {None, request.kind}
            and (self.path is None or fnmatchcase(request.path, self.path))
        )

    def fires(self, request: Request) -> bool:
        """Whether the fault meets *request*; counts it."""
        if not self.fits(request):
            return False
        self.seen += 1
        if self.seen <= self.after or (self.times is not None and self.fired >= self.times):
            return False
        if self.rng is not None and self.rng.random() >= self.chance:
            return False
        self.fired += 1
        return True


@dataclass(frozen=True, slots=True)
class Fired:
    """A fault that has met a request."""

    fault: Fault
    request: Request


class Script:
    """The faults of one server, in the order of their adding. It may be changed from any thread while it serves.

    *fired* has all that have met a request so far: `len(registry.faults.fired)`.
    """

    def __init__(self, rng: Random | None = None) -> None:
        self._rng = rng
        self._lock = Lock()
        self._rules: list[Rule] = []
        self._fired: list[Fired] = []

    def __iter__(self) -> Iterator[Rule]:
        with self._lock:
            return iter(tuple(self._rules))

    @property
    def fired(self) -> tuple[Fired, ...]:
        """Every fault that has met a request, in the order of the requests."""
        with self._lock:
            return tuple(self._fired)

    def add(self, fault: Fault, **which: Unpack[Which]) -> Rule:
        """Let *fault* meet the requests that fit everything given, and return the rule, which counts.

        `ValueError` where a chance has no random source. Several faults can meet one request; one that answers it ends
        that, so those added after it do not count.
        """
        if which.get("chance", 1.0) < 1.0 and self._rng is not None:
            which.setdefault("rng", self._rng)
        rule = Rule(fault, **which)
        with self._lock:
            self._rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        """Let *rule* meet nothing any more."""
        with self._lock:
            self._rules.remove(rule)

    def clear(self) -> None:
        """Let nothing go wrong from now on; what has fired stays known."""
        with self._lock:
            self._rules.clear()

    def for_request(self, request: Request) -> tuple[Fault, ...]:
        """Return the faults that meet *request*, and count them."""
        chosen: list[Fault] = []
        with self._lock:
            for rule in self._rules:
                if rule.fires(request):
                    chosen.append(rule.fault)
                    self._fired.append(Fired(rule.fault, request))
                    if rule.fault.answers:
                        break
        return tuple(chosen)
