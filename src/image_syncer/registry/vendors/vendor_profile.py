"""What a vendor's registry does differently: how to recognise it, how it takes blobs, how it lists digests in bulk."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Literal

from image_syncer.bounded_json import JsonObject
from image_syncer.oci import Digest
from image_syncer.structs import Struct

CreatorName = Literal[
    "aliyun", "artifactory", "aws", "gitea", "gitlab", "harbor", "huawei", "quay", "tencent", "volcengine"
]
"""A vendor's API that creates what a push needs; the name of its module in `registry.preparing`."""

CreateOption = Literal["immutable", "scan", "public", "lifecycle"]
"""A setting of what is created."""


class Preparation(Struct):
    """What must exist before the first push, and who creates it.

    *subject* is what must exist; *creator* the API that creates it, None if a push does so or only people can. *call*
    is the command or request that does the same, with fields of `preparing.call_text`. *options* are the settings that
    the API takes. With *hides*, the registry may answer 401 or 403 for what does not exist.
    """

    subject: str
    call: str
    creator: CreatorName | None = None
    options: tuple[CreateOption, ...] = ()
    hides: bool = False


class ErrorShape(Struct):
    """How a registry refuses a request: status, error code and message. *basis* says how far this is known."""

    status: int
    code: str
    message: str
    basis: Literal["verified", "documented", "assumed"] = "documented"


class VendorFacts(Struct):
    """What the vendor documents, in words for the reference page; empty: as the specification says, or unknown.

    *copies* says which images it brings by itself. *limits* are those that no response announces; a check shows them,
    too.
    """

    mounts: str = ""
    deletion: str = ""
    quota: str = ""
    referrers: str = ""
    credentials: str = ""
    copies: str = ""
    limits: tuple[str, ...] = ()


class UploadProfile(Struct):
    """How an upload session takes content.

    *patches*: all content goes in PATCHes and the closing PUT is empty; otherwise the PUT has the last part or all.
    *chunks*: content may be split over several requests and resumed after a break; otherwise it goes in one request.
    Every chunk but the last has at least *least_bytes*, and every chunk at most *most_bytes* (None: no known bound).
    """

    patches: bool = False
    chunks: bool = True
    least_bytes: int = 0
    most_bytes: int | None = None


class ListedTag(Struct):
    """A tag in a vendor's listing, with its digest, and the time since which it has that digest, None if unknown."""

    tag: str
    digest: Digest
    since: datetime | None = None


ListerName = Literal[
    "aliyun", "aws", "azure", "docker_hub", "github", "harbor", "huawei", "quay", "tencent", "volcengine", "zot"
]
"""A vendor's listing of the digests of all tags; the name of its module in `registry.tag_lists`."""


class BulkListing(Struct):
    """A vendor's own listing of the digests of all tags, read by the module *name*: at most *entries* on a page.

    *login* says in words what it needs; empty: what the registry itself needs. *server* is the URL of the API without a
    slash at its end; empty: the registry itself, or what the vendor's library finds.
    """

    name: ListerName
    entries: int
    login: str = ""
    server: str = ""


class VendorProfile(Struct):
    """One vendor. The values are those of the specification unless the module of the vendor says more.

    A registry is the vendor's if its host name matches one of *hosts* (globs), if a response has one of *headers*
    (name and prefix of the value, in lower case), if its challenge names the *challenge_service*, or if it announces
    the *extension*.
    *basis* says where the facts come from: what was measured at the vendor's registry, or what is only documented.
    *read_tag_list* reads digests that the vendor adds to the tag list itself, *bulk* is its own
    listing of them.
    *preparation* is None if a push creates all that it needs. *immutable* is how a tag that may not move is refused;
    None: the vendor has no such tags, or does not document the refusal.
    """

    name: str
    basis: str
    hosts: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    challenge_service: str | None = None
    extension: str | None = None
    uploads: UploadProfile = UploadProfile()
    read_tag_list: Callable[[JsonObject], Iterator[ListedTag]] | None = None
    bulk: BulkListing | None = None
    preparation: Preparation | None = None
    immutable: ErrorShape | None = None
    facts: VendorFacts = VendorFacts()
