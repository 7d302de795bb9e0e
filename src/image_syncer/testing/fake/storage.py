"""The content of a fake registry: manifests in memory, blobs and uploads as files in its own directory."""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from image_syncer.oci import Digest, RawManifest
from image_syncer.testing.content import Image

_READ_BYTES = 256 * 1024


@dataclass(slots=True)
class FakeRepository:
    """One repository: its manifests, the digest of each tag, and the blobs that may be pulled from it."""

    manifests: dict[Digest, RawManifest] = field(default_factory=dict[Digest, RawManifest])
    tags: dict[str, Digest] = field(default_factory=dict[str, Digest])
    blobs: set[Digest] = field(default_factory=set[Digest])

    def find(self, identifier: str) -> tuple[Digest, RawManifest] | None:
        """Return the manifest at a tag or digest together with its digest, None if there is none."""
        digest = Digest.parse(identifier) if ":" in identifier else self.tags.get(identifier)
        found = self.manifests.get(digest) if digest else None
        return (digest, found) if digest and found else None


class StoredUpload:
    """A blob while it is uploaded: the received bytes are in a file and hashed on arrival."""

    def __init__(self, repository: str, file: Path) -> None:
        self.repository = repository
        self.name = secrets.token_hex(16)
        self.offset = 0
        self.short = False
        """Whether a chunk was below the minimum, which is allowed only for the last one."""
        self.patches = 0
        self.closed = False
        self._file = file / self.name
        self._file.touch()
        self._hash = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        """Append *chunk*."""
        with self._file.open("ab") as out:
            out.write(chunk)
        self._hash.update(chunk)
        self.offset += len(chunk)

    def digest(self, algorithm: str) -> Digest:
        """Return the digest of the received bytes."""
        if algorithm == "sha256":
            return Digest("sha256", self._hash.hexdigest())
        with self._file.open("rb") as content:
            return Digest(algorithm, hashlib.file_digest(content, algorithm).hexdigest())

    def move(self, place: Path) -> None:
        """Move the received bytes to *place*, atomically."""
        self.closed = True
        self._file.replace(place)

    def discard(self) -> None:
        """Discard the received bytes."""
        self.closed = True
        self._file.unlink(missing_ok=True)


class Storage:
    """All repositories of one fake registry, with blobs in *directory*; *was_created* tells those of an API."""

    def __init__(self, directory: Path, was_created: Callable[[str], bool]) -> None:
        self._was_created = was_created
        self._uploading = directory / "uploads"
        self._holding = directory / "blobs"
        self._uploading.mkdir()
        self._holding.mkdir()
        self.repositories: dict[str, FakeRepository] = {}
        self.uploads: dict[str, StoredUpload] = {}

    def may_push(self, name: str, projects: Sequence[str]) -> bool:
        """Whether a push may create the repository *name*: it fits one of *projects*, or an API has created it."""
        return any(fnmatchcase(name, pattern) for pattern in projects) or self._was_created(name)

    def repository(self, name: str) -> FakeRepository:
        """Return the repository *name*, created if it is new."""
        return self.repositories.setdefault(name, FakeRepository())

    def load(self, name: str, image: Image, tags: tuple[str, ...]) -> None:
        """Store *image* in the repository *name* under *tags*."""
        repository = self.repository(name)
        for blob in image.blobs.values():
            if not self.place(blob.digest).exists():
                self._keep(blob.digest, blob.chunks())
            repository.blobs.add(blob.digest)
        repository.manifests |= {raw.digest: raw for raw in image.manifests}
        repository.tags |= dict.fromkeys(tags, image.digest)

    def keep(self, name: str, manifests: Iterable[RawManifest], blobs: Mapping[Digest, bytes]) -> None:
        """Store *manifests* and *blobs* in the repository *name*, without a tag."""
        repository = self.repository(name)
        for digest, content in blobs.items():
            self._keep(digest, iter((content,)))
            repository.blobs.add(digest)
        repository.manifests |= {raw.digest: raw for raw in manifests}

    def begin(self, name: str) -> StoredUpload:
        """Return a new upload into the repository *name*."""
        upload = StoredUpload(name, self._uploading)
        self.uploads[upload.name] = upload
        return upload

    def commit(self, upload: StoredUpload, digest: Digest) -> None:
        """Store the whole *upload* as the blob *digest*; the caller has verified the digest."""
        upload.move(self.place(digest))
        del self.uploads[upload.name]
        self.repository(upload.repository).blobs.add(digest)

    def cancel(self, upload: StoredUpload) -> None:
        """Discard *upload*."""
        upload.discard()
        self.uploads.pop(upload.name, None)

    def holds(self, name: str, digest: Digest) -> bool:
        """Whether the repository *name* has the blob *digest*."""
        repository = self.repositories.get(name)
        return repository is not None and digest in repository.blobs

    def size(self, digest: Digest) -> int:
        """Return the size of a blob in bytes."""
        return self.place(digest).stat().st_size

    def read(self, digest: Digest, start: int, length: int) -> Iterator[bytes]:
        """Yield *length* bytes of a blob from *start*."""
        with self.place(digest).open("rb") as content:
            content.seek(start)
            while length > 0 and (chunk := content.read(min(_READ_BYTES, length))):
                length -= len(chunk)
                yield chunk

    def reported(self, digest: Digest, *, canonical: bool) -> Digest:
        """Return *digest*, or with *canonical* the sha256 digest of the same blob."""
        if not canonical or digest.algorithm == "sha256":
            return digest
        with self.place(digest).open("rb") as content:
            return Digest("sha256", hashlib.file_digest(content, "sha256").hexdigest())

    def link(self, name: str, digest: Digest, other: Digest) -> None:
        """Store the blob *digest* of the repository *name* under the digest *other* too."""
        if other != digest:
            if not self.place(other).exists():
                self.place(other).hardlink_to(self.place(digest))
            self.repository(name).blobs.add(other)

    def replace_blob(self, digest: Digest, content: bytes) -> None:
        """Replace the bytes of the blob *digest*, as a damaged disk or a malicious server would."""
        self._keep(digest, iter((content,)))

    def place(self, digest: Digest) -> Path:
        """Return the path of the file of the blob *digest*."""
        return self._holding / f"{digest.algorithm}-{digest.encoded}"

    def _keep(self, digest: Digest, chunks: Iterator[bytes]) -> None:
        with self.place(digest).open("wb") as out:
            out.writelines(chunks)
