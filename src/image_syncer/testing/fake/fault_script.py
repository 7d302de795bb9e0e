"""The fault script of a fake registry: which faults apply to which requests, and which have fired."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from random import Random
from threading import Lock
from typing import TypedDict, Unpack

from image_syncer.testing.fake.fault_injection import Fault
from image_syncer.testing.request_log import Kind, Request


class Which(TypedDict, total=False):
    """Selects requests that match every given criterion.

    *path* is an `fnmatch` pattern for the path without its query. The first *after* matching requests pass, then the
    fault fires *times* times (None: always), each time with probability *chance*, drawn from *rng* or the registry's
    own source.
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
    """A fault and its requests; *seen* counts matching requests, *fired* those that the fault changed."""

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
        """Whether *request* matches this rule."""
        return (
            self.method in {None, request.method}
            and self.kind in {None, request.kind}
            and (self.path is None or fnmatchcase(request.path, self.path))
        )

    def fires(self, request: Request) -> bool:
        """Count *request* and return whether the fault fires for it."""
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
    """A fault that fired, with its request."""

    fault: Fault
    request: Request


class Script:
    """The faults of one server, in the order in which they were added. Any thread may change it while the server runs.

    *fired* lists the faults that have fired so far: `len(registry.faults.fired)`.
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
        """Every fault that has fired, in the order of the requests."""
        with self._lock:
            return tuple(self._fired)

    def add(self, fault: Fault, **which: Unpack[Which]) -> Rule:
        """Apply *fault* to requests that match every given criterion; return the rule, which counts them.

        `ValueError` if a chance has no random source. Several faults can apply to one request; a fault that responds
        ends the request, so faults added later do not count it.
        """
        if which.get("chance", 1.0) < 1.0 and self._rng is not None:
            which.setdefault("rng", self._rng)
        rule = Rule(fault, **which)
        with self._lock:
            self._rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        """Disable *rule*."""
        with self._lock:
            self._rules.remove(rule)

    def clear(self) -> None:
        """Remove all rules; the list of fired faults stays."""
        with self._lock:
            self._rules.clear()

    def for_request(self, request: Request) -> tuple[Fault, ...]:
        """Return the faults that apply to *request*, and count them."""
        chosen: list[Fault] = []
        with self._lock:
            for rule in self._rules:
                if rule.fires(request):
                    chosen.append(rule.fault)
                    self._fired.append(Fired(rule.fault, request))
                    if rule.fault.answers:
                        break
        return tuple(chosen)
