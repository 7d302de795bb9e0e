"""The images of the demo: multi-platform indexes whose layers contain real files of this machine."""

import json
import shutil
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from image_syncer.oci import Platform
from image_syncer.testing.content import ODD, Blob, Image, files_layer
from image_syncer.testing.images import LINUX_AMD64, LINUX_ARM64, Entry, attested, index, single

_PLATFORMS = (LINUX_AMD64, LINUX_ARM64, Platform("linux", "arm", "v7"))
_FILES_LIMIT = 60


@dataclass(frozen=True, slots=True)
class Shelf:
    """One repository of the demo: its images with their tags, the rule's selection, and the target."""

    repository: str
    about: str
    images: Sequence[tuple[Image, Sequence[str]]]
    selection: str
    target: str
    copies: Mapping[str, str]
    """Selected source tags with their target tags."""

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield each copy as source and target reference, without registries."""
        repository = self.target.partition(":")[0]
        for source, target in self.copies.items():
            yield f"{self.repository}:{source}", f"{repository}:{target}"


def shelves() -> Sequence[Shelf]:
    """Return the repositories of the demo; they share a base layer, as real images do."""
    base = files_layer({"etc/os-release": b"NAME=demo\n", **_system_files()})
    return (_busybox(base), _python(base), _tools(base))


def _busybox(base: Blob) -> Shelf:
    program = shutil.which("busybox")
    if program is None:
        files, about = _standard_library("email"), "Python's email package (busybox is not installed here)"
    else:
        files, about = {"bin/busybox": Path(program).read_bytes()}, "Debian's busybox"
    old, new = _image("1.35", base, files), _image("1.36", base, {**files, "etc/release": b"1.36\n"})
    return Shelf(
        "demo/busybox",
        f"{about}; 2 indexes of 3 platforms, 3 tags",
        [(old, ["1.35"]), (new, ["1.36", "latest"])],
        "demo/busybox",
        "mirror/busybox",
        {"1.35": "1.35", "1.36": "1.36", "latest": "latest"},
    )


def _python(base: Blob) -> Shelf:
    versions = {"v3.1.0": "json", "v3.2.0": "asyncio", "v4.0.0-rc1": "logging"}
    images = [(_image(tag, base, _standard_library(package)), [tag]) for tag, package in versions.items()]
    return Shelf(
        "demo/python",
        "parts of Python's standard library; 3 tags, of which a pattern selects 2",
        images,
        r"demo/python:/^v3\./",
        "mirror/python",
        {"v3.1.0": "v3.1.0", "v3.2.0": "v3.2.0"},
    )


def _tools(base: Blob) -> Shelf:
    first = attested("demo/tools")
    second = single("demo/tools", layers=[base, files_layer(_standard_library("http"))], docker=True, style=ODD)
    return Shelf(
        "demo/tools",
        "an index with attestations and a Docker schema 2 image; both get new tags",
        [(first, ["1.0"]), (second, ["2.0"])],
        "demo/tools:1.0,2.0",
        "mirror/tools:stable,next",
        {"1.0": "stable", "2.0": "next"},
    )


def _image(version: str, base: Blob, files: Mapping[str, bytes]) -> Image:
    """Return an index of three platforms over the same files, each with a file that names its platform."""
    payload = files_layer(files)
    return index(
        [
            Entry(
                single(
                    f"demo/{version}/{platform}",
                    layers=[base, payload, files_layer({"etc/platform": f"{platform} {version}\n".encode()})],
                    platform=platform,
                ),
                platform,
            )
            for platform in _PLATFORMS
        ]
    )


def _standard_library(package: str) -> dict[str, bytes]:
    root = Path(sysconfig.get_path("stdlib"))
    paths = sorted((root / package).glob("*.py"))[:_FILES_LIMIT]
    return {f"usr/lib/python3/{path.relative_to(root)}": path.read_bytes() for path in paths}


def _system_files() -> dict[str, bytes]:
    """Return the files of a base layer: small, public files that every Linux has, or a note if one is missing."""
    found = {name: Path(name) for name in ("/etc/protocols", "/etc/services", "/etc/debian_version")}
    files = {name.lstrip("/"): path.read_bytes() for name, path in found.items() if path.is_file()}
    return files or {"etc/note.json": json.dumps({"base": "empty"}).encode()}
