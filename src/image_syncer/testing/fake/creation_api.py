"""The vendors' own APIs that create repositories and projects, as far as they document them.

Only user and password of the profile's accounts are checked, and tokens that are the password of one: the signatures of
clouds are recorded and not verified.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from image_syncer.testing.accounts import Accounts, parse_basic

_AWS: Final = "application/x-amz-json-1.1"


class CreationApi:
    """Creates what *profile* lacks; *created* are the names, *documents* what was asked for, in order."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self.created: set[str] = set()
        self.documents: list[dict[str, Any]] = []

    def holds(self, path: str) -> bool:
        """Whether the repository *path* was created, or the project that it is in."""
        return any(path == name or path.startswith(f"{name}/") for name in self.created)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of all vendors."""
        return [
            web.post("/api/v2.0/projects", self._as_user(self._harbor)),
            web.post("/api/v2.0/projects/{project}/immutabletagrules", self._as_user(self._rule)),
            web.post("/api/v1/repository", self._as_token(self._quay)),
            web.put("/artifactory/api/repositories/{key}", self._as_user(self._artifactory)),
            web.post("/api/v1/orgs", self._as_user(self._gitea)),
            web.get("/api/v4/projects/{project:.+}", self._as_token(self._gitlab)),
            web.post("/v2/manage/namespaces", self._huawei),
            web.post("/", self._aws),
        ]

    async def _harbor(self, request: web.Request) -> web.Response:
        """Harbor `api/v2.0/swagger.yaml`: 201, or 409 CONFLICT."""
        name = (await self._read(request))["project_name"]
        if self.holds(name):
            text = f"The project named {name} already exists"
            return web.json_response({"errors": [{"code": "CONFLICT", "message": text}]}, status=409)
        self.created.add(name)
        return web.Response(status=201, headers={"Location": f"/api/v2.0/projects/{name}"})

    async def _rule(self, request: web.Request) -> web.Response:
        await self._read(request)
        return web.Response(status=201 if self.holds(request.match_info["project"]) else 404)

    async def _quay(self, request: web.Request) -> web.Response:
        """Quay `endpoints/api/repository.py`: 201, or 400 with a text."""
        document = await self._read(request)
        name = f"{document['namespace']}/{document['repository']}"
        if name in self.created:
            return web.json_response({"error_message": "Repository already exists", "status": 400}, status=400)
        self.created.add(name)
        return web.json_response({"namespace": document["namespace"], "name": document["repository"]}, status=201)

    async def _artifactory(self, request: web.Request) -> web.Response:
        """JFrog's documentation: 200, or 400 with a text."""
        await self._read(request)
        key = request.match_info["key"]
        if key in self.created:
            text = f"Case insensitive repository key already exists: {key}"
            return web.json_response({"errors": [{"status": 400, "message": text}]}, status=400)
        self.created.add(key)
        return web.Response(text=f"Successfully created repository '{key}'")

    async def _gitea(self, request: web.Request) -> web.Response:
        """Gitea `routers/api/v1/org/org.go`: 201, or 422 with a text."""
        name = (await self._read(request))["username"]
        if name in self.created:
            return web.json_response({"message": f"user already exists [name: {name}]"}, status=422)
        self.created.add(name)
        return web.json_response({"username": name}, status=201)

    async def _gitlab(self, request: web.Request) -> web.Response:
        """GitLab's documentation, "Get a single project": the path is one component."""
        name = unquote(request.match_info["project"])
        if name not in self.created:
            return web.json_response({"message": "404 Project Not Found"}, status=404)
        return web.json_response({"path_with_namespace": name})

    async def _huawei(self, request: web.Request) -> web.Response:
        """huaweicloudsdkswr, CreateNamespace: 201, or 409."""
        name = (await self._read(request))["namespace"]
        if not request.headers.get("Authorization", "").startswith("SDK-HMAC-SHA256 Access="):
            return web.json_response({"errors": [{"errorCode": "SVCSTG.SWR.4010000"}]}, status=401)
        if name in self.created:
            return web.json_response({"errors": [{"errorCode": "SVCSTG.SWR.4090001"}]}, status=409)
        self.created.add(name)
        return web.Response(status=201)

    async def _aws(self, request: web.Request) -> web.Response:
        """Botocore's model of ECR: CreateRepository and PutLifecyclePolicy."""
        document = await self._read(request)
        action, name = request.headers.get("X-Amz-Target", "").rpartition(".")[2], document.get("repositoryName", "")
        if action == "CreateRepository" and name in self.created:
            text = f"The repository with name '{name}' already exists in the registry"
            return _amazon({"__type": "RepositoryAlreadyExistsException", "message": text}, 400)
        if action == "CreateRepository":
            self.created.add(name)
            return _amazon({"repository": {"repositoryName": name}})
        return _amazon({"repositoryName": name} if name in self.created else {"__type": "RepositoryNotFoundException"})

    async def _read(self, request: web.Request) -> dict[str, Any]:
        document = json.loads(await request.read())
        self.documents.append(document)
        return document

    def _as_user(self, handler: Callable[[web.Request], Awaitable[web.Response]]) -> Any:
        async def checked(request: web.Request) -> web.Response:
            login = parse_basic(request.headers.get("Authorization"))
            if self._accounts.users and (login is None or not self._accounts.knows(*login)):
                return web.json_response({"errors": [{"code": "UNAUTHORIZED", "message": "unauthorized"}]}, status=401)
            return await handler(request)

        return checked

    def _as_token(self, handler: Callable[[web.Request], Awaitable[web.Response]]) -> Any:
        async def checked(request: web.Request) -> web.Response:
            token = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if token not in {user.password for user in self._accounts.users.values()}:
                return web.json_response({"message": "invalid_token"}, status=401)
            return await handler(request)

        return checked


def _amazon(document: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(document), content_type=_AWS, status=status)
