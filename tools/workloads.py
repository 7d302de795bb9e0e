"""The rows of the benchmark: which images, from where to where, and the wanted ratio to the fastest peer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from image_syncer.oci import Platform
from image_syncer.structs import replace
from image_syncer.testing.content import Blob, Image
from image_syncer.testing.images import Entry, single
from image_syncer.testing.images import index as index_of
from seeding import Seeder, gzip_layer

_KIB, _MIB = 1024, 1024 * 1024
_TLS = "-tls"
_PLATFORMS = (
    Platform("linux", "amd64"),
    Platform("linux", "arm64"),
    Platform("linux", "arm", "v7"),
    Platform("linux", "s390x"),
)


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of the benchmark.

    *seed* pushes its images, of which a scale (1: all) leaves only a part. *wanted* is the largest acceptable ratio of
    our wall time to that of the fastest peer. With *up_to_date* the targets have everything already, otherwise each run
    gets empty ones. *far* puts a slow line before each registry, *tls* a certificate of a private CA. *few* says that
    there are few images, so that programs that copy one at a time can take part. With *hashing* the fastest peer is one
    that hashes what it copies, since that is most of the work.
    """

    name: str
    about: str
    wanted: float
    seed: Callable[[Seeder, float], None]
    targets: int = 1
    up_to_date: bool = False
    far: bool = False
    tls: bool = False
    few: bool = False
    hashing: bool = False

    @property
    def has_floor(self) -> bool:
        """Whether a bare client is the minimum: for distant blobs it would need more sophistication."""
        return self.up_to_date or not self.far


def one(layer_bytes: int) -> Callable[[Seeder, float], None]:
    """Return one image of 8 layers; the scale is that of their size."""

    def seed(seeder: Seeder, scale: float) -> None:
        layers = [gzip_layer(f"one/{number}", round(layer_bytes * scale)) for number in range(8)]
        seeder.push("bench/one", single("one", layers=layers), ["t0"])

    return seed


def shared(seeder: Seeder, scale: float) -> None:
    """Push 5 images to each of 40 repositories: 5 layers of 64 KiB each, 3 of them from a pool of 12."""
    random = Random("shared")  # noqa: S311 - a choice of layers, not of keys
    pool = [gzip_layer(f"pool/{number}", 64 * _KIB) for number in range(12)]
    for repository in _numbers(40, scale):
        for tag in range(5):
            seed = f"{repository}/{tag}"
            own = [gzip_layer(f"own/{seed}/{layer}", 64 * _KIB) for layer in range(2)]
            image = single(f"shared/{seed}", layers=[*random.sample(pool, 3), *own])
            seeder.push(f"bench/app{repository:02}", image, [f"t{tag}"])


def small(seeder: Seeder, scale: float) -> None:
    """Push 300 images of 2 layers of 16 KiB to one repository; they have nothing in common."""
    for tag in _numbers(300, scale):
        layers = [gzip_layer(f"small/{tag}/{layer}", 16 * _KIB) for layer in range(2)]
        seeder.push("bench/small", single(f"small/{tag}", layers=layers), [f"t{tag}"])


def indexes(seeder: Seeder, scale: float) -> None:
    """Push 60 indexes of 4 platforms with 3 layers of 100 KiB each, half of which come from a pool of 24."""
    random = Random("indexes")  # noqa: S311 - a choice of layers, not of keys
    pool = [gzip_layer(f"index-pool/{number}", 100 * _KIB) for number in range(24)]
    for repository in _numbers(6, scale):
        for tag in _numbers(10, scale):
            seed = f"{repository}/{tag}"
            entries = [Entry(_platform_image(seed, place, random, pool), _PLATFORMS[place]) for place in range(4)]
            seeder.push(f"bench/index{repository}", index_of(entries), [f"t{tag}"])


def _platform_image(seed: str, place: int, random: Random, pool: Sequence[Blob]) -> Image:
    pooled = 1 + place % 2
    own = [gzip_layer(f"index/{seed}/{place}/{layer}", 100 * _KIB) for layer in range(3 - pooled)]
    return single(f"index/{seed}/{place}", layers=[*random.sample(pool, pooled), *own], platform=_PLATFORMS[place])


def unchanged(seeder: Seeder, scale: float) -> None:
    """Push 100 images that differ only in an annotation to each of 10 repositories."""
    layer = gzip_layer("unchanged", 10 * _KIB)
    for repository in range(10):
        for tag in _numbers(100, scale):
            image = single("many", layers=[layer], annotations={"tag": f"{repository}/{tag}"})
            seeder.push(f"bench/many{repository}", image, [f"t{tag}"])


def fan(seeder: Seeder, scale: float) -> None:
    """Push 5 images of 2 layers of 5 MiB to each of 4 repositories; the scale is also that of their size."""
    size = round(5 * _MIB * scale)
    for repository in _numbers(4, scale):
        for tag in _numbers(5, scale):
            layers = [gzip_layer(f"fan/{repository}/{tag}/{layer}", size) for layer in range(2)]
            seeder.push(f"bench/fan{repository}", single(f"fan/{repository}/{tag}", layers=layers), [f"t{tag}"])


def _numbers(count: int, scale: float) -> range:
    return range(min(count, max(2, round(count * scale))))


_SHARED = "200 images in 40 repositories, 5 layers of 64 KiB each, 3 of them from a pool of 12"
_NO_OP = "1000 tags in 10 repositories, nothing to copy"
_ROWS = (
    Workload("one1g", "one image of 8 layers of 128 MiB", 0.95, one(128 * _MIB), few=True, hashing=True),
    Workload("shared", _SHARED, 0.75, shared),
    Workload("small", "300 images of 2 layers of 16 KiB in one repository, nothing shared", 0.9, small),
    Workload(
        "multi", "60 indexes of 4 platforms in 6 repositories, half of the layers shared", 0.85, indexes, few=True
    ),
    Workload("no-op", _NO_OP, 0.75, unchanged, up_to_date=True),
    Workload("fan-out", "20 images of 10 MiB in 4 repositories to 3 registries", 0.7, fan, targets=3, few=True),
    Workload("far-shared", _SHARED, 0.6, shared, far=True),
    Workload("far-no-op", _NO_OP, 0.9, unchanged, up_to_date=True, far=True),
    Workload("far-big", "one image of 8 layers of 32 MiB", 0.95, one(32 * _MIB), far=True, few=True),
    Workload("far-small", "one image of 8 layers of 1.6 MiB", 1.0, one(round(1.6 * _MIB)), far=True, few=True),
)
_WANTED_OVER_TLS = {"one1g": 0.95, "fan-out": 0.7, "far-shared": 0.6, "far-no-op": 0.9, "far-big": 0.95}
"""Rows without an entry are to be as fast as the fastest peer."""

ROWS: Mapping[str, Workload] = {
    row.name: row
    for plain in _ROWS
    for row in (
        plain,
        replace(
            plain,
            name=plain.name + _TLS,
            about=f"{plain.about}, over TLS with a private CA",
            tls=True,
            wanted=_WANTED_OVER_TLS.get(plain.name, 1.0),
        ),
    )
}
"""Every row by name, each also over TLS."""

DEFAULT_ROWS: Sequence[str] = (
    *("one1g", "one1g-tls", "shared", "shared-tls", "small", "multi", "no-op", "no-op-tls", "fan-out"),
    *("far-shared", "far-no-op", "far-big", "far-small"),
)
"""The rows that are measured unless some are named."""


def over_tls(name: str) -> str:
    """Return the name of the same row over TLS."""
    return name if name.endswith(_TLS) else name + _TLS
