"""Reads the files of an OCI artifact: charts, and files that were pushed with a title."""

from typing import Final

from image_syncer.errors import Refused, TooLarge
from image_syncer.image_sources.local_files import NamedText
from image_syncer.oci import Descriptor, Manifest, Reference
from image_syncer.roles import Stores
from image_syncer.sync.image_text import ARTIFACT_SCHEME

ARTIFACT_LIMIT_BYTES: Final = 32 * 1024 * 1024
CHART_TYPE: Final = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"

_TITLE: Final = "org.opencontainers.image.title"
_LAYERS_LIMIT: Final = 1_000


async def read_artifact(stores: Stores, reference: Reference, *, only: str | None = None) -> list[NamedText]:
    """Return the layers of the artifact *reference*, those of the type *only* if it is given; raises `StoreError`.

    Content is verified by its digest. `TooLarge` above 32 MiB in all.
    """
    source = stores.source(reference.repository)
    manifest = (await source.manifest(reference.identifier)).parse()
    if not isinstance(manifest, Manifest):
        raise Refused(f"{reference}: an index, not an artifact with files")
    layers = [layer for layer in manifest.layers if only is None or layer.media_type == only]
    if not layers:
        raise Refused(f"{reference}: an artifact without a layer of the type {only or 'of a file'}")
    total = sum(layer.size or 0 for layer in layers)
    if total > ARTIFACT_LIMIT_BYTES or len(layers) > _LAYERS_LIMIT:
        raise TooLarge(f"{reference}: larger than {ARTIFACT_LIMIT_BYTES // 1024**2} MiB")
    files: list[NamedText] = []
    for layer in layers:
        async with source.open(layer) as chunks:
            content = b"".join([bytes(chunk) async for chunk in chunks])
        files.append(NamedText(_name(reference, layer), content))
    return files


def _name(reference: Reference, layer: Descriptor) -> str:
    title = (layer.annotations).get(_TITLE, "")
    return f"{ARTIFACT_SCHEME}{reference}/{title}" if title else f"{ARTIFACT_SCHEME}{reference}"
