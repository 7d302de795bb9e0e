"""The workloads of the benchmark: the images, and the same job for image-syncer and for skopeo."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from image_syncer.testing.images import single
from lab import our_command
from seeding import Seeder, gzip_layer

_KIB, _MIB = 1024, 1024 * 1024
_SKOPEO = ("skopeo", "--insecure-policy")  # Signature policies are not part of the measurement.
_MANY = "bench/many"


@dataclass(frozen=True, slots=True)
class Ends:
    """Source and target of a run, and a directory for its files. With *verified* both use TLS with verification."""

    source: str
    targets: Sequence[str]
    directory: Path
    verified: bool = False


Job = Callable[[Ends], Sequence[str]]
"""Writes its files and returns the command of the job."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of the benchmark.

    *ours* and *theirs* are the same job for both programs. *wanted* is the desired ratio to skopeo. With *fresh* each
    run gets empty targets, otherwise targets that have everything already. *far* puts a slow line before each registry,
    *tls* a certificate of a private CA. *parts* means that skopeo does one of that many parts, which *sample* names.
    *tags* is the number of tags that the floor requests; 0: it sends blobs.
    """

    name: str
    about: str
    wanted: float
    seed: Callable[[Seeder], None]
    ours: Job
    theirs: Job
    fresh: bool = True
    targets: int = 1
    far: bool = False
    tls: bool = False
    parts: float = 1.0
    sample: str = ""
    tags: int = 0

    @property
    def has_floor(self) -> bool:
        """Whether a bare client is the minimum: for distant blobs it would need more sophistication."""
        return bool(self.tags) or not self.far


@dataclass(frozen=True, slots=True)
class Sizes:
    """The amount of copied data; *sampled* is the number of skopeo's tags if all would take too long."""

    tags: int = 1000
    sampled: int = 200
    images: int = 200
    repositories: int = 40
    layer_bytes: int = 128 * _MIB
    fan_images: int = 8
    fan_layer_bytes: int = 8 * _MIB
    pairs: int = 5


NEAR = Sizes()
FAR = Sizes(images=40, repositories=8, layer_bytes=32 * _MIB)
HUGE = Sizes(tags=10_000)
QUICK = Sizes(10, 5, 6, 3, _MIB, 2, 64 * _KIB, pairs=1)


def default_rows() -> Sequence[Workload]:
    """Return the workloads that fit into 15 minutes."""
    return (
        unchanged("unchanged", NEAR),
        shared("shared", NEAR),
        big("big", NEAR),
        big("big-tls", NEAR, tls=True),
        fan_out("fan-out", NEAR),
        unchanged("far-unchanged", FAR, far=True),
        shared("far-shared", FAR, far=True),
        big("far-big", FAR, far=True),
        fan_out("far-fan-out", FAR, far=True),
    )


def further_rows() -> Sequence[Workload]:
    """Return the additional ones of `--full`: more tags, and full size for distant registries."""
    return (
        unchanged("unchanged-10k", HUGE),
        unchanged("far-unchanged-10k", HUGE, far=True),
        shared("far-shared-whole", NEAR, far=True),
        big("far-big-whole", NEAR, far=True),
        big("far-big-tls-whole", NEAR, far=True, tls=True),
    )


def quick_rows() -> Sequence[Workload]:
    """Return every kind of row in small."""
    return (
        unchanged("unchanged", QUICK),
        shared("shared", QUICK),
        big("big", QUICK),
        big("big-tls", QUICK, tls=True),
        fan_out("fan-out", QUICK),
        unchanged("far-unchanged", QUICK, far=True),
        big("far-big", QUICK, far=True),
    )


def unchanged(name: str, sizes: Sizes, *, far: bool = False) -> Workload:
    """Return a run over many up-to-date tags of one repository."""

    def seed(seeder: Seeder) -> None:
        layer = gzip_layer("unchanged", 10 * _KIB)
        for number in range(sizes.tags):
            seeder.push(_MANY, single("many", layers=[layer], annotations={"tag": str(number)}), [f"t{number}"])

    def sampled(ends: Ends) -> Sequence[str]:
        return _skopeo_sync(ends, {_MANY: [f"t{number}" for number in range(sizes.sampled)]})

    sparing = far or sizes.tags > NEAR.tags
    return Workload(
        name,
        f"{sizes.tags} tags of one repository, nothing to copy",
        20.0 if far else 8.0,
        seed,
        lambda ends: _our_sync(ends, [_MANY]),
        sampled if sparing else lambda ends: _skopeo_sync(ends, {_MANY: []}),
        fresh=False,
        far=far,
        parts=sizes.tags / sizes.sampled if sparing else 1.0,
        sample=f"{sizes.sampled} tags" if sparing else "",
        tags=sizes.tags,
    )


