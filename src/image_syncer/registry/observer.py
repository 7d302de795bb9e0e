"""What people may want to see of our dealings with registries while they go on."""

from dataclasses import dataclass
from typing import Final, Protocol

ASKED_TO_WAIT: Final = "asked to wait"


@dataclass(frozen=True, slots=True)
class Wait:
    """*registry* makes everybody wait for *seconds*, and why; the *reason* has no secret and no line break."""

    registry: str
    seconds: float
    reason: str = ASKED_TO_WAIT


class RegistryObserver(Protocol):
    """Is told while it happens. Calls are made on the event loop, must return at once and never raise."""

    def on_wait(self, wait: Wait) -> None:
        """Say that nothing is begun at a registry for a while; another one for the same registry replaces it."""
        ...

    def on_resume(self, registry: str) -> None:
        """Say that *registry* is asked again, sooner than was told."""
        ...

    def on_login(self, registry: str, user: str) -> None:
        """Say that *registry* is asked as *user* from now on, of several; empty for nobody."""
        ...


class SilentObserver:
    """A watcher that does nothing."""

    def on_wait(self, wait: Wait) -> None:
        """Ignore it."""

    def on_resume(self, registry: str) -> None:
        """Ignore it."""

    def on_login(self, registry: str, user: str) -> None:
        """Ignore it."""
