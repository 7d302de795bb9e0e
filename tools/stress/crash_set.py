"""The images of `crash`: a realistic set with many shared layers, where everything has a tag."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image_syncer.oci import Platform
from image_syncer.testing.content import Blob, Image
from image_syncer.testing.images import LINUX_AMD64, LINUX_ARM64, Entry, attested, index, nested, single
from seeding import Seeder, gzip_layer

_KIB: Final = 1024
_BIG_BYTES: Final = 24 * 1024 * _KIB
_PLATFORMS: Final = (LINUX_AMD64, LINUX_ARM64, Platform("linux", "arm", "v7"))
_IMAGES_PER_REPOSITORY: Final = 4
_KINDS: Final = 10


@dataclass(frozen=True, slots=True)
class Lot:
    """Images by repository and tag; the same in every run."""

    tags: Mapping[tuple[str, str], Image]

    @classmethod
    def of(cls, count: int) -> "Lot":
        """Return *count* images: indexes of three platforms over shared bases, and some other kinds."""
        bases = [gzip_layer(f"base/{number}", 400 * _KIB) for number in range(3)]
        tags: dict[tuple[str, str], Image] = {}
        for number in range(count):
            repository = f"team/app{number // _IMAGES_PER_REPOSITORY}"
            tags[repository, f"v{number}"] = image = _image(number, bases)
            if number % _IMAGES_PER_REPOSITORY == 0:
                tags[repository, "latest"] = image
        return cls(tags)

    @property
    def size_bytes(self) -> int:
        """The content that a target must receive once: each blob, and each manifest in each repository."""
        blobs = {digest: blob.size_bytes for image in self.tags.values() for digest, blob in image.blobs.items()}
        manifests = {
            (repository, manifest.digest): len(manifest.content)
            for (repository, _), image in self.tags.items()
            for manifest in image.manifests
        }
        return sum(blobs.values()) + sum(manifests.values())

    def push(self, host: str) -> None:
        """Push everything to the registry at *host*."""
        with Seeder(host) as seeder:
            for (repository, tag), image in self.tags.items():
                seeder.push(repository, image, [tag])

    def write_rules(self, file: Path, source: str, target: str) -> None:
        """Write rules in the Go tool's format for all tags of all repositories, each to `mirror/` at *target*."""
        repositories = dict.fromkeys(repository for repository, _ in self.tags)
        lines = (f"{source}/{path}: {target}/{mirrored(path)}\n" for path in repositories)
        file.write_text("".join(lines), encoding="utf-8")

    def wanted(self) -> Iterator[tuple[str, str, str]]:
        """Yield repository, tag and digest of everything that must be at the target."""
        for (repository, tag), image in self.tags.items():
            yield mirrored(repository), tag, str(image.digest)


def mirrored(repository: str) -> str:
    """Return the target's repository for *repository* of the source."""
    return repository.replace("team/", "mirror/")


def _image(number: int, bases: Sequence[Blob]) -> Image:
    seed = f"crash/{number}"
    match number % _KINDS:
        case 3:
            return nested(seed)
        case 5:
            return attested(seed)
        case 7:
            return single(seed, layers=[bases[0], gzip_layer(seed, _BIG_BYTES if number < _KINDS else 300 * _KIB)])
        case _:
            return _index(seed, bases[number % len(bases)])


def _index(seed: str, base: Blob) -> Image:
    common = gzip_layer(f"{seed}/common", 200 * _KIB)
    images = [
        single(
            f"{seed}/{platform}", layers=[base, common, gzip_layer(f"{seed}/{platform}", 60 * _KIB)], platform=platform
        )
        for platform in _PLATFORMS
    ]
    return index(map(Entry, images, _PLATFORMS))
