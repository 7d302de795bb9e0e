"""Pages for people: the dashboard and the description of the API. They load nothing from other hosts."""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, cast

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.routing import BaseRoute

from image_syncer.server.authentication import Authentication
from image_syncer.server.dashboard import read_overview
from image_syncer.server.errors import in_time
from image_syncer.server.web_backend import Backend, BackendUnavailable

_REFRESH_SECONDS: Final = 15.0
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP: Final = 1024
_SHORT: Final = 10
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400
_PAGE: Final = re.compile(r"^Page_(\w+)_$")
_BASE_PATHS: Final = 8
"""Base paths whose compiled templates stay in memory; a process has one, its tests have a few."""
_DASH: Final = "\N{EN DASH}"


class Pages:
    """The pages over *backend*. *clock* gives seconds since the epoch."""

    def __init__(
        self, backend: Backend, *, clock: Callable[[], float], patience_seconds: float, base_path: str
    ) -> None:
        self._backend = backend
        self._patience = patience_seconds
        self._clock = clock
        self._environment = _environment(base_path)
        self._policy = _policy(base_path)

    def routes(self, authentication: Authentication) -> list[BaseRoute]:
        """Return the routes, for authenticated callers only."""
        router = APIRouter(include_in_schema=False, dependencies=authentication.access)
        router.add_api_route("/", self.dashboard, response_class=HTMLResponse)
        router.add_api_route("/docs", self.docs, response_class=HTMLResponse)
        router.add_api_route("/openapi.json", self.openapi, response_class=JSONResponse)
        return router.routes

    async def dashboard(self) -> Response:
        """Show rules, runs, jobs and events; 503 with the reason if the databases do not answer."""
        try:
            overview = await in_time(self._patience, read_overview(self._backend))
        except BackendUnavailable as error:
            return self._page("unavailable.html", 503, reason=error.message)
        return self._page("dashboard.html", 200, overview=overview, now=self._now())

    async def docs(self, request: Request) -> Response:
        """Describe every route, from the same source as `/openapi.json`."""
        return self._page("docs.html", 200, document=_document(request))

    async def openapi(self, request: Request) -> Response:
        """Return the OpenAPI description."""
        return JSONResponse(_document(request))

    def _page(self, template: str, status: int, **values: Any) -> Response:
        text = self._environment.get_template(template).render(**values)
        return HTMLResponse(text, status, headers={"content-security-policy": self._policy})

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def size(count: int) -> str:
    """Return *count* bytes in a readable unit."""
    value = float(count)
    for unit in _UNITS[:-1]:
        if value < _STEP:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _STEP
    return f"{value:.1f} {_UNITS[-1]}"


def moment(instant: datetime | None, now: datetime) -> str:
    """Return the time from *now* to *instant* in words; a dash for None."""
    if instant is None:
        return _DASH
    seconds = (instant - now).total_seconds()
    amount = _amount(abs(seconds))
    if amount == "0 s":
        return "now"
    return f"in {amount}" if seconds > 0 else f"{amount} ago"


def lasted(started: datetime, finished: datetime | None) -> str:
    """Return the duration of something; a dash while it runs."""
    if finished is None:
        return _DASH
    seconds = (finished - started).total_seconds()
    return f"{seconds:.1f} s" if seconds < _SHORT else _amount(seconds)


def shape(schema: Mapping[str, Any]) -> str:
    """Return a JSON schema in a few words."""
    if "$ref" in schema:
        return _PAGE.sub(r"page of \1", str(schema["$ref"]).rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(shape(inner) for inner in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {shape(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type", "any"))


def prose(text: str) -> Markup:
    """Return *text* as HTML, the parts between backticks as code."""
    parts = (
        Markup("<code>{}</code>").format(part) if odd % 2 else escape(part) for odd, part in enumerate(text.split("`"))
    )
    return Markup("").join(parts)


def _amount(seconds: float) -> str:
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


@lru_cache(maxsize=_BASE_PATHS)
def _environment(base_path: str) -> Environment:
    """Return the templates for *base_path*, compiled once for all applications of this process. Nothing changes it."""
    environment = Environment(
        loader=PackageLoader("image_syncer.server", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    cast("dict[str, Any]", environment.filters).update(
        size=size, moment=moment, lasted=lasted, shape=shape, prose=prose
    )
    cast("dict[str, Any]", environment.globals).update(base=base_path, refresh_seconds=_REFRESH_SECONDS)
    return environment


@lru_cache(maxsize=_BASE_PATHS)
def _policy(base_path: str) -> str:
    """Return the Content-Security-Policy that allows only this page's style sheet and script (CSP level 3)."""
    environment = _environment(base_path)
    style, script = (environment.get_template(name).render() for name in ("style.css", "refresh.js"))
    applied = f"style-src {_fingerprint(style)}; script-src {_fingerprint(script)}; connect-src 'self'"
    return f"default-src 'none'; {applied}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def _fingerprint(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _document(request: Request) -> dict[str, Any]:
    application: FastAPI = request.app
    return application.openapi()
