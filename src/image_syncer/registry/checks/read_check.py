"""Checks what a login may read: tags, a manifest by HEAD and by GET, its quota, referrers, the list of repositories."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Final, cast

from image_syncer.bounded_json import parse_object
from image_syncer.errors import CatalogueClosed, NotFound, StoreError
from image_syncer.oci import Digest, RawManifest, Repository
from image_syncer.oci.manifest import MANIFEST_LIMIT_BYTES
from image_syncer.oci.reference import is_tag
from image_syncer.registry.catalogue import RegistryCatalogue
from image_syncer.registry.checks.check_values import CheckStep, attempt, failed_step
from image_syncer.registry.endpoint import BufferedResponse, RegistryClient, RepositoryRequests
from image_syncer.registry.host import Call
from image_syncer.registry.limits.quota import read_quota
from image_syncer.registry.manifests import ACCEPT_MANIFESTS
from image_syncer.structs import replace

_FEW: Final = 0.1  # Of a quota.
_NO_REFERRERS_API: Final = frozenset({200, 400, 404, 405, 501})
_REFUSED_HEAD: Final = frozenset({200, 400, 403, 405, 501})


class ReadCheck:
    """Reads one repository. *manifest* is the one that was read, None if there was none."""

    def __init__(self, requests: RepositoryRequests, *, must_exist: bool) -> None:
        self._requests = requests
        self._client = requests.client
        self._must_exist = must_exist
        self.manifest: RawManifest | None = None

    async def steps(self) -> AsyncGenerator[CheckStep]:
        """Yield what each step found; nothing follows if the tags cannot be read."""
        try:
            tag = await self._first_tag()
        except NotFound as error:
            yield self._missing(error)
            return
        except StoreError as error:
            yield failed_step("pull", error)
            return
        what = self._requests.repository
        if tag is None:
            yield CheckStep("pull", "ok", f"{what} can be read; it has no tag")
            return
        yield CheckStep("pull", "ok", f"{what} can be read, such as its tag {tag}")
        head: list[BufferedResponse] = []
        yield await attempt("head", self._compare(tag, head), on_error="warning")
        if head:
            yield self._quota(head[0])
        yield await attempt("referrers", self._referrers(), on_error="note")

    async def _first_tag(self) -> str | None:
        call = self._requests.build("GET", self._requests.path("tags/list?n=1"))
        limit = self._client.limits.tag_page_bytes
        response = await self._request(call, limit_bytes=limit, expect=frozenset({200}))
        what = f"{self._requests.repository}: its list of tags"
        tags: object = parse_object(response.content, what).get("tags")
        listed = cast("list[object]", tags) if isinstance(tags, list) else []
        return next((tag for tag in listed if isinstance(tag, str) and is_tag(tag)), None)

    def _missing(self, error: StoreError) -> CheckStep:
        if self._must_exist:
            return failed_step("pull", error)
        return CheckStep(
            "pull", "note", f"{self._requests.repository} does not exist yet", "most registries create it at a push"
        )

    async def _compare(self, tag: str, head: list[BufferedResponse]) -> CheckStep:
        """Compare HEAD and GET of *tag*; the response to HEAD goes to *head*."""
        path = self._requests.path(f"manifests/{tag}")
        call = self._requests.head(path, headers=ACCEPT_MANIFESTS)
        response = await self._request(call, expect=_REFUSED_HEAD)
        head.append(response)
        call = self._requests.build("GET", path, headers=ACCEPT_MANIFESTS, follow=True)
        got = await self._request(call, limit_bytes=MANIFEST_LIMIT_BYTES, expect=frozenset({200}))
        kind = got.headers.get("Content-Type") or ""
        self.manifest = RawManifest.of(got.content, kind, what=f"{self._requests.repository}:{tag}")
        differences = _differences(response, got, self.manifest)
        if not differences:
            return CheckStep("head", "ok", "HEAD of a manifest tells what GET does")
        remedy = "none needed: manifests are read by GET then, which counts against a quota of pulls"
        return CheckStep("head", "warning", f"HEAD of a manifest: {'; '.join(differences)}", remedy)

    def _quota(self, response: BufferedResponse) -> CheckStep:
        quota = read_quota(response.headers, self._client.retrying.clock.now)
        if quota is None:
            return CheckStep("quota", "ok", "the registry announces none")
        text = f"{quota.remaining} left" + (f" of {quota}" if str(quota) else "")
        if not quota.remaining:
            return CheckStep("quota", "failed", text, "wait for its reset, or use a login with a larger quota")
        is_low = quota.limit is not None and quota.remaining < quota.limit * _FEW
        remedy = "use a login with a larger quota, or several (further logins)" if is_low else None
        return CheckStep("quota", "warning" if is_low else "ok", text, remedy)

    async def _referrers(self) -> CheckStep:
        digest = Digest.of(b"image-syncer") if self.manifest is None else self.manifest.digest
        call = replace(self._requests.build("GET", self._requests.path(f"referrers/{digest}")), is_optional=True)
        response = await self._request(call, expect=_NO_REFERRERS_API)
        if response.status == HTTPStatus.OK:
            return CheckStep("referrers", "ok", "the registry has the referrers API")
        return CheckStep("referrers", "note", "no referrers API: signatures are found and kept by tags")

    async def _request(self, call: Call, *, expect: frozenset[int], limit_bytes: int | None = None) -> BufferedResponse:
        context = self._requests.context(self._requests.repository)
        return await self._client.request(call, context, expect=expect, limit_bytes=limit_bytes, retry=False)


def _differences(head: BufferedResponse, got: BufferedResponse, manifest: RawManifest) -> list[str]:
    """Return what the response *head* lacks or tells otherwise than *got*, whose content is *manifest*."""
    if head.status != HTTPStatus.OK:
        return [f"answered {head.status}"]
    differences: list[str] = []
    if head.digest is None:
        differences.append("it has no Docker-Content-Digest")
    elif head.digest.algorithm == manifest.digest.algorithm and head.digest != manifest.digest:
        differences.append(f"its digest is {head.digest}, that of GET {manifest.digest}")
    kind, got_kind = (_media_type(response) for response in (head, got))
    if kind != got_kind:
        differences.append(f"its type is {kind or 'missing'}, that of GET {got_kind or 'missing'}")
    return differences


def _media_type(response: BufferedResponse) -> str:
    return (response.headers.get("Content-Type") or "").partition(";")[0].strip().lower()


async def first_listed(client: RegistryClient) -> Repository | None:
    """Return the first repository of the catalogue; None for an empty one. `CatalogueClosed` and others."""
    async with aclosing(RegistryCatalogue(client).repositories()) as pages:
        async for page in pages:
            if page:
                return page[0]
    return None


def catalogue_step(found: Repository | StoreError | None, *, is_needed: bool) -> CheckStep:
    """Return what the list of repositories has told: its first one, None if it is empty, or an error.

    *is_needed*: rules with patterns fail without it.
    """
    match found:
        case CatalogueClosed():
            return failed_step("catalogue", found, "failed" if is_needed else "note")
        case StoreError():
            return failed_step("catalogue", found, "failed" if is_needed else "warning")
        case None:
            return CheckStep("catalogue", "ok", "the registry lists its repositories; there is none")
        case _:
            return CheckStep("catalogue", "ok", f"the registry lists its repositories, such as {found.path}")
