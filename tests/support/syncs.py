"""Runs the tool in this process as the command line does, with files of the Go tool."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from image_syncer.app import Options, open_app
from image_syncer.config.load import load_go_tool_files
from image_syncer.oci import PlatformFilter
from image_syncer.sync.result import CopyResult, RunResult


async def sync_files(  # noqa: PLR0913 -- the flags of the Go tool
    folder: Path,
    images: Mapping[str, str | Sequence[str]],
    *,
    auth: Mapping[str, Any] | None = None,
    systems: Sequence[str] = (),
    architectures: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    retries: int = 0,
    force: bool = False,
    proc: int = 5,
    state: Path | None = None,
) -> RunResult:
    """Write *images* and *auth* to files in *folder*, load them, run once with *state*, and return the result."""
    (folder / "images.json").write_text(json.dumps(images))
    (folder / "auth.json").write_text(json.dumps(auth or {}))
    configuration = load_go_tool_files(
        auth=folder / "auth.json",
        images=folder / "images.json",
        platforms=PlatformFilter.parse(systems, architectures),
        environment=environment or {},
    )
    options = Options(
        configuration.accounts,
        transfers=proc,
        retries=retries,
        environment=environment or {},
        home=folder,
        state=None if state is None else str(state),
    )
    async with open_app(options) as syncer:
        return await syncer.sync(configuration.rules, force=force)


def by_target(result: RunResult) -> dict[str, CopyResult]:
    """Return the results by target, without its host."""
    return {entry.target.partition("/")[2]: entry for entry in result.results}
