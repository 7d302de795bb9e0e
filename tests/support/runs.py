"""A whole run over stores in memory."""

import time
from collections.abc import Awaitable, Callable
from random import Random

from image_syncer.cache import MemoryBlobLocations
from image_syncer.concurrency.taskpool import Shutdown
from image_syncer.oci import PlatformFilter, Repository
from image_syncer.roles import BlobLocations, Stores
from image_syncer.sync.copier import Copier
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.planner import Planner
from image_syncer.sync.result import CopyResult, SilentRunObserver
from image_syncer.sync.rule import Rule, RuleTarget, Selection, TagNames
from image_syncer.sync.run import Run, RunOptions
from image_syncer.sync.transfer_probe import TransferRange

SOURCE = Repository("source.test", "team/app")
TARGET = Repository("target.test", "mirror/app")

RunRules = Callable[..., Awaitable[dict[str, CopyResult]]]


def rule(
    selection: Selection | str,
    *targets: Repository | RuleTarget,
    source: Repository = SOURCE,
    platforms: PlatformFilter | None = None,
) -> Rule:
    """Return a rule; a string selects that tag, and the default target is TARGET."""
    wanted = TagNames((selection,)) if isinstance(selection, str) else selection
    ends = tuple(end if isinstance(end, RuleTarget) else RuleTarget(end) for end in targets or (TARGET,))
    return Rule(f"{source}:{wanted}", source, wanted, ends, platforms or PlatformFilter(), "images.yaml:1")


def runner(stores: Stores, knowledge: BlobLocations | None = None) -> RunRules:
    """Return a function that executes rules over *stores* and returns the results by target.

    Without *knowledge* each execution starts without blob locations.
    """

    async def execute(
        *rules: Rule, options: RunOptions | None = None, stop: Shutdown | None = None
    ) -> dict[str, CopyResult]:
        reader = ManifestReader(stores)
        done = Run(
            Planner(stores, reader, width=8),
            Copier(
                stores,
                reader,
                observer=SilentRunObserver(),
                locations=knowledge or MemoryBlobLocations(),
                transfers=lambda _registry: TransferRange(5, 5),
            ),
            SilentRunObserver(),
            options=options or RunOptions(retries=0),
            clock=time.monotonic,
            rng=Random(0),
        )
        await done.execute(rules, stop=stop or Shutdown())
        return {result.target: result for result in done.results}

    return execute
