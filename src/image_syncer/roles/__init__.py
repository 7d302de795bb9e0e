"""The roles in a copy: a source and a target of images, and the caches that save requests.

Registries, layouts on disk and stores in memory implement them; each implementation passes the contract suite in
`tests/contract`. The methods of sources and targets raise `errors.StoreError`.
"""

from image_syncer.roles.dates import FirstSeen, ImageDates, Sighting
from image_syncer.roles.hints import (
    BlobLocations,
    ConfirmedCopy,
    DigestCache,
    HostFact,
    HostFacts,
    ReferrerCache,
    ReferrerCheck,
    UploadCheckpoint,
    UploadJournal,
)
from image_syncer.roles.referrer_roles import (
    Attachment,
    AttachmentReader,
    Attester,
    Gate,
    GatedImage,
    MadeReferrer,
    ReferrerSource,
    ReferrerStores,
    ReferrerTarget,
)
from image_syncer.roles.repositories import (
    BlobTarget,
    Catalogue,
    Chunk,
    Fence,
    Opener,
    Source,
    Stores,
    Target,
)
from image_syncer.roles.ways import ALL_WAYS, EVERY_WAY, ImageContent, VendorWay, Way, Ways

__all__ = [
    "ALL_WAYS",
    "EVERY_WAY",
    "Attachment",
    "AttachmentReader",
    "Attester",
    "BlobLocations",
    "BlobTarget",
    "Catalogue",
    "Chunk",
    "ConfirmedCopy",
    "DigestCache",
    "Fence",
    "FirstSeen",
    "Gate",
    "GatedImage",
    "HostFact",
    "HostFacts",
    "ImageContent",
    "ImageDates",
    "MadeReferrer",
    "Opener",
    "ReferrerCache",
    "ReferrerCheck",
    "ReferrerSource",
    "ReferrerStores",
    "ReferrerTarget",
    "Sighting",
    "Source",
    "Stores",
    "Target",
    "UploadCheckpoint",
    "UploadJournal",
    "VendorWay",
    "Way",
    "Ways",
]
