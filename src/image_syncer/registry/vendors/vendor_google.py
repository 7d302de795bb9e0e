"""Google's registries: Artifact Registry and Container Registry."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, cast

from image_syncer.bounded_json import JsonObject
from image_syncer.errors import InvalidReference
from image_syncer.oci import Digest
from image_syncer.registry.vendors.vendor_profile import (
    ListedTag,
    Preparation,
    UploadProfile,
    VendorFacts,
    VendorProfile,
)

_MOST_TIME_DIGITS: Final = 14  # Milliseconds until the year 5138.


def read_manifests(document: JsonObject) -> Iterator[ListedTag]:
    """Yield each tag in the member `manifest` of a tag list, with its digest and the time of the upload.

    Malformed entries are left out; a malformed time is None.
    """
    entries: object = document.get("manifest")
    if not isinstance(entries, dict):
        return
    for text, entry in cast("dict[str, object]", entries).items():
        fields = cast("dict[str, object]", entry) if isinstance(entry, dict) else {}
        tags = fields.get("tag")
        if not isinstance(tags, list):
            continue
        try:
            digest = Digest.parse(text)
        except InvalidReference:
            continue
        for tag in cast("list[object]", tags):
            if isinstance(tag, str):
                yield ListedTag(tag, digest, _time_of(fields.get("timeUploadedMs")))


def _time_of(text: object) -> datetime | None:
    """Return when the registry received the manifest; the time of its creation is what its builder claims."""
    if not isinstance(text, str) or not text.isascii() or not text.isdecimal() or len(text) > _MOST_TIME_DIGITS:
        return None
    return datetime.fromtimestamp(int(text) / 1000, UTC)


PROFILE: Final = VendorProfile(
    name="Google",
    basis="documented only: go-containerregistry",
    hosts=("gcr.io", "*.gcr.io", "*.pkg.dev"),
    # Google's two registries take the content in one request of either kind.
    uploads=UploadProfile(chunks=False),
    read_tag_list=read_manifests,
    preparation=Preparation(
        subject="repository of Artifact Registry",
        call="gcloud artifacts repositories create {second} --project {first} --location {location} "
        "--repository-format docker",
    ),
    facts=VendorFacts(
        mounts="with and without the origin",
        deletion="by digest, once no tag names it",
        quota="requests per minute and project",
        credentials="`auth: gcp`: an access token for an hour",
    ),
)
