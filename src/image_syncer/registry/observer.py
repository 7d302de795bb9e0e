"""Observer interface for registry waits and login changes."""

from typing import Final, Protocol

from image_syncer.structs import Struct

ASKED_TO_WAIT: Final = "asked to wait"


class Wait(Struct):
    """All requests to *registry* wait for *seconds*; *reason* is one line without secrets."""

    registry: str
    seconds: float
    reason: str = ASKED_TO_WAIT


class RegistryObserver(Protocol):
    """Receives events as they happen. Calls run on the event loop: they must return at once and never raise."""

    def on_wait(self, wait: Wait) -> None:
        """Handle the start of a wait; it replaces an earlier one for the same registry."""
        ...

    def on_resume(self, registry: str) -> None:
        """Handle requests to *registry* going on before the announced wait is over."""
        ...

    def on_warning(self, text: str) -> None:
        """Handle a warning for the user: one line without secrets."""
        ...

    def on_login(self, registry: str, user: str) -> None:
        """Handle the switch to *user*, one of several logins at *registry*; empty for anonymous."""
        ...


class SilentObserver:
    """An observer that does nothing."""

    def on_wait(self, wait: Wait) -> None:
        """Ignore the event."""

    def on_resume(self, registry: str) -> None:
        """Ignore the event."""

    def on_warning(self, text: str) -> None:
        """Ignore the event."""

    def on_login(self, registry: str, user: str) -> None:
        """Ignore the event."""
