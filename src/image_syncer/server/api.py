"""`/api/v1`: what is wanted, what was done, what is being done, and the few things that one may ask for."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Path, Query

from image_syncer.server.authentication import Authentication
from image_syncer.server.backend import (
    Backend,
    ImageView,
    JobFilter,
    JobStatus,
    JobView,
    Page,
    RegistryView,
    RuleView,
    RunView,
    Slice,
)
from image_syncer.server.errors import in_time, refusals
from image_syncer.state import Event, EventFilter, EventStatus, ImageFilter
from image_syncer.sync.result import Outcome

T = TypeVar("T")

_LARGEST_ID = 2**63 - 1
Id = Annotated[int, Path(ge=1, le=_LARGEST_ID)]
Text = Annotated[str | None, Query(max_length=512)]


async def _part(
    before: Annotated[int | None, Query(ge=1, le=_LARGEST_ID, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="entries of one page")] = 50,
) -> Slice:
    return Slice(before, limit)


Part = Annotated[Slice, Depends(_part)]


@dataclass(frozen=True, slots=True)
class Started:
    """The job that runs a rule; null where one waited for it already."""

    job: int | None


class Api:
    """The routes of the API over *backend*; every answer of it is waited for *patience_seconds* at most."""

    def __init__(self, backend: Backend, *, patience_seconds: float) -> None:
        self._backend = backend
        self._patience = patience_seconds

    def router(self, guard: Authentication) -> APIRouter:
        """Return the routes; those with effects take requests of our own pages and of programs alone."""
        router = APIRouter(prefix="/api/v1", dependencies=guard.access, responses=refusals(401, 503))
        acting = APIRouter(
            prefix="/api/v1",
            dependencies=[*guard.access, Depends(guard.require_same_origin)],
            responses=refusals(401, 403, 404, 422, 503),
        )
        one, many = refusals(404, 422), refusals(422)
        router.add_api_route("/rules", self.rules, tags=["rules"])
        acting.add_api_route("/rules/{name:path}/run", self.run_rule, methods=["POST"], status_code=202, tags=["rules"])
        router.add_api_route("/registries", self.registries, tags=["rules"])
        router.add_api_route("/runs", self.runs, tags=["runs"], responses=many)
        router.add_api_route("/runs/{run}", self.run, tags=["runs"], responses=one)
        router.add_api_route("/runs/{run}/images", self.images_of_run, tags=["runs"], responses=one)
        router.add_api_route("/images", self.images, tags=["runs"], responses=many)
        router.add_api_route("/jobs", self.jobs, tags=["jobs"], responses=many)
        router.add_api_route("/jobs/{job}", self.job, tags=["jobs"], responses=one)
        for name, act in (("retry", self.retry), ("cancel", self.cancel)):
            acting.add_api_route(f"/jobs/{{job}}/{name}", act, methods=["POST"], tags=["jobs"], responses=refusals(409))
        router.add_api_route("/events", self.events, tags=["events"], responses=many)
        router.add_api_route("/events/{event}", self.event, tags=["events"], responses=one)
        routes = APIRouter()
        for part in (
            router,
            acting,
        ):  # Side by side: a route inside of another router would be counted without its prefix.
            routes.include_router(part)
        return routes

    async def rules(self) -> list[RuleView]:
        """List the rules that hold now, in the order of the configuration."""
        return list(await self._ask(self._backend.rules.list()))

    async def run_rule(self, name: Annotated[str, Path(max_length=512)]) -> Started:
        """Run a rule now, beside its schedule."""
        return Started(await self._ask(self._backend.rules.run(name)))

    async def registries(self) -> list[RegistryView]:
        """List the registries that the configuration names, and how they are reached. No login is shown."""
        return list(await self._ask(self._backend.rules.registries()))

    async def runs(self, part: Part, rule: Text = None) -> Page[RunView]:
        """List runs, newest first."""
        return await self._ask(self._backend.runs.list(rule, part))

    async def run(self, run: Id) -> RunView:
        """Show one run."""
        return await self._ask(self._backend.runs.show(run))

    async def images_of_run(self, run: Id, part: Part, outcome: Outcome | None = None) -> Page[ImageView]:
        """List what became of each image of a run."""
        return await self._ask(self._backend.runs.images(run, outcome, part))

    async def images(
        self, part: Part, rule: Text = None, outcome: Outcome | None = None, repository: Text = None
    ) -> Page[ImageView]:
        """List all images with the last result of each, what was done last first.

        An image is a source and a target of a rule; `repository` is that of either.
        """
        return await self._ask(self._backend.runs.latest(ImageFilter(rule, outcome, repository), part))

    async def jobs(
        self, part: Part, status: JobStatus | None = None, kind: Text = None, rule: Text = None, target: Text = None
    ) -> Page[JobView]:
        """List jobs, newest first. Those that failed for good have the status `failed` and can be retried."""
        wanted = JobFilter(status, kind, rule, target)
        return await self._ask(self._backend.jobs.list(wanted, part))

    async def job(self, job: Id) -> JobView:
        """Show one job, with the error of its last attempt and the time of its next."""
        return await self._ask(self._backend.jobs.show(job))

    async def retry(self, job: Id) -> JobView:
        """Let a job that is over run again; 409 where it is not over."""
        return await self._ask(self._backend.jobs.retry(job))

    async def cancel(self, job: Id) -> JobView:
        """Withdraw a job that waits, stop one that runs; 409 where it is over."""
        return await self._ask(self._backend.jobs.cancel(job))

    async def events(
        self, part: Part, status: EventStatus | None = None, source: Text = None, repository: Text = None
    ) -> Page[Event]:
        """List events, newest first."""
        wanted = EventFilter(status, source, repository)
        return await self._ask(self._backend.events.list(wanted, part))

    async def event(self, event: Id) -> Event:
        """Show one event and the copies that it led to."""
        return await self._ask(self._backend.events.show(event))

    async def _ask(self, answer: Awaitable[T]) -> T:
        return await in_time(self._patience, answer)
