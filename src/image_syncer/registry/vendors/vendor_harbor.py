"""Harbor: its own API lists a hundred artifacts with their tags in one request."""

from datetime import UTC, datetime
from typing import Final, cast
from urllib.parse import quote

from image_syncer.bounded_json import InvalidJson
from image_syncer.errors import InvalidReference
from image_syncer.oci import Digest, Repository
from image_syncer.registry.vendors.vendor_profile import ErrorShape, ListedTag, Preparation, VendorFacts, VendorProfile
from image_syncer.structs import Struct

_ENTRIES: Final = 100  # Harbor refuses larger pages.
_ARTIFACTS: Final = "/api/v2.0/projects/{project}/repositories/{name}/artifacts"


class HarborLister(Struct):
    """Lists the tagged artifacts of a repository; the API takes user and password, and ignores registry tokens."""

    takes_password: bool = True
    page_entries: int = _ENTRIES

    def page_path(self, repository: Repository, number: int) -> str | None:
        """Return the path of page *number*; None for a repository without a project."""
        project, slash, name = repository.path.partition("/")
        if not slash:
            return None
        # Harbor decodes the name twice, so a slash in it is encoded twice.
        path = _ARTIFACTS.format(project=quote(project, safe=""), name=quote(quote(name, safe=""), safe=""))
        return f"{path}?page={number}&page_size={_ENTRIES}&with_tag=true&q=tags%3D%2A"

    def read_page(self, document: object) -> tuple[int, list[ListedTag]]:
        """Return the number of artifacts and their tags; entries without a digest are left out."""
        if not isinstance(document, list):
            raise InvalidJson("not a list of artifacts")
        artifacts = cast("list[object]", document)
        return len(artifacts), [tag for artifact in artifacts for tag in _tags_of(artifact)]


def _tags_of(artifact: object) -> list[ListedTag]:
    fields = cast("dict[str, object]", artifact) if isinstance(artifact, dict) else {}
    tags, text = fields.get("tags"), fields.get("digest")
    if not isinstance(tags, list) or not isinstance(text, str):
        return []
    try:
        digest = Digest.parse(text)
    except InvalidReference:
        return []
    entries = [cast("dict[str, object]", tag) for tag in cast("list[object]", tags) if isinstance(tag, dict)]
    return [
        ListedTag(name, digest, _time_of(entry.get("push_time")))
        for entry in entries
        if isinstance(name := entry.get("name"), str)
    ]


def _time_of(text: object) -> datetime | None:
    """Return when the tag was given to its artifact; Harbor sets this time again when the tag moves."""
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.astimezone(UTC) if time.tzinfo is not None and time.year > 1 else None


PROFILE: Final = VendorProfile(
    name="Harbor",
    basis="documented only: its API description and source",
    challenge_service="harbor-registry",
    lister=HarborLister(),
    preparation=Preparation(
        subject="project",
        creator="harbor",
        call="curl -u USER -X POST https://{registry}/api/v2.0/projects -H 'Content-Type: application/json' -d "
        '\'{{"project_name": "{first}", "metadata": {{"public": "false"}}}}\'',
        options=("immutable", "scan", "public"),
        hides=True,
    ),
    immutable=ErrorShape(
        412, "PRECONDITION", "Failed to process request due to '{path}:{tag}' configured as immutable."
    ),
    facts=VendorFacts(
        mounts="from a named repository",
        deletion="by digest; tags by its own API",
        quota="storage per project: 403 DENIED when it is full",
        referrers="since 2.8",
        credentials="user or robot account and password",
        limits=("a push to a proxy cache project is denied",),
    ),
)
