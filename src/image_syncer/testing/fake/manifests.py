"""Manifests: HEAD, GET, PUT with `?tag=`, DELETE (distribution-spec end-3, end-7, end-9)."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from aiohttp import web

from image_syncer.errors import InvalidReference, ProtocolError, TooLarge
from image_syncer.oci import Digest, Index, Manifest, RawManifest
from image_syncer.oci import media_type as types
from image_syncer.oci.reference import is_tag
from image_syncer.testing.fake.answers import RegistryError, empty
from image_syncer.testing.fake.blobs import parse_digest
from image_syncer.testing.fake.layer_urls import required_blobs
from image_syncer.testing.fake.storage import FakeRepository, Storage
from image_syncer.testing.fake.streaming import read_limited
from image_syncer.testing.profile import Profile, ProfileRefusal

_DOCKER_TYPES = frozenset({types.DOCKER_LIST, types.DOCKER_MANIFEST, *types.SCHEMA1})
_UNTYPED = ProfileRefusal(400, "UNSUPPORTED", "Invalid parameter: Invalid JSON syntax")


class ManifestHandlers:
    """Handlers for manifests."""

    def __init__(self, storage: Storage, profile: Profile) -> None:
        self._storage = storage
        self._profile = profile

    async def get(self, request: web.Request) -> web.Response:
        """Answer HEAD and GET; a type that the Accept list leaves out counts as not found."""
        if request.method == "HEAD" and self._profile.head == "refused":
            raise RegistryError(405, "UNSUPPORTED", "no HEAD here")
        self._check_reference(request)
        digest, raw = self._find(request)
        etag = f'"{digest}"'
        if request.headers.get("If-None-Match") == etag:
            return empty(304, {"ETag": etag})
        if not _accepted(raw.media_type, request.headers.getall("Accept", [])):
            raise RegistryError(404, "MANIFEST_UNKNOWN", f"found a manifest of type {raw.media_type}, not accepted")
        headers = {"Docker-Content-Digest": str(digest), "ETag": etag, "Content-Type": raw.media_type}
        if request.method == "HEAD" and self._profile.head == "no digest":
            del headers["Docker-Content-Digest"]
        return web.Response(body=raw.content, headers=headers)

    async def put(self, request: web.Request) -> web.Response:
        """Answer PUT: store the manifest only if everything that it names is here and its digest is right."""
        name, identifier = request.match_info["name"], request.match_info["reference"]
        self._check_reference(request)
        content = await read_limited(request, self._profile.manifest_limit_bytes, self._profile.manifest_too_large)
        self._check_project(name)
        raw = _parse(content, request.headers.get("Content-Type", ""))
        self._check_type(raw)
        digest = self._digest_at(identifier, raw)
        repository = self._storage.repositories.get(name, FakeRepository())
        subject = self._check_parts(repository, raw)
        tags = self._tags_beside(request) if ":" in identifier else [identifier]
        self._check_tags(repository, tags, digest)
        repository = self._storage.repository(name)
        repository.manifests[digest] = raw
        repository.tags |= dict.fromkeys(tags, digest)
        return self._created(name, digest, subject, tags if ":" in identifier else ())

    async def delete(self, request: web.Request) -> web.Response:
        """Answer DELETE: by tag only the tag, by digest the manifest and all its tags."""
        identifier = request.match_info["reference"]
        if ":" in identifier:
            parse_digest(identifier)
        if self._profile.deletes == "nothing" or (self._profile.deletes == "digests" and ":" not in identifier):
            raise RegistryError.of(self._profile.undeletable)
        digest, _ = self._find(request)
        repository = self._storage.repository(request.match_info["name"])
        if ":" not in identifier:
            del repository.tags[identifier]
            return empty(202)
        del repository.manifests[digest]
        for tag in [tag for tag, named in repository.tags.items() if named == digest]:
            del repository.tags[tag]
        return empty(202)

    def _tags_beside(self, request: web.Request) -> list[str]:
        tags = request.query.getall("tag", [])
        if tags and self._profile.many_tags == "refuses":
            raise RegistryError(400, "UNSUPPORTED", "no such parameter")
        return tags if self._profile.many_tags == "confirms" else []

    def _check_project(self, name: str) -> None:
        if not self._storage.may_push(name, self._profile.projects):
            raise RegistryError.of(self._profile.missing_project)

    def _check_type(self, raw: RawManifest) -> None:
        if raw.media_type in _DOCKER_TYPES and not self._profile.docker_types:
            raise RegistryError(415, "MANIFEST_INVALID", "this type of manifest is not supported")
        if self._profile.media_type_required and "mediaType" not in raw.document:
            raise RegistryError.of(_UNTYPED)

    def _check_reference(self, request: web.Request) -> None:
        """Refuse a reference that looks like a digest and is none."""
        identifier = request.match_info["reference"]
        try:
            Digest.parse(identifier if ":" in identifier else str(Digest.of(b"")))
        except InvalidReference as error:
            raise RegistryError.of(self._profile.malformed_digest) from error

    def _digest_at(self, identifier: str, raw: RawManifest) -> Digest:
        """Return the digest under which to store *raw*; refuse an *identifier* that is a different digest."""
        if ":" not in identifier:
            return raw.digest
        digest = parse_digest(identifier)
        found = raw.digest
        if digest.algorithm != "sha256" and self._profile.sha512_manifests:
            found = Digest.of(raw.content, digest.algorithm)
        if found != digest:
            raise RegistryError(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        return digest

    def _check_tags(self, repository: FakeRepository, tags: Iterable[str], digest: Digest) -> None:
        if not all(map(is_tag, tags)):
            raise RegistryError(400, "TAG_INVALID", "not a tag")
        for tag in tags:
            fixed = self._profile.immutable_tags and fnmatchcase(tag, self._profile.immutable_tags)
            if fixed and repository.tags.get(tag, digest) != digest:
                raise RegistryError.of(self._profile.immutable)

    def _check_parts(self, repository: FakeRepository, raw: RawManifest) -> Digest | None:
        """Refuse *raw* if content that it names is missing; return its subject, which may be missing."""
        parsed = raw.parse()
        if isinstance(parsed, Index):
            # An index may name blobs too (a BuildKit cache): distribution looks for both kinds.
            blobs = {part.digest for part in parsed.manifests if not part.is_manifest} & repository.blobs
            named = () if self._profile.sparse_index else [part.digest for part in parsed.manifests]
            held = repository.manifests.keys() | blobs
        else:
            named = self._blobs_of(raw, parsed)
            held = repository.blobs
        for digest in named:
            if digest not in held:
                message = f"unknown to the repository: {digest}"
                raise RegistryError(self._profile.missing_part, "MANIFEST_BLOB_UNKNOWN", message)
        return parsed.subject.digest if parsed.subject else None

    def _blobs_of(self, raw: RawManifest, parsed: Manifest) -> list[Digest]:
        """Return the digests of the blobs that the repository must have for *raw*."""
        if self._profile.layer_urls is None or raw.media_type in types.SCHEMA1:
            return [part.digest for part in parsed.blobs]
        return list(required_blobs(raw, self._profile.layer_urls))

    def _find(self, request: web.Request) -> tuple[Digest, RawManifest]:
        name, identifier = request.match_info["name"], request.match_info["reference"]
        repository = self._storage.repositories.get(name)
        found = repository.find(identifier) if repository else None
        if found is not None:
            return found
        if self._profile.unknown is not None:
            raise RegistryError.of(self._profile.unknown)
        if repository is None:
            raise RegistryError(404, "NAME_UNKNOWN", "repository name not known to registry")
        raise RegistryError(404, "MANIFEST_UNKNOWN", "manifest unknown")

    def _created(self, name: str, digest: Digest, subject: Digest | None, tags: Iterable[str]) -> web.Response:
        response = empty(201, {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": str(digest)})
        if subject is not None and self._profile.referrers:
            response.headers["OCI-Subject"] = str(subject)
        for tag in tags:
            response.headers.add("OCI-Tag", tag)
        return response


def _parse(content: bytes, content_type: str) -> RawManifest:
    if types.essence(content_type) not in types.MANIFESTS:
        raise RegistryError(400, "MANIFEST_INVALID", "the Content-Type is no manifest type")
    try:
        raw = RawManifest.of(content, content_type)
        raw.parse()
    except (ProtocolError, TooLarge) as error:
        raise RegistryError(400, "MANIFEST_INVALID", error.message) from error
    return raw


def _accepted(media_type: str, headers: list[str]) -> bool:
    ranges = {types.essence(item) for header in headers for item in header.split(",")}
    return not ranges or bool(ranges & {media_type, "*/*", "application/*"})
