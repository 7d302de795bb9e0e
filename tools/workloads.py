"""What the benchmark copies: the images, and the same job in our words and in skopeo's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from image_syncer.testing.images import single
from lab import our_command
from seeding import Seeder, gzip_layer

_KIB, _MIB = 1024, 1024 * 1024
_SKOPEO = ("skopeo", "--insecure-policy")  # Signature policies of this machine are not what is measured.


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a run reads and writes, and a directory for its files."""

    source: str
    target: str
    directory: Path


Job = Callable[[Ends], Sequence[str]]
"""Writes what files it needs and returns the command that does the job."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of the benchmark.

    *ours* and *theirs* are the same job for both programs. *wanted* is the ratio to skopeo that we want
    to reach. With *fresh* each run gets an empty target, otherwise one that holds everything already.
    """

    name: str
    about: str
    wanted: float
    fresh: bool
    seed: Callable[[Seeder], None]
    ours: Job
    theirs: Job


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is copied; the second set is for a smoke test."""

    tags: int = 1000
    images: int = 200
    repositories: int = 40
    layer_bytes: int = 128 * _MIB
    pairs: int = 5


FULL, QUICK = Sizes(), Sizes(tags=10, images=6, repositories=3, layer_bytes=2 * _MIB, pairs=1)


def workloads(sizes: Sizes) -> Sequence[Workload]:
    """Return the rows of the benchmark, biggest images last."""
    return (_unchanged(sizes), _shared(sizes), _big(sizes))


def _unchanged(sizes: Sizes) -> Workload:
    def seed(seeder: Seeder) -> None:
        layer = gzip_layer("unchanged", 10 * _KIB)
        for number in range(sizes.tags):
            seeder.push("bench/many", single("many", layers=[layer], annotations={"tag": str(number)}), [f"t{number}"])

    about = f"{sizes.tags} tags of one repository, nothing to copy"
    return _many("unchanged", about, 8.0, seed, ["bench/many"], fresh=False)


def _shared(sizes: Sizes) -> Workload:
    """Return images of 5 layers, 3 of them from a pool of 12 that all repositories draw on."""
    names = [f"bench/app{number:02}" for number in range(sizes.repositories)]

    def seed(seeder: Seeder) -> None:
        random = Random("shared")  # noqa: S311 - a choice of layers, not of keys
        pool = [gzip_layer(f"pool/{number}", 64 * _KIB) for number in range(12)]
        for number in range(sizes.images):
            own = [gzip_layer(f"own/{number}/{layer}", 64 * _KIB) for layer in range(2)]
            image = single(f"shared/{number}", layers=[*random.sample(pool, 3), *own])
            seeder.push(names[number % len(names)], image, [f"v{number}"])

    about = f"{sizes.images} images in {len(names)} repositories, 5 layers of 64 KiB each, 60 % shared; empty target"
    return _many("shared layers", about, 2.0, seed, names, fresh=True)


def _big(sizes: Sizes) -> Workload:
    def seed(seeder: Seeder) -> None:
        layers = [gzip_layer(f"big/{number}", sizes.layer_bytes) for number in range(8)]
        seeder.push("bench/big", single("big", layers=layers), ["v1"])

    def ours(ends: Ends) -> Sequence[str]:
        return [our_command(), "copy", "--quiet", f"{ends.source}/bench/big:v1", f"{ends.target}/bench/big:v1"]

    def theirs(ends: Ends) -> Sequence[str]:
        source, target = (f"docker://{host}/bench/big:v1" for host in (ends.source, ends.target))
        return [*_SKOPEO, "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", source, target]

    about = f"one image of 8 layers, {8 * sizes.layer_bytes // _MIB} MiB that do not compress; empty target"
    return Workload("one big image", about, 1.0, fresh=True, seed=seed, ours=ours, theirs=theirs)


def _many(
    name: str, about: str, wanted: float, seed: Callable[[Seeder], None], repositories: Sequence[str], *, fresh: bool
) -> Workload:
    """Return a workload that copies all tags of *repositories*, by a file of rules each."""

    def ours(ends: Ends) -> Sequence[str]:
        rules = ends.directory / "images.yaml"
        lines = (f"{ends.source}/{path}: {ends.target}/{path}\n" for path in repositories)
        rules.write_text("".join(lines), encoding="utf-8")
        return [our_command(), "sync", "--quiet", "--images", str(rules)]

    def theirs(ends: Ends) -> Sequence[str]:
        listing = ends.directory / "skopeo.yaml"
        lines = "".join(f"    {path}: []\n" for path in repositories)
        listing.write_text(f"{ends.source}:\n  tls-verify: false\n  images:\n{lines}", encoding="utf-8")
        options = ["--all", "--src-tls-verify=false", "--dest-tls-verify=false", "--src", "yaml", "--dest", "docker"]
        return [*_SKOPEO, "sync", *options, str(listing), f"{ends.target}/bench"]

    return Workload(name, about, wanted, fresh=fresh, seed=seed, ours=ours, theirs=theirs)