def shared(name: str, sizes: Sizes, *, far: bool = False) -> Workload:
    """Return images of 5 layers, 3 of them from a pool of 12 that all repositories share."""
    names = [f"bench/app{number:02}" for number in range(sizes.repositories)]

    def seed(seeder: Seeder) -> None:
        random = Random("shared")  # noqa: S311 - a choice of layers, not of keys
        pool = [gzip_layer(f"pool/{number}", 64 * _KIB) for number in range(12)]
        for number in range(sizes.images):
            own = [gzip_layer(f"own/{number}/{layer}", 64 * _KIB) for layer in range(2)]
            image = single(f"shared/{number}", layers=[*random.sample(pool, 3), *own])
            seeder.push(names[number % len(names)], image, [f"v{number}"])

    return Workload(
        name,
        f"{sizes.images} images in {len(names)} repositories, 5 layers of 64 KiB each, 60 % shared; empty target",
        5.0 if far else 2.0,
        seed,
        lambda ends: _our_sync(ends, names),
        lambda ends: _skopeo_sync(ends, {path: [] for path in names}),
        far=far,
    )


def big(name: str, sizes: Sizes, *, far: bool = False, tls: bool = False) -> Workload:
    """Return one image of large layers."""

    def seed(seeder: Seeder) -> None:
        layers = [gzip_layer(f"big/{number}", sizes.layer_bytes) for number in range(8)]
        seeder.push("bench/big", single("big", layers=layers), ["v1"])

    def ours(ends: Ends) -> Sequence[str]:
        return [our_command(), "copy", "--quiet", f"{ends.source}/bench/big:v1", f"{ends.targets[0]}/bench/big:v1"]

    def theirs(ends: Ends) -> Sequence[str]:
        source, target = (f"docker://{host}/bench/big:v1" for host in (ends.source, ends.targets[0]))
        return [*_SKOPEO, "copy", "--all", *_skopeo_tls(ends), source, target]

    over = ", over TLS with a private CA" if tls else ""
    about = f"one image of 8 layers, {8 * sizes.layer_bytes // _MIB} MiB that do not compress{over}; empty target"
    return Workload(name, about, 1.0, seed, ours, theirs, far=far, tls=tls)


def fan_out(name: str, sizes: Sizes, *, far: bool = False) -> Workload:
    """Return some images for three targets; skopeo handles one at a time, so it runs three times."""
    names = [f"bench/fan{number}" for number in range(sizes.fan_images)]

    def seed(seeder: Seeder) -> None:
        for path in names:
            layers = [gzip_layer(f"{path}/{number}", sizes.fan_layer_bytes) for number in range(4)]
            seeder.push(path, single(path, layers=layers), ["v1"])

    def theirs(ends: Ends) -> Sequence[str]:
        each = [
            _skopeo_sync(Ends(ends.source, [target], ends.directory), {path: ["v1"] for path in names})
            for target in ends.targets
        ]
        return ["sh", "-c", " && ".join(map(shlex.join, each))]

    size = 4 * sizes.fan_layer_bytes / _MIB
    about = f"{len(names)} images of 4 layers, {size:g} MiB each, to 3 registries; empty targets"
    return Workload(name, about, 2.5, seed, lambda ends: _our_sync(ends, names), theirs, targets=3, far=far)


def _our_sync(ends: Ends, repositories: Sequence[str]) -> Sequence[str]:
    """Return the command for all tags of *repositories*, using a rules file."""
    rules = ends.directory / "images.yaml"
    lines = (f"{ends.source}/{path}: [{', '.join(f'{to}/{path}' for to in ends.targets)}]\n" for path in repositories)
    rules.write_text("".join(lines), encoding="utf-8")
    return [our_command(), "sync", "--quiet", "--images", str(rules)]


def _skopeo_sync(ends: Ends, repositories: dict[str, list[str]]) -> Sequence[str]:
    """Return the command for the tags (none: all) of *repositories*, using a file as well."""
    listing = ends.directory / "skopeo.yaml"
    lines = "".join(f"    {path}: [{', '.join(tags)}]\n" for path, tags in repositories.items())
    listing.write_text(f"{ends.source}:\n  tls-verify: false\n  images:\n{lines}", encoding="utf-8")
    options = ["--all", *_skopeo_tls(ends), "--src", "yaml", "--dest", "docker"]
    return [*_SKOPEO, "sync", *options, str(listing), f"{ends.targets[0]}/bench"]


def _skopeo_tls(ends: Ends) -> Sequence[str]:
    return [] if ends.verified else ["--src-tls-verify=false", "--dest-tls-verify=false"]
