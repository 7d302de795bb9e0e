"""The parsers of layouts, as targets of `fuzz.targets`: indexes, tar archives, archives of docker save."""

import contextlib
import io
import os
import tarfile
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from image_syncer.errors import StoreError
from image_syncer.layout.docker_archive import DockerArchive
from image_syncer.layout.index_file import LayoutIndex
from image_syncer.layout.tar_members import read_members
from image_syncer.oci import Descriptor, Digest
from image_syncer.oci import media_type as types

_DIGEST: Final = Digest.of(b"fuzz")
_LIST: Final = b'[{"Config":"c","RepoTags":["a/b:v1"],"Layers":["l"]}]'
_CONFIG: Final = b'{"rootfs":{"diff_ids":["%s"]}}' % str(Digest.of(b"layer")).encode()


def index(data: bytes) -> None:
    """The index of a layout: what is written reads back the same."""
    with suppress(StoreError):
        found = LayoutIndex.parse(data, "fuzz")
        before = found.tags("")
        found.put(("team/app", "v1"), Descriptor(types.OCI_MANIFEST, _DIGEST, 4))
        again = LayoutIndex.parse(found.content(), "fuzz")
        assert again.find("team/app", "v1").digest == _DIGEST
        assert again.tags("") == found.tags("")
        assert before.keys() - {"latest"} <= again.tags("").keys()


def members(data: bytes) -> None:
    """A tar archive: each file lies within it, and no name leads out."""
    with suppress(StoreError), _file(data) as path, path.open("rb") as file:
        for name, member in read_members(file.fileno(), "fuzz", links=True).files.items():
            assert member.offset + member.size <= len(data)
            assert not name.startswith("/")
            assert ".." not in name.split("/")


def docker_archive(data: bytes) -> None:
    """An archive of docker save whose list is *data*."""
    with _file(_packed({"manifest.json": data, "c": _CONFIG, "l": b"layer"})) as path:
        archive = DockerArchive(str(path), "fuzz")
        with contextlib.closing(archive), suppress(StoreError):
            found = LayoutIndex.parse(archive.read_index(), "fuzz")
            for entry in found.entries:
                archive.open(entry.digest).close()


@contextmanager
def _file(data: bytes) -> Generator[Path]:
    handle, name = tempfile.mkstemp(suffix=".tar")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        yield Path(name)
    finally:
        Path(name).unlink()


def _packed(files: Mapping[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return memory.getvalue()


INDEXES: Final = (
    b'{"schemaVersion":2,"manifests":[{"mediaType":"%s","digest":"%s","size":4,"annotations":'
    b'{"org.opencontainers.image.ref.name":"v1","io.containerd.image.name":"q.io/team/app:v1"}}]}'
    % (types.OCI_MANIFEST.encode(), str(_DIGEST).encode()),
    b'{"manifests":null}',
    b'{"manifests":[]}',
)
ARCHIVES: Final = (
    _packed({"oci-layout": b"{}", "blobs/sha256/x": b"x" * 600}),
    _packed({"long/" * 40 + "name": b"x"}),
)
LISTS: Final = (_LIST, b"[]", b"[{}]")
WORDS: Final = (
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b"null",
    b"../",
    b"/",
    b":",
    b"v1",
    b"latest",
    b"@",
    b"\0" * 512,
    b"l",
    b"c",
)
