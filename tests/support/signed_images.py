"""Images with signatures for tests of gates: those that cosign made (tests/data/cosign), and those made here."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from image_syncer.errors import NotFound
from image_syncer.oci import Descriptor, Digest, RawManifest, Reference, media_type
from image_syncer.roles import Attachment, GatedImage

DATA: Final = Path(__file__).resolve().parents[1] / "data"
COSIGN: Final = DATA / "cosign"
SOURCE: Final = Reference.parse("source.example/team/app:v1")


class Attached:
    """What is attached to an image, by digest (`roles.AttachmentReader`). Counts the manifests that were read."""

    def __init__(self) -> None:
        self.contents: dict[Digest, bytes] = {}
        self.attachments: list[Attachment] = []
        self.reads = 0

    async def manifest(self, attachment: Attachment) -> RawManifest:
        """Return the attached manifest."""
        self.reads += 1
        return RawManifest.of(self._get(attachment.entry.digest))

    async def blob(self, attachment: Attachment, blob: Descriptor) -> bytes:  # noqa: ARG002 - a role
        """Return a blob."""
        return self._get(blob.digest)

    def attach(
        self,
        subject: Digest,
        layers: Sequence[tuple[str, bytes, Mapping[str, str]]],
        artifact_type: str = "",
        tag: str = "",
    ) -> Digest:
        """Attach a manifest with *layers* (type, content, annotations) to *subject*; return its digest."""
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": media_type.OCI_MANIFEST,
            "config": self._describe("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [self._describe(kind, content) | {"annotations": dict(notes)} for kind, content, notes in layers],
        }
        if artifact_type:
            document["artifactType"] = artifact_type
        if not tag:
            document["subject"] = {"mediaType": media_type.OCI_MANIFEST, "digest": str(subject), "size": 1}
        content = json.dumps(document).encode()
        digest = self._add(content)
        entry = Descriptor(media_type.OCI_MANIFEST, digest, len(content), artifact_type=artifact_type)
        self.attachments.append(Attachment(subject, entry, tag))
        return digest

    def image(self, root: Digest, platforms: Sequence[Digest] = ()) -> GatedImage:
        """Return the image *root* with everything that is attached."""
        manifests = frozenset((root, *platforms))
        return GatedImage(SOURCE, root, manifests, tuple(self.attachments), self, frozenset(platforms))

    def _describe(self, kind: str, content: bytes) -> dict[str, Any]:
        return {"mediaType": kind, "digest": str(self._add(content)), "size": len(content)}

    def _add(self, content: bytes) -> Digest:
        digest = Digest.of(content)
        self.contents[digest] = content
        return digest

    def _get(self, digest: Digest) -> bytes:
        if digest not in self.contents:
            raise NotFound(f"{digest}: no such content")
        return self.contents[digest]


def made_by_cosign(case: str) -> tuple[Attached, Digest]:
    """Return what cosign attached in *case*, and the digest of the image."""
    directory = COSIGN / case
    described = json.loads((directory / "attached.json").read_text())
    attached = Attached()
    for file in directory.iterdir():
        if file.name != "attached.json":
            attached.contents[Digest("sha256", file.name)] = file.read_bytes()
    for one in described["attached"]:
        entry = one["entry"]
        digest = Digest.parse(entry["digest"])
        described_entry = Descriptor(
            entry["mediaType"], digest, entry["size"], artifact_type=entry.get("artifactType", "")
        )
        attached.attachments.append(Attachment(Digest.parse(one["subject"]), described_entry, one.get("tag", "")))
    return attached, Digest.parse(described["subject"])


def moved(case: str, subject: Digest) -> Attached:
    """Return what cosign attached in *case*, attached to *subject* instead: its statements stay what they were."""
    found, _ = made_by_cosign(case)
    result = Attached()
    for one in found.attachments:
        manifest = json.loads(found.contents[one.entry.digest])
        layers = [
            (layer["mediaType"], found.contents[Digest.parse(layer["digest"])], layer.get("annotations", {}))
            for layer in manifest["layers"]
        ]
        result.attach(subject, layers, one.entry.artifact_type, one.tag)
    return result
