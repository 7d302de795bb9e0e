"""A hostile behaviour and its expected result."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hostile.street import Outcome, Street

Arrange = Callable[[Street], None]
After = Callable[[Street, Outcome], None]
Auth = Literal["none", "basic", "bearer"]


@dataclass(frozen=True, slots=True)
class Gets:
    """The expected report: outcome, side, step, and a pattern of the reason; None if there is none."""

    outcome: str = "failed"
    side: str | None = "source"
    step: str | None = "read manifest"
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One row of the table: *does* describes the behaviour, *arrange* sets it up.

    With *public* the registries have names and seem to be remote. *auth* is the authentication of source and target.
    *after* checks side effects that only this behaviour could have.
    """

    does: str
    gets: Gets
    arrange: Arrange
    after: After | None = None
    public: bool = False
    auth: Auth = "none"

    @property
    def row(self) -> str:
        """The row in the table of docs/explanation/security.md."""
        got = self.gets
        where = f"{got.side}, {got.step}" if got.side else ""
        reason = (got.reason or "").replace(r"\d+", "N").replace("\\", "").replace(".*", "...").strip()
        return f"| {self.does} | {got.outcome} | {where} | {reason} |"


class Table:
    """The behaviours of one section."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.behaviours: list[Behaviour] = []

    @property
    def text(self) -> str:
        """The section of the documentation."""
        head = "| what it does | outcome | side and step | reason |\n|---|---|---|---|"
        rows = "\n".join(behaviour.row for behaviour in self.behaviours)
        return f"### {self.title}\n\n{head}\n{rows}\n"

    def add(
        self,
        does: str,
        gets: Gets,
        *,
        after: After | None = None,
        public: bool = False,
        auth: Auth = "none",
    ) -> Callable[[Arrange], Arrange]:
        """Add the behaviour that the decorated function sets up."""

        def note(arrange: Arrange) -> Arrange:
            self.behaviours.append(Behaviour(does, gets, arrange, after, public, auth))
            return arrange

        return note
