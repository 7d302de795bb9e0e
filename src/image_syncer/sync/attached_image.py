"""What is attached to one image, and which of it can belong to the image at a target."""

from collections.abc import Mapping, Sequence

from image_syncer.oci import Digest, Index, RawManifest, Repository
from image_syncer.roles import Attachment
from image_syncer.structs import Struct
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.referrer_discovery import Attached, Subjects, subjects_of
from image_syncer.sync.referrer_settings import ReferrerSettings


class ImageManifests(Struct):
    """The manifests of an image: its *subjects* at the source, and the digests that the target has (*kept*).

    *platforms* are the images in its index that the target gets.
    """

    subjects: Subjects
    kept: frozenset[Digest]
    platforms: frozenset[Digest] = frozenset()


class AttachedImage(Struct):
    """What was *found* at the source for the *manifests* of the image *root* in *origin*.

    *settings* select what is copied of it.
    """

    origin: Repository
    root: Digest
    manifests: ImageManifests
    found: Attached
    settings: ReferrerSettings

    @property
    def selected(self) -> Sequence[Attachment]:
        """What the settings select; what is attached to something that they leave out is left out too."""
        if not self.settings.enabled:
            return ()
        within = set(self.manifests.subjects)
        chosen: list[Attachment] = []
        for one in self.found.attachments:
            if one.subject in within and self.settings.selects_attachment(one.entry, one.tag):
                chosen.append(one)
                within.add(one.entry.digest)
        return chosen

    @property
    def reaches_target(self) -> bool:
        """Whether anything selected belongs to a manifest that the target has."""
        return any(one.subject in self.manifests.kept for one in self.selected)


async def manifests_of(
    reader: ManifestReader,
    origin: Repository,
    source_root: RawManifest,
    root: RawManifest,
    rewritten: Mapping[Digest, RawManifest],
) -> ImageManifests:
    """Return the manifests of the image *source_root* in *origin*, which is *root* at the target; `CopyFailed`.

    Of an image that a platform filter trimmed, only the root and the manifests that are kept are subjects.
    """
    subjects = await subjects_of(reader, origin, source_root)
    if root.digest == source_root.digest:
        return ImageManifests(subjects, frozenset(subjects), _platforms(source_root))
    kept: set[Digest] = set()
    pending = [root]
    while pending:
        raw = pending.pop()
        kept.add(raw.digest)
        parsed = raw.parse()
        for entry in parsed.manifests if isinstance(parsed, Index) else ():
            if entry.is_index and entry.digest not in kept:
                pending.append(rewritten.get(entry.digest) or await reader.read(origin, str(entry.digest)))
            kept.add(entry.digest)
    remaining = {digest: entries for digest, entries in subjects.items() if digest in kept}
    platforms = _platforms(source_root) & kept
    return ImageManifests({source_root.digest: subjects[source_root.digest], **remaining}, frozenset(kept), platforms)


def _platforms(root: RawManifest) -> frozenset[Digest]:
    """Return the images in the index *root*, without the attestations of BuildKit.

    Empty for an image, and for an index of indexes: what is required has to be attached to that itself.
    """
    parsed = root.parse()
    entries = parsed.manifests if isinstance(parsed, Index) else ()
    if any(entry.is_index for entry in entries):
        return frozenset()
    return frozenset(entry.digest for entry in entries if entry.is_manifest and entry.attested_digest is None)
