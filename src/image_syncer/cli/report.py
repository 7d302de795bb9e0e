"""The report: the result of every image as JSON. `version` changes when a reader has to change."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from image_syncer.sync.result import CopyResult, Outcome, RunResult

VERSION: Final = 1


def report_text(result: RunResult) -> Iterator[str]:
    """Yield the report of *result* as JSON text, an image on each line, so that memory does not grow with the images.

    Sizes are in bytes, durations in seconds, times in UTC. An unknown value is null.
    """
    head = json.dumps(_head(result), indent=2)
    yield head.removesuffix("\n}") + ',\n  "images": ['
    for number, image in enumerate(result.results):
        yield ("," if number else "") + "\n    " + json.dumps(_image(image))
    yield ("\n  ]" if result.results else "]") + "\n}\n"


def _head(result: RunResult) -> Mapping[str, Any]:
    transferred = result.transferred
    return {
        "version": VERSION,
        "started_at": instant_text(result.started_at),
        "finished_at": instant_text(result.finished_at),
        "dry_run": result.dry_run,
        "summary": {
            **{outcome.value: result.counts[outcome] for outcome in Outcome},
            "bytes_copied": transferred.copied,
            "bytes_mounted": transferred.mounted,
            "bytes_existing": transferred.existing,
            "requests": {"source": result.requests.get("source", 0), "target": result.requests.get("target", 0)},
            "unchecked_referrers": result.unchecked_referrers,
        },
    }


def _image(image: CopyResult) -> Mapping[str, Any]:
    return {
        "rule": image.rule,
        "source": image.source,
        "source_digest": str(image.source_digest) if image.source_digest else None,
        "target": image.target,
        "target_digest": str(image.target_digest) if image.target_digest else None,
        "outcome": image.outcome.value,
        "reason": image.reason,
        "side": image.side,
        "step": image.step,
        "remedy": image.remedy,
        "bytes": image.transferred.copied,
        "seconds": round(image.seconds, 3),
        "attempts": image.attempts,
        "way": image.way,
        "referrers": None if image.referrers is None else image.referrers.document,
    }


def instant_text(instant: datetime) -> str:
    """Return *instant* (aware) as in all JSON output: in UTC, with milliseconds and a `Z`."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
