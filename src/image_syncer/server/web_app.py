"""The application: every route, with its guard, from settings and a backend."""

from collections.abc import Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from image_syncer import __version__
from image_syncer.server.api import Api
from image_syncer.server.authentication import Authentication, ForkRefusal
from image_syncer.server.backend import Backend
from image_syncer.server.errors import add_failures
from image_syncer.server.hooks import HookRoutes
from image_syncer.server.legacy_routes import ForkRoutes
from image_syncer.server.metrics import Metrics
from image_syncer.server.middleware import RequestMiddleware
from image_syncer.server.pages import Pages
from image_syncer.server.probes import Probes
from image_syncer.server.reception import Reception
from image_syncer.server.server_settings import ServerSettings


def create_app(settings: ServerSettings, backend: Backend, *, metrics: Metrics, clock: Callable[[], float]) -> FastAPI:
    """Return the application that *settings* describe; *clock* gives seconds since the epoch.

    It holds no state but what is being read: another one may take its place between two requests. Whether it may be
    served at an address is for `check_exposure` to say.
    """
    application = FastAPI(
        title="image-syncer",
        version=__version__,
        summary="Keeps container images in step between registries",
        servers=[{"url": settings.base_path}] if settings.base_path else None,
        openapi_url=None,  # Our own route gives it, behind the login.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    guard = Authentication(settings)
    patience = settings.patience_seconds
    reception = Reception(backend.inbox, metrics, patience_seconds=patience)
    if settings.fork is not None:
        application.include_router(ForkRoutes(settings, reception, backend.rules).router(guard))
    application.include_router(HookRoutes(settings, reception, keys=backend.keys, clock=clock).router(guard))
    application.include_router(Api(backend, patience_seconds=patience).router(guard))
    application.include_router(Probes(backend, metrics, clock=clock).router(guard))
    pages = Pages(backend, clock=clock, patience_seconds=patience, base_path=settings.base_path)
    application.include_router(pages.router(guard))
    add_failures(application)
    application.add_exception_handler(ForkRefusal, _refuse_as_fork)
    application.add_middleware(RequestMiddleware, metrics=metrics, base_path=settings.base_path)
    return application


async def _refuse_as_fork(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse(ForkRefusal.text, 401)
