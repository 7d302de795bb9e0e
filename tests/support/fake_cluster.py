"""A fake API server of Kubernetes with pods, for the official client to talk to."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

TOKEN = "secret-token"


def pod(name: str, *images: str, namespace: str = "default", **more: Any) -> dict[str, Any]:
    """Return a running pod with a container for each of *images*: `image` or `image=imageID`.

    *more* are keys of its spec.
    """
    parts = [image.partition("=") for image in images]
    containers = [{"name": f"c{number}", "image": image} for number, (image, _, _) in enumerate(parts)]
    statuses = [{"name": f"c{number}", "imageID": found} for number, (_, _, found) in enumerate(parts)]
    return {
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": containers, **more},
        "status": {"phase": "Running", "containerStatuses": statuses},
    }


def ended(name: str, image: str, at: str) -> dict[str, Any]:
    """Return a pod whose container ended *at* a time."""
    found = pod(name, image)
    statuses = [{"name": "c0", "imageID": "", "state": {"terminated": {"finishedAt": at}}}]
    found["status"] = {"phase": "Succeeded", "containerStatuses": statuses}
    return found


@dataclass
class FakeCluster:
    """The server's pods and what it answers. *requests* has the query of each request, with its path as `path`.

    *events* are sent to the watch that runs; None ends it. *expired_lists* pages answer 410, as do *expired_watches*
    watches. *status* replaces each answer.
    """

    pods: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    version: int = 100
    requests: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])
    events: "asyncio.Queue[dict[str, Any] | None]" = field(default_factory=asyncio.Queue)
    expired_pages: int = 0
    expired_watches: int = 0
    status: int = 200
    host: str = ""

    def emit(self, kind: str, changed: Mapping[str, Any]) -> None:
        """Send the event *kind* about the pod *changed*."""
        self.version += 1
        metadata = {**changed.get("metadata", {}), "resourceVersion": str(self.version)}
        self.events.put_nowait({"type": kind, "object": {**changed, "metadata": metadata}})

    def watches(self) -> list[str]:
        """Return the versions that watches began with."""
        return [query["resourceVersion"] for query in self.requests if query.get("watch") == "true"]

    def lists(self) -> int:
        """Return the number of lists that were begun."""
        return sum("watch" not in query and "continue" not in query for query in self.requests)

    def write_kubeconfig(self, path: Path) -> Path:
        """Write a configuration with the contexts `main`, which is the current one, and `other`, which is broken."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "main",
            "clusters": [{"name": "c", "cluster": {"server": self.host}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [
                {"name": "main", "context": {"cluster": "c", "user": "u"}},
                {"name": "other", "context": {"cluster": "missing", "user": "u"}},
            ],
        }
        path.write_text(json.dumps(document))
        return path

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.requests.append({**request.query, "path": request.path})
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"code": 401}, status=401)
        if self.status != 200:
            return web.json_response({"code": self.status}, status=self.status)
        return await self._watch(request) if request.query.get("watch") == "true" else self._list(request)

    def _list(self, request: web.Request) -> web.Response:
        namespace = request.match_info.get("namespace")
        pods = [one for one in self.pods if namespace in {None, one["metadata"]["namespace"]}]
        start, limit = int(request.query.get("continue", "0")), int(request.query["limit"])
        if start and self.expired_pages:
            self.expired_pages -= 1
            return web.json_response({"code": 410, "reason": "Expired"}, status=410)
        metadata = {"resourceVersion": str(self.version)}
        if start + limit < len(pods):
            metadata["continue"] = str(start + limit)
        return web.json_response({"kind": "PodList", "metadata": metadata, "items": pods[start : start + limit]})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        if self.expired_watches:
            self.expired_watches -= 1
            return web.json_response({"code": 410, "reason": "Expired"}, status=410)
        response = web.StreamResponse()
        await response.prepare(request)
        while (event := await self.events.get()) is not None:
            await response.write(json.dumps(event).encode() + b"\n")
        return response


@asynccontextmanager
async def fake_cluster() -> AsyncGenerator[FakeCluster]:
    """Run a fake API server on loopback."""
    cluster = FakeCluster()
    app = web.Application()
    app.router.add_get("/api/v1/pods", cluster.answer)
    app.router.add_get("/api/v1/namespaces/{namespace}/pods", cluster.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    cluster.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield cluster
    finally:
        await runner.cleanup()
