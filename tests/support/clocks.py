"""A clock that a test sets."""

from dataclasses import dataclass


@dataclass
class ManualClock:
    """A clock in seconds that stays at *now* until a test moves it."""

    now: float = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now
