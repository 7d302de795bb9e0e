"""The OpenAPI description names the authentication and the error responses of each route."""

from typing import Any

import pytest

from image_syncer.events.signatures import Basic, Bearer, UrlSecret
from image_syncer.server.server_settings import ForkHook, HookSource, ServerSettings
from server.serving import basic, running

LOGINS = (Basic("admin", "pass"), Bearer("token"))
ADMIN = basic("admin", "pass")
EITHER: list[dict[str, list[str]]] = [{"basic": []}, {"bearer": []}]
OPEN = ("/healthz", "/readyz")


async def document(settings: ServerSettings) -> dict[str, Any]:
    """Return the description of what *settings* serve."""
    async with running(settings) as site, site.client.get("/openapi.json", headers=ADMIN) as response:
        return await response.json()


async def test_routes_name_their_logins() -> None:
    """Basic or bearer on all routes but the probes, as schemes that tools understand."""
    described = await document(ServerSettings(logins=LOGINS))
    schemes = described["components"]["securitySchemes"]
    assert {name: (scheme["type"], scheme["scheme"]) for name, scheme in schemes.items()} == {
        "basic": ("http", "basic"),
        "bearer": ("http", "bearer"),
    }
    for path, operations in described["paths"].items():
        for operation in operations.values():
            expected = None if path in OPEN else EITHER
            assert path.startswith("/hooks/") or operation.get("security") == expected, path


async def test_only_configured_logins_are_named() -> None:
    """A server without tokens names no bearer scheme; an open server names none."""
    described = await document(ServerSettings(logins=LOGINS[:1]))
    assert described["paths"]["/api/v1/rules"]["get"]["security"] == [{"basic": []}]
    described = await document(ServerSettings())
    assert "security" not in described["paths"]["/api/v1/rules"]["get"]


async def test_a_run_names_all_triggers() -> None:
    """Clients that count runs by trigger know all values."""
    described = await document(ServerSettings())
    run = described["components"]["schemas"]["RunView"]["properties"]
    assert run["trigger"] == {"$ref": "#/components/schemas/Trigger"}
    assert described["components"]["schemas"]["Trigger"]["enum"] == ["request", "schedule", "event"]


async def test_hooks_name_the_proofs_of_their_sources() -> None:
    """An empty requirement means a proof that is no HTTP login; the fork's webhook has its own login."""
    hooks = {
        "harbor": HookSource("harbor", "harbor.test", (Basic("u", "p"),)),
        "quay": HookSource("quay", "quay.io", (UrlSecret("s" * 32),)),
    }
    described = await document(ServerSettings(hooks=hooks, fork=ForkHook(Basic("user", "pass"))))
    assert described["paths"]["/hooks/{source}"]["post"]["security"] == [{"basic": []}, {}]
    assert described["paths"]["/images/sync/hook"]["get"]["security"] == [{"basic": []}]


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("get", "/api/v1/rules", {"200", "400", "401", "503"}),
        ("get", "/api/v1/images", {"200", "400", "401", "422", "503"}),
        ("get", "/api/v1/jobs/{job}", {"200", "400", "401", "404", "422", "503"}),
        ("post", "/api/v1/rules/{name}/run", {"202", "400", "401", "403", "404", "409", "422", "503"}),
        ("post", "/api/v1/jobs/{job}/retry", {"200", "400", "401", "403", "404", "409", "422", "503"}),
        ("post", "/hooks/{source}", {"200", "202", "400", "401", "403", "404", "408", "413", "415", "422", "503"}),
        ("get", "/images/sync/hook", {"200", "400", "401", "403", "406", "503"}),
        ("get", "/readyz", {"200", "503"}),
        ("get", "/metrics", {"200", "401"}),
    ],
)
async def test_each_route_names_its_error_responses(method: str, path: str, statuses: set[str]) -> None:
    """With their body."""
    described = await document(ServerSettings(logins=LOGINS, fork=ForkHook(None)))
    responses = described["paths"][path][method]["responses"]
    assert set(responses) == statuses
    for status, response in responses.items():
        if status >= "400" and path != "/readyz":
            assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
