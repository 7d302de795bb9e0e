"""The vendors' own APIs that list the digests of all tags, as far as they document them.

Logins are checked where an API takes user and password or a token: the signatures of clouds are not verified.
"""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from image_syncer.testing.accounts import Accounts
from image_syncer.testing.fake.storage import Storage
from image_syncer.testing.profile import Profile

PUSHED_AT: Final = "2023-11-14T22:13:20Z"
_SECONDS: Final = 1_700_000_000  # The same time.
_AWS: Final = "application/x-amz-json-1.1"


class TagListApi:
    """Lists the tags in *storage* as the API of *profile* does."""

    def __init__(self, storage: Storage, profile: Profile) -> None:
        self._storage = storage
        self._accounts: Accounts = profile.accounts
        self._is_open = profile.auth == "none"

    def routes(self, api: str) -> list[web.RouteDef]:
        """Return the routes of *api*."""
        routes = {
            "azure": [web.get("/acr/v1/{name:.+}/_tags", self._azure)],
            "docker_hub": [
                web.post("/v2/auth/token", self._docker_hub_login),
                web.get("/v2/namespaces/{first}/repositories/{rest}/tags", self._docker_hub),
            ],
            "github": [
                web.get("/users/{owner}", self._github_owner),
                web.get("/orgs/{owner}/packages/container/{package}/versions", self._github),
            ],
            "huawei": [web.get("/v2/manage/namespaces/{first}/repos/{rest}/tags", self._huawei)],
            "quay": [web.get("/api/v1/repository/{name:.+}/tag/", self._quay)],
            "zot": [
                web.get("/v2/_oci/ext/discover", self._zot_extensions),
                web.post("/v2/_zot/ext/search", self._zot),
            ],
            "aliyun": [web.post("/", self._aliyun), web.get("/repos/{first}/{rest:.+}/tags", self._aliyun_personal)],
            "aws": [web.post("/", self._aws)],
            "tencent": [web.post("/", self._tencent)],
            "volcengine": [web.post("/", self._volcengine)],
        }
        return routes.get(api, [])

    def _tags(self, name: str) -> list[tuple[str, str]]:
        repository = self._storage.repositories.get(name)
        if repository is None:
            raise web.HTTPNotFound(text='{"message": "not found"}', content_type="application/json")
        return sorted((tag, str(digest)) for tag, digest in repository.tags.items())

    def _page(self, name: str, query: Mapping[str, str], size: str, number: str) -> tuple[list[tuple[str, str]], bool]:
        """Return the entries of a page by number, and whether more follow; more than a hundred are an error."""
        tags, entries, page = self._tags(name), int(query[size]), int(query.get(number, "1"))
        if not 0 < entries <= 100:  # noqa: PLR2004 - of all these vendors
            raise web.HTTPBadRequest(text="{}", content_type="application/json")
        return tags[(page - 1) * entries : page * entries], len(tags) > page * entries

    async def _azure(self, request: web.Request) -> web.Response:
        """azure-containerregistry, `ContainerRegistry_GetTags`: by the last tag of the page before."""
        name, size, last = request.match_info["name"], int(request.query["n"]), request.query.get("last", "")
        after = [entry for entry in self._tags(name) if entry[0] > last]
        rights = {f"{verb}Enabled": True for verb in ("delete", "write", "list", "read")}
        times = {"createdTime": PUSHED_AT, "lastUpdateTime": PUSHED_AT}
        tags: list[dict[str, object]] = [
            {"name": tag, "digest": digest, **times, "signed": False, "changeableAttributes": rights}
            for tag, digest in after[:size]
        ]
        link = f'</acr/v1/{name}/_tags?last={tags[-1]["name"]}&n={size}&orderby=>; rel="next"' if after[size:] else ""
        document = {"registry": request.host, "imageName": name, "tags": tags}
        return web.json_response(document, headers={"Link": link} if link else {})

    async def _docker_hub_login(self, request: web.Request) -> web.Response:
        """Docker's documentation, "Create access token"."""
        login = await request.json()
        if not self._accounts.knows(login["identifier"], login["secret"]):
            return web.json_response({"detail": "Incorrect authentication credentials"}, status=401)
        return web.json_response({"access_token": f"hub.{login['identifier']}"})

    async def _docker_hub(self, request: web.Request) -> web.Response:
        """Docker's documentation, "List repository tags"."""
        name = f"{request.match_info['first']}/{request.match_info['rest']}"
        user = request.headers.get("Authorization", "").removeprefix("Bearer hub.") or None
        if not self._is_open and "pull" not in self._accounts.allowed(user, name):
            return web.json_response({"message": "httperror 404: object not found"}, status=404)
        tags, has_more = self._page(name, request.query, "page_size", "page")
        results = [
            {"name": tag, "digest": digest, "tag_last_pushed": PUSHED_AT, "images": [{"digest": "sha256:" + "0" * 64}]}
            for tag, digest in tags
        ]
        url = f"https://hub.docker.com{request.path}?page={int(request.query.get('page', '1')) + 1}"
        return web.json_response(
            {"count": len(self._tags(name)), "next": url if has_more else None, "results": results}
        )

    def _knows_token(self, request: web.Request) -> bool:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return token in {user.password for user in self._accounts.users.values()}

    async def _github_owner(self, request: web.Request) -> web.Response:
        """GitHub's documentation, "Get a user": organisations are found there, too."""
        return web.json_response({"login": request.match_info["owner"], "type": "Organization"})

    async def _github(self, request: web.Request) -> web.Response:
        """GitHub's documentation, "List package versions for a package owned by an organization"."""
        if not self._knows_token(request):
            return web.json_response({"message": "Requires authentication"}, status=401)
        name = f"{request.match_info['owner']}/{unquote(request.match_info['package'])}"
        versions, _ = self._page(name, request.query, "per_page", "page")
        return web.json_response(
            [
                {
                    "id": number,
                    "name": digest,
                    "updated_at": PUSHED_AT,
                    "metadata": {"package_type": "container", "container": {"tags": [tag]}},
                }
                for number, (tag, digest) in enumerate(versions)
            ]
        )

    async def _huawei(self, request: web.Request) -> web.Response:
        """huaweicloudsdkswr, `ShowReposTagResp`; a slash in the name is a dollar sign."""
        if not request.headers.get("Authorization", "").startswith("SDK-HMAC-SHA256 Access="):
            return web.json_response({"errors": [{"errorCode": "SVCSTG.SWR.4010000"}]}, status=401)
        name = f"{request.match_info['first']}/{request.match_info['rest'].replace('$', '/')}"
        offset, limit = int(request.query["offset"]), int(request.query["limit"])
        page = self._tags(name)[offset : offset + limit]
        return web.json_response([{"Tag": tag, "digest": digest, "updated": PUSHED_AT} for tag, digest in page])

    async def _quay(self, request: web.Request) -> web.Response:
        """Quay `endpoints/api/tag.py`: public repositories need no token."""
        name = request.match_info["name"]
        if not (self._is_open or self._knows_token(request) or "pull" in self._accounts.allowed(None, name)):
            return web.json_response({"message": "invalid_token"}, status=401)
        tags, has_more = self._page(name, request.query, "limit", "page")
        found = [{"name": tag, "manifest_digest": digest, "start_ts": _SECONDS} for tag, digest in tags]
        page = int(request.query.get("page", "1"))
        return web.json_response({"tags": found, "page": page, "has_additional": has_more})

    async def _zot_extensions(self, request: web.Request) -> web.Response:
        """distribution-spec `extensions`, as zot `pkg/extensions` fills it."""
        del request
        search = {"name": "_zot", "url": "https://zotregistry.dev", "endpoints": ["/v2/_zot/ext/search"]}
        return web.json_response({"extensions": [search]})

    async def _zot(self, request: web.Request) -> web.Response:
        """Zot `pkg/extensions/search/schema.graphql`: ImageList with its page."""
        query = (await request.json())["query"]
        name = json.loads(query[query.index('repo: "') + 6 :].partition(",")[0])
        limit, offset = (int(query.partition(f"{word}: ")[2].partition(",")[0]) for word in ("limit", "offset"))
        page = self._tags(name)[offset : offset + limit]
        results = [{"Tag": tag, "Digest": digest} for tag, digest in page]
        found = {"Page": {"TotalCount": len(self._tags(name)), "ItemCount": len(page)}, "Results": results}
        return web.json_response({"data": {"ImageList": found}})

    async def _aws(self, request: web.Request) -> web.Response:
        """Botocore's models of ECR (DescribeImages) and of ECR Public (DescribeImageTags)."""
        asked, action = await request.json(), request.headers["X-Amz-Target"].rpartition(".")[2]
        name, start = asked["repositoryName"], int(asked.get("nextToken", "0"))
        name = name if name in self._storage.repositories else f"alias/{name}"
        tags = self._tags(name)
        page = tags[start : start + asked["maxResults"]]
        end = start + len(page)
        more = {"nextToken": str(end)} if tags[end:] else {}
        if action == "DescribeImageTags":
            found = [
                {"imageTag": tag, "imageDetail": {"imageDigest": digest, "imagePushedAt": _SECONDS}}
                for tag, digest in page
            ]
            document = {"imageTagDetails": found, **more}
        else:
            images = [{"imageDigest": digest, "imageTags": [tag], "imagePushedAt": _SECONDS} for tag, digest in page]
            document = {"imageDetails": images, **more}
        return web.Response(text=json.dumps(document), content_type=_AWS)

    async def _aliyun(self, request: web.Request) -> web.Response:
        """Version 2018-12-01: instances, GetRepository and ListRepoTag."""
        action, query = request.headers["x-acs-action"], request.query
        if action == "ListInstance":
            document: dict[str, Any] = {"Instances": [{"InstanceName": query["InstanceName"], "InstanceId": "cri-1"}]}
        elif action == "GetRepository":
            document = {"RepoId": f"{query['RepoNamespaceName']}/{query['RepoName']}", "IsSuccess": True}
        else:
            tags, _ = self._page(query["RepoId"], query, "PageSize", "PageNo")
            images = [
                {"Tag": tag, "Digest": digest.removeprefix("sha256:"), "ImageUpdate": str(_SECONDS * 1000)}
                for tag, digest in tags
            ]
            document = {"Images": images, "IsSuccess": True, "TotalCount": str(len(self._tags(query["RepoId"])))}
        return web.json_response(document)

    async def _aliyun_personal(self, request: web.Request) -> web.Response:
        """Version 2016-06-07: GetRepoTags."""
        name = f"{request.match_info['first']}/{request.match_info['rest']}"
        tags, _ = self._page(name, request.query, "PageSize", "Page")
        found = [{"tag": tag, "digest": digest, "imageUpdate": _SECONDS * 1000} for tag, digest in tags]
        return web.json_response({"data": {"tags": found, "total": len(self._tags(name))}})

    async def _tencent(self, request: web.Request) -> web.Response:
        """tencentcloud-sdk-python-tcr: DescribeInstances and DescribeImages, whose offset counts pages."""
        asked = await request.json()
        if request.headers["X-TC-Action"] == "DescribeInstances":
            name = asked["Filters"][0]["Values"][0]
            instance = {"RegistryId": "tcr-1", "RegistryName": name, "RegionName": "ap-shanghai"}
            return web.json_response({"Response": {"RequestId": "1", "TotalCount": 1, "Registries": [instance]}})
        name = f"{asked['NamespaceName']}/{asked['RepositoryName']}"
        query = {"Limit": str(asked["Limit"]), "Offset": str(asked["Offset"])}
        tags, _ = self._page(name, query, "Limit", "Offset")
        images = [{"ImageVersion": tag, "Digest": digest, "UpdateTime": PUSHED_AT} for tag, digest in tags]
        found = {"RequestId": "1", "ImageInfoList": images, "TotalCount": len(self._tags(name))}
        return web.json_response({"Response": found})

    async def _volcengine(self, request: web.Request) -> web.Response:
        """volcenginesdk-cr: ListTags."""
        asked = await request.json()
        name = f"{asked['Namespace']}/{asked['Repository']}"
        query = {"PageSize": str(asked["PageSize"]), "PageNumber": str(asked["PageNumber"])}
        tags, _ = self._page(name, query, "PageSize", "PageNumber")
        items = [{"Name": tag, "Digest": digest, "PushTime": PUSHED_AT} for tag, digest in tags]
        metadata = {"RequestId": "1", "Action": request.query["Action"], "Version": request.query["Version"]}
        result = {"Items": items, "TotalCount": len(self._tags(name)), **asked}
        return web.json_response({"ResponseMetadata": metadata, "Result": result})
