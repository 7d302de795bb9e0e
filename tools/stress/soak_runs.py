"""Synchronises repeatedly in one process, as a program that uses the Python API does.

python soak_runs.py RULES STATE

*RULES* is an images file. For each line on its standard input it prints as JSON its work so far and the number of tasks
between two runs. It ends when its standard input closes.
"""

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from image_syncer.app import Options, open_app
from image_syncer.config.go_tool.auth_file import load_auth
from image_syncer.config.load import load_go_tool_files
from image_syncer.oci import PlatformFilter
from image_syncer.sync.rule import Rule

_SYNCS_PER_OPENING = 25
_REST_SECONDS = 0.2


class Loop:
    """Opens everything, synchronises several times, closes everything, and repeats."""

    def __init__(self, rules: tuple[Rule, ...], options: Options) -> None:
        self.counts: Counter[str] = Counter(syncs=0, copied=0, failed=0, tasks=0)
        self.reasons: Counter[str] = Counter()
        self._rules = rules
        self._options = options

    async def run(self) -> None:
        """Repeat until cancelled."""
        while True:
            async with open_app(self._options) as syncer:
                for _ in range(_SYNCS_PER_OPENING):
                    result = await syncer.sync(self._rules)
                    self.counts["syncs"] += 1
                    self.counts.update(each.outcome.value for each in result.results)
                    self.reasons.update(
                        _reason(each.reason) for each in result.results if each.outcome.value == "failed"
                    )
                    await asyncio.sleep(_REST_SECONDS)
                    self.counts["tasks"] = len(asyncio.all_tasks())


def _reason(text: str | None) -> str:
    return (text or "")[:300]


async def _main(rules: Path, state: str) -> None:
    loaded = load_go_tool_files(auth=None, images=rules, platforms=PlatformFilter(), environment={})
    access = load_auth(rules.with_name("auth.json"), environment={})
    loop = Loop(loaded.rules, Options(access, state=state, environment={}))
    _say({})
    async with asyncio.TaskGroup() as group:
        running = group.create_task(loop.run())
        while await asyncio.to_thread(sys.stdin.readline):
            _say({**loop.counts, "reasons": loop.reasons.most_common(3)})
        running.cancel()


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), sys.argv[2]))
