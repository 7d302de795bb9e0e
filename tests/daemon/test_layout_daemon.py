"""A daemon whose rule writes layouts: a directory, and an archive that each job completes."""

import json
import tarfile
from pathlib import Path

from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import multi
from support.daemons import run_daemon, wait_for
from support.ports import free_port

FILE = """
version: 1
state: {{path: {state}}}
server: {{listen: '127.0.0.1:{port}', auth: {{tokens: ['a-token-that-is-long-enough-for-everybody']}}}}
registries:
  '{host}': {{insecure: true}}
rules:
  - name: layouts
    source: {host}/team/app
    targets: ['oci:{directory}/images:{{repository}}', 'oci-archive:{directory}/images.tar']
    every: 10s
"""


def test_jobs_write_layouts(tmp_path: Path) -> None:
    """Both have all tags when their jobs have ended."""
    images = {tag: multi(tag) for tag in ("v1", "v2")}
    with FakeRegistry.in_thread() as source:
        for tag, image in images.items():
            source.load("team/app", image, tag)
        port = free_port()
        text = FILE.format(state=tmp_path / "state", port=port, host=source.host, directory=tmp_path)
        (tmp_path / "native.yaml").write_text(text)
        with run_daemon(tmp_path, port, "serve", "-c", "native.yaml"):
            wait_for(lambda: in_directory(tmp_path / "images") == {f"team/app:{tag}" for tag in images})
            wait_for(lambda: in_archive(tmp_path / "images.tar") == set(images))
    with tarfile.open(tmp_path / "images.tar") as archive:
        names = set(archive.getnames())
    for image in images.values():
        for digest in (*image.blobs, *(raw.digest for raw in image.manifests)):
            assert (tmp_path / "images" / "blobs" / "sha256" / digest.encoded).exists()
            assert f"blobs/sha256/{digest.encoded}" in names


def in_directory(path: Path) -> set[str]:
    """Return the names in the index of the directory *path*."""
    index = path / "index.json"
    return names_in(index.read_bytes()) if index.exists() else set()


def in_archive(path: Path) -> set[str]:
    """Return the names in the index of the archive *path*."""
    if not path.exists():
        return set()
    with tarfile.open(path) as archive:
        file = archive.extractfile("index.json")
        assert file is not None
        return names_in(file.read())


def names_in(index: bytes) -> set[str]:
    """Return the names of the images that *index* lists; children are listed without one until their index is."""
    annotations = (entry.get("annotations", {}) for entry in json.loads(index)["manifests"])
    return {found["org.opencontainers.image.ref.name"] for found in annotations if found}
