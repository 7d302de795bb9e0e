"""Registries on both sides fail at random all the time: everything must arrive nevertheless, byte for byte."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from image_syncer.structs import replace
from image_syncer.testing import Account, Accounts, FakeRegistry, Profile, faults, profiles
from image_syncer.testing.content import Image
from image_syncer.testing.faults import Fault, Script
from lab import clean_environment, our_command
from stress.report import Figure, Report, Say
from stress.storm_set import storm_images

_ACCOUNTS: Final = Accounts({"storm": Account("in a teacup")})
_LONGEST_SECONDS: Final = 1_800.0
_SILENCE_SECONDS: Final = 0.5
_DRIP_BYTES_PER_SECOND: Final = 400_000

_EVERY_REQUEST: Final[Mapping[str, Fault]] = {
    "429": faults.answer(429),
    "429 with Retry-After": faults.answer(429, headers={"Retry-After": "1"}),
    "500": faults.answer(500),
    "502 of a proxy": faults.answer(502, body="<html><title>Bad Gateway</title></html>"),
    "503": faults.answer(503),
    "answer lost": faults.lost(),
    "silence": faults.silence(_SILENCE_SECONDS),
}
"""Faults for any request."""

_EVERY_BODY: Final[Mapping[str, Fault]] = {
    "reset before the body": faults.cut(0),
    "reset in the body": faults.cut(700),
    "reset far in the body": faults.cut(1_500_000),
}
_EVERY_DOWNLOAD: Final[Mapping[str, Fault]] = {
    "drip": faults.drip(_DRIP_BYTES_PER_SECOND),
    "a wrong byte": faults.altered(at=300),
}
"""Additional faults for GET of a blob or manifest."""


@dataclass(frozen=True, slots=True)
class StormOptions:
    """*images* images in each of *runs*; every request fails with at least *percent*; seeds count from *seed*."""

    images: int
    percent: float
    runs: int
    seed: int


@dataclass(slots=True)
class Tally:
    """The results of all runs together."""

    fired: Counter[str] = field(default_factory=Counter[str])
    requests: int = 0
    blobs: int = 0
    repeated: int = 0
    failed: int = 0
    wrong: int = 0
    broken: list[str] = field(default_factory=list[str])


def run(options: StormOptions, directory: Path, say: Say) -> Report:
    """Run once for each seed, with other profiles at both ends each time, and return the report."""
    began, tally, rows = time.monotonic(), Tally(), list[Mapping[str, Figure]]()
    for seed in range(options.seed, options.seed + options.runs):
        pair = pair_of(seed)
        place = directory / f"run-{seed}"
        place.mkdir()
        row = _run_once(options, pair, place, tally, seed)
        rows.append(row)
        say("  ".join(f"{name} {figure}" for name, figure in row.items()))
    figures: dict[str, Figure] = {
        "runs, images in each": f"{options.runs}, {options.images}",
        "failed": tally.failed,
        "wrong or missing at the target": tally.wrong,
        "blobs compared": tally.blobs,
        "requests": tally.requests,
        "faults": tally.fired.total(),
        **{f"  {name}": times for name, times in sorted(tally.fired.items())},
        "images that were begun again": tally.repeated,
        "seconds in all": round(time.monotonic() - began, 1),
    }
    if not tally.fired:
        tally.broken.append("no fault fired, so the test proves nothing")
    return Report(f"storm, seeds from {options.seed}", figures, tally.broken, rows)


def pair_of(seed: int) -> tuple[Profile, Profile]:
    """Return the profiles of source and target: each profile in turn, against another one in each cycle."""
    count = len(profiles.ALL)
    source, target = profiles.ALL[seed % count], profiles.ALL[(seed + 1 + seed // count) % count]
    # A product's quota would end a run, which is another promise.
    return replace(source.guarded(_ACCOUNTS), quota=None), replace(target.guarded(_ACCOUNTS), quota=None)


def _run_once(
    options: StormOptions, pair: tuple[Profile, Profile], place: Path, tally: Tally, seed: int
) -> Mapping[str, Figure]:
    images = storm_images(options.images, docker=pair[1].docker_types)
    with ExitStack() as stack:
        source, target = (stack.enter_context(FakeRegistry.in_thread(profile)) for profile in pair)
        for (path, tag), image in images.items():
            source.load(path, image, tag)
        scripts = [Storm(options.percent / 100, Random(f"{seed} {side}")) for side in (0, 1)]  # noqa: S311
        for script, registry in zip(scripts, (source, target), strict=True):
            script.meet(registry)
        began = time.monotonic()
        summary = _sync(place, source, target, images)
        seconds = time.monotonic() - began
        wrong = list(wrong_at(target, images))
        tally.blobs += sum(len(image.blobs) for image in images.values())
        requests = sum(map(_requests, (source, target)))
        fired = sum((script.fired() for script in scripts), Counter[str]())
    tally.requests += requests
    tally.fired += fired
    tally.failed += summary["failed"]
    tally.wrong += len(wrong)
    tally.repeated += summary["repeated"]
    tally.broken += [f"seed {seed}: {what}" for what in (*summary["complaints"], *wrong[:3])]
    return {
        "seed": seed,
        "source": pair[0].name,
        "target": pair[1].name,
        "requests": requests,
        "faults": fired.total(),
        "%": round(100 * fired.total() / max(1, requests), 1),
        "begun again": summary["repeated"],
        "failed": summary["failed"],
        "seconds": round(seconds, 1),
    }


class Storm:
    """Fails requests with at least *chance*, drawn from *rng*; counts fired faults by name."""

    def __init__(self, chance: float, rng: Random) -> None:
        self._chance = chance
        self._rng = rng
        self._names: dict[int, str] = {}
        self._scripts: list[Script] = []

    def meet(self, registry: FakeRegistry) -> None:
        """Start at *registry* and its storage host."""
        self._add(registry.faults)
        if registry.profile.blobs_elsewhere:
            self._add(registry.elsewhere.faults)

    def fired(self) -> Counter[str]:
        """Return how often each fault has fired; a reset beyond the end of a short body does not count."""
        return Counter(
            name
            for script in self._scripts
            for fired in script.fired
            if (name := self._names[id(fired.fault)]) not in _EVERY_BODY or fired.request.broken
        )

    def _add(self, script: Script) -> None:
        self._scripts.append(script)
        for name, fault in _EVERY_REQUEST.items():
            self._names[id(fault)] = name
            script.add(fault, chance=self._chance / len(_EVERY_REQUEST), rng=self._rng)
        bodies = len(_EVERY_BODY) + len(_EVERY_DOWNLOAD)
        for name, fault in (_EVERY_BODY | _EVERY_DOWNLOAD).items():
            self._names[id(fault)] = name
            methods = ("GET",) if name in _EVERY_DOWNLOAD else ("GET", "PATCH", "PUT")
            for method in methods:
                script.add(fault, method=method, chance=self._chance / bodies, rng=self._rng)


def _sync(
    place: Path, source: FakeRegistry, target: FakeRegistry, images: Mapping[tuple[str, str], Image]
) -> Mapping[str, Any]:
    """Run the real command; return its report."""
    login = {"username": "storm", "password": _ACCOUNTS.users["storm"].password, "insecure": True}
    (place / "auth.json").write_text(json.dumps({source.host: login, target.host: login}), encoding="utf-8")
    rules = {f"{source.host}/{path}": f"{target.host}/{path}" for path, _ in images}
    (place / "images.json").write_text(json.dumps(rules), encoding="utf-8")
    files = ["--images", "images.json", "--auth", "auth.json", "--state", "none", "--report", "report.json"]
    ended = subprocess.run(
        [our_command(), "sync", "--quiet", *files],
        cwd=place,
        env=clean_environment(place),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LONGEST_SECONDS,
        check=False,
    )
    try:
        report = json.loads((place / "report.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"failed": len(images), "repeated": 0, "complaints": [f"no report: {ended.stderr[-1500:]}"]}
    return _summary(report, ended, images)


def _summary(
    report: Mapping[str, Any], ended: "subprocess.CompletedProcess[str]", images: Mapping[tuple[str, str], Image]
) -> Mapping[str, Any]:
    entries: Sequence[Mapping[str, Any]] = report["images"]
    complaints = [f"{entry['source']}: {entry['reason']}" for entry in entries if entry["outcome"] == "failed"]
    if "Traceback" in ended.stderr or (ended.returncode != 0 and not complaints):
        complaints.append(f"exit code {ended.returncode}: {ended.stderr[-1500:]}")
    if report["summary"]["copied"] != len(images):
        complaints.append(f"{report['summary']['copied']} of {len(images)} images were copied")
    return {
        "failed": report["summary"]["failed"],
        "repeated": sum(entry["attempts"] > 1 for entry in entries),
        "complaints": complaints[:5],
    }


def _requests(registry: FakeRegistry) -> int:
    return len(registry.requests) + (len(registry.elsewhere.requests) if registry.profile.blobs_elsewhere else 0)


def wrong_at(target: FakeRegistry, images: Mapping[tuple[str, str], Image]) -> Iterator[str]:
    """Yield everything that *target* lacks or has differently: tags, manifests and blobs by their bytes."""
    for (path, tag), image in images.items():
        held = target.content(path)
        if held.tags.get(tag) != image.digest:
            yield f"{path}:{tag} is {held.tags.get(tag)}, not {image.digest}"
        for raw in image.manifests:
            if held.manifests.get(raw.digest) != raw:
                yield f"{path}:{tag} lacks the manifest {raw.digest}, or has another"
        for blob in image.blobs.values():
            if blob.digest not in held.blobs or target.blob(blob.digest) != blob.read():
                yield f"{path}:{tag} lacks the blob {blob.digest}, or has other bytes"
