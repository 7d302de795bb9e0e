"""One image on its way to several places: what is asked for at each, and how far it has come."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from image_syncer.errors import CopyFailed, TooLarge
from image_syncer.oci import Digest, RawManifest, Repository
from image_syncer.roles import Fence, Source, Target
from image_syncer.sync.result import Transferred

NODES_LIMIT = 20_000
"""How many manifests and indexes an image may have."""
_TROUBLES = 2


@dataclass(slots=True, eq=False)
class TargetProgress:
    """One target repository of an image.

    *identifiers* are the tags or digests that shall name the image there; *named* has those that do by now, *refused*
    those that could not be given, each with the reason. *failure* is what ended the whole goal, None while it is well.
    *fence* is checked right before each write of a tag; None: the copy needs no lease.
    *probe*: child manifests may be there already, so that asking for them can save their blobs.
    """

    repository: Repository
    target: Target
    identifiers: list[str]
    probe: bool
    transferred: Transferred = field(default_factory=Transferred)
    named: set[str] = field(default_factory=set[str])
    fence: Fence | None = None
    refused: dict[str, CopyFailed] = field(default_factory=dict[str, CopyFailed])
    failure: CopyFailed | None = None

    @property
    def unnamed(self) -> list[str]:
        """The identifiers that are still to be given."""
        return [name for name in self.identifiers if name not in self.named and name not in self.refused]

    @property
    def is_worth_trying(self) -> bool:
        """Whether another identifier may be taken: not where the target is in trouble, whatever it is asked."""
        return sum(not failure.is_permanent for failure in self.refused.values()) < _TROUBLES

    def count(self, **amount: int) -> None:
        """Add bytes: *copied*, *mounted* or *existing*."""
        self.transferred += Transferred(**amount)


@dataclass(slots=True)
class SourceImage:
    """The image itself: where it is read, what a platform filter rewrote of it, and its *root* at the targets."""

    origin: Repository
    source: Source
    rewritten: dict[Digest, RawManifest]
    root: Digest
    nodes: int = 0

    def visit(self, raw: RawManifest) -> None:
        """Bound the whole tree, since indexes multiply."""
        self.nodes += 1
        if self.nodes > NODES_LIMIT:
            error = TooLarge(f"{raw.digest}: more than {NODES_LIMIT} manifests in one image")
            raise CopyFailed(error, side="source", step="read manifest")


def alive(goals: Iterable[TargetProgress]) -> list[TargetProgress]:
    """Return those of *goals* that nothing has ended yet."""
    return [goal for goal in goals if goal.failure is None]
