"""The web application: all routes with their authentication, from settings and a backend."""

from collections.abc import Callable, Sequence

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from image_syncer import __version__
from image_syncer.server.api import Api
from image_syncer.server.authentication import Authentication, ForkRefusal
from image_syncer.server.errors import add_failures
from image_syncer.server.hooks import HookRoutes, NotificationRecorder
from image_syncer.server.legacy_routes import ForkRoutes
from image_syncer.server.metrics import Metrics
from image_syncer.server.middleware import RequestMiddleware
from image_syncer.server.pages import Pages
from image_syncer.server.probes import Probes
from image_syncer.server.server_settings import ServerSettings
from image_syncer.server.sns_hooks import SnsGate
from image_syncer.server.web_backend import Backend


def create_app(
    settings: ServerSettings,
    backend: Backend,
    *,
    metrics: Metrics,
    clock: Callable[[], float],
    hosts: Sequence[str] = (),
) -> FastAPI:
    """Return the application of *settings*; *clock* gives seconds since the epoch; *hosts* as in `allowed_hosts`.

    Its only state is the number of bodies being read, so another one may replace it between two requests. The caller
    runs `check_exposure` before serving it.
    """
    authentication = Authentication(settings)
    patience = settings.patience_seconds
    recorder = NotificationRecorder(backend.inbox, metrics, patience_seconds=patience)
    sns = SnsGate(backend.sns, patience_seconds=patience)
    hooks = HookRoutes(settings, recorder, keys=backend.keys, sns=sns, clock=clock)
    pages = Pages(backend, clock=clock, patience_seconds=patience, base_path=settings.base_path)
    fork = None if settings.fork is None else ForkRoutes(settings, recorder, backend.dispatch)
    # `include_router` would build each route again, which takes milliseconds for each.
    routes = [
        *(() if fork is None else fork.routes(authentication)),
        *hooks.routes(authentication),
        *Api(backend, patience_seconds=patience).routes(authentication),
        *Probes(backend, metrics, clock=clock).routes(authentication),
        *pages.routes(authentication),
    ]
    application = FastAPI(
        routes=routes,
        title="image-syncer",
        version=__version__,
        summary="Keeps container images in step between registries",
        servers=[{"url": settings.base_path}] if settings.base_path else None,
        openapi_url=None,  # A route of `Pages` serves it, behind the login.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    add_failures(application)
    application.add_exception_handler(ForkRefusal, _refuse_as_fork)
    application.add_middleware(RequestMiddleware, metrics=metrics, base_path=settings.base_path, hosts=hosts)
    return application


async def _refuse_as_fork(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse(ForkRefusal.text, 401)
