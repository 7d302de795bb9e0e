"""A good target beside one that answers late, or never: the good one must not notice it."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image_syncer.testing.images import Layers
from stress.report import Report, Say
from support.slow_target import GoodTarget, Other, measure_good_target

_FACTOR: Final = 1.5
_SLACK_SECONDS: Final = 0.5
_OTHERS: Final[tuple[Other, ...]] = ("none", "late", "silent")
_NAMES: Final = {"none": "alone", "late": "beside a target that answers after 3 s", "silent": "beside a silent target"}


@dataclass(frozen=True, slots=True)
class SlowTargetOptions:
    """So many *images*, with a layer of so many *kib* each."""

    images: int
    kib: int


def run(options: SlowTargetOptions, directory: Path, say: Say) -> Report:
    """Copy to a good target alone and beside both kinds of slow ones."""
    layers: Layers = (1000, options.kib * 1024)
    measured: dict[Other, GoodTarget] = {}
    for other in _OTHERS:
        measured[other] = asyncio.run(measure_good_target(directory, other, options.images, layers))
        say(f"{_NAMES[other]}: {measured[other].all:.2f} s")
    alone = measured["none"].all
    broken = [
        f"the good target took {good.all:.2f} s {_NAMES[other]}, and {alone:.2f} s alone"
        for other, good in measured.items()
        if good.all > _FACTOR * alone + _SLACK_SECONDS
    ]
    rows = [
        {
            "good target": _NAMES[other],
            "first image (s)": good.first,
            "all images (s)": good.all,
            "times alone": good.all / alone,
            "source reads": good.source_blob_reads,
        }
        for other, good in measured.items()
    ]
    return Report("slow target", {"images": options.images, "layer KiB": options.kib}, broken, rows)
