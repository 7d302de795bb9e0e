"""The common verdict: everything acknowledged is at the target, and no job was given up."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stress.daemon import Daemon
from stress.report import Figure
from stress.stock import Stock


@dataclass(frozen=True, slots=True)
class Verdict:
    """The names of *lost* images, the errors of *dead_letters*, and whether all work was done in time (*quiet*)."""

    lost: Sequence[str]
    dead_letters: Sequence[str]
    quiet: bool

    @property
    def figures(self) -> Mapping[str, Figure]:
        """The counts of both."""
        return {"lost": len(self.lost), "dead letters": len(self.dead_letters)}

    @property
    def broken(self) -> list[str]:
        """The broken promises, each with its first cases."""
        found: list[str] = []
        if self.lost:
            found.append(f"{len(self.lost)} acknowledged images are not at the target: {', '.join(self.lost[:5])}")
        if not self.quiet:
            found.append("not all was done in time")
        if self.dead_letters:
            found.append(f"{len(self.dead_letters)} dead letters: {self.dead_letters[0]}")
        return found


def judge(daemon: Daemon, stock: Stock, target: str, acknowledged: Iterable[int], *, quiet: bool) -> Verdict:
    """Compare the registry *target* with the *acknowledged* events, and query *daemon* for dead letters."""
    lost = [stock.items[number].name for number in stock.missing(target, sorted(acknowledged))]
    return Verdict(lost, daemon.dead_letters(), quiet)
