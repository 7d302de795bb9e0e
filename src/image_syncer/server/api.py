"""`/api/v1`: rules, registries, runs, images, jobs and events, and the actions on rules and jobs."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from starlette.routing import BaseRoute

from image_syncer.jobs import JobFilter, JobRecord, JobStatus, Replay, target_lock
from image_syncer.server.authentication import Authentication
from image_syncer.server.errors import in_time, refusals
from image_syncer.server.resources import (
    ImageView,
    JobView,
    Page,
    RegistryView,
    RuleView,
    RunView,
    job_views,
    registry_views,
    rule_views,
    run_views,
)
from image_syncer.server.web_backend import Backend, Conflict, Missing
from image_syncer.state import Event, EventFilter, EventStatus, ImageFilter, RunRecord, Trigger
from image_syncer.sync.pattern import SourcePattern
from image_syncer.sync.repository_expander import NEEDS_EVENT
from image_syncer.sync.result import Outcome

T = TypeVar("T")

_LARGEST_ID: Final = 2**63 - 1
Id = Annotated[int, Path(ge=1, le=_LARGEST_ID)]
Text = Annotated[str | None, Query(max_length=512)]


@dataclass(frozen=True, slots=True)
class Slice:
    """The part of a list that a request asks for: at most *limit* entries, older than the id *before*."""

    before: int | None
    limit: int

    def page(self, items: Sequence[T], ids: Sequence[int]) -> Page[T]:
        """Return *items*, whose identifiers are *ids*, as a page: a full one leads on to the next."""
        return Page(items=items, next=ids[-1] if len(ids) == self.limit else None)


async def _refuse_nul(request: Request) -> None:
    """Refuse a parameter that holds a NUL character, which no stored text does and PostgreSQL does not take."""
    if any("\0" in value for value in (*request.query_params.values(), *map(str, request.path_params.values()))):
        raise HTTPException(400, "a parameter must not contain a NUL character")


async def _slice(
    before: Annotated[int | None, Query(ge=1, le=_LARGEST_ID, description="`next` of the previous page")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="entries per page")] = 50,
) -> Slice:
    return Slice(before, limit)


Part = Annotated[Slice, Depends(_slice)]


@dataclass(frozen=True, slots=True)
class Started:
    """The job that runs a rule; null if the request joined a job that was waiting already."""

    job: int | None


class Api:
    """The routes of the API over *backend*; each call of it has *patience_seconds* to answer."""

    def __init__(self, backend: Backend, *, patience_seconds: float) -> None:
        self._backend = backend
        self._runs = backend.state.runs
        self._jobs = backend.jobs
        self._patience = patience_seconds

    def routes(self, authentication: Authentication) -> list[BaseRoute]:
        """Return the routes. Actions are refused to pages of other sites."""
        access = [*authentication.access, Depends(_refuse_nul)]
        reading = APIRouter(prefix="/api/v1", dependencies=access, responses=refusals(400, 401, 503))
        acting = APIRouter(
            prefix="/api/v1",
            dependencies=[*access, Depends(authentication.require_same_origin)],
            responses=refusals(400, 401, 403, 404, 422, 503),
        )
        one, many = refusals(404, 422), refusals(422)
        reading.add_api_route("/rules", self.rules, tags=["rules"])
        acting.add_api_route(
            "/rules/{name:path}/run",
            self.run_rule,
            methods=["POST"],
            status_code=202,
            tags=["rules"],
            responses=refusals(409),
        )
        reading.add_api_route("/registries", self.registries, tags=["rules"])
        reading.add_api_route("/runs", self.runs, tags=["runs"], responses=many)
        reading.add_api_route("/runs/{run}", self.run, tags=["runs"], responses=one)
        reading.add_api_route("/runs/{run}/images", self.images_of_run, tags=["runs"], responses=one)
        reading.add_api_route("/images", self.images, tags=["runs"], responses=many)
        reading.add_api_route("/jobs", self.jobs, tags=["jobs"], responses=many)
        reading.add_api_route("/jobs/{job}", self.job, tags=["jobs"], responses=one)
        for name, act in (("retry", self.retry), ("cancel", self.cancel)):
            acting.add_api_route(f"/jobs/{{job}}/{name}", act, methods=["POST"], tags=["jobs"], responses=refusals(409))
        reading.add_api_route("/events", self.events, tags=["events"], responses=many)
        reading.add_api_route("/events/{event}", self.event, tags=["events"], responses=one)
        return [*reading.routes, *acting.routes]

    async def rules(self) -> list[RuleView]:
        """List the rules in force, in the order of the configuration."""
        return rule_views(self._backend.config, await self._ask(self._backend.state.schedules.list()))

    async def run_rule(self, name: Annotated[str, Path(max_length=512)]) -> Started:
        """Run a rule now, in addition to its schedule. 409 for a rule that only events can trigger."""
        rule = next((rule for rule in self._backend.config.rules if rule.name == name), None)
        if rule is None:
            raise Missing(f"there is no rule {name!r}")
        if isinstance(rule.source, SourcePattern) and not rule.lists:
            raise Conflict(f"{name!r} {NEEDS_EVENT}")
        return Started(await self._ask(self._jobs.request_rule(name, trigger=Trigger.REQUEST)))

    async def registries(self) -> list[RegistryView]:
        """List the registries of the configuration and their limits. Credentials are not shown."""
        return registry_views(self._backend.config, self._backend.health.outages)

    async def runs(self, part: Part, rule: Text = None) -> Page[RunView]:
        """List runs, newest first."""
        found = await self._ask(self._runs.page(rule=rule, before=part.before, limit=part.limit))
        return part.page(run_views(found), [run.id for run in found])

    async def run(self, run: Id) -> RunView:
        """Show one run."""
        return RunView.model_validate(await self._run(run))

    async def images_of_run(self, run: Id, part: Part, outcome: Outcome | None = None) -> Page[ImageView]:
        """List the results of a run, one for each image and target, in their order."""
        await self._run(run)
        wanted = self._runs.results(run, outcome=outcome, after=part.before or 0, limit=part.limit)
        found, end = await self._ask(wanted)
        shown = [ImageView.of(number, result) for number, result in enumerate(found, start=1)]
        return Page(items=shown, next=end if len(found) == part.limit else None)

    async def images(
        self, part: Part, rule: Text = None, outcome: Outcome | None = None, repository: Text = None
    ) -> Page[ImageView]:
        """List all images with their last results, the most recent first.

        An image is a source and a target of a rule; `repository` matches either of them.
        """
        wanted = ImageFilter(rule, outcome, repository)
        found = await self._ask(self._runs.images(wanted, before=part.before, limit=part.limit))
        return part.page([ImageView.of(number, result) for number, result in found], [number for number, _ in found])

    async def jobs(
        self, part: Part, status: JobStatus | None = None, kind: Text = None, rule: Text = None, target: Text = None
    ) -> Page[JobView]:
        """List jobs, newest first. Jobs that failed for good have the status `failed`; you can retry them."""
        statuses = None if status is None else frozenset({status})
        lock = None if target is None else target_lock(target)
        found = await self._ask(self._jobs.list(JobFilter(statuses, kind, lock, rule, part.before, part.limit)))
        return part.page(job_views(found), [job.id for job in found])

    async def job(self, job: Id) -> JobView:
        """Show one job, with the error of its last attempt and the time of its next one."""
        return JobView.model_validate(await self._job(job))

    async def retry(self, job: Id) -> JobView:
        """Run a failed, superseded or cancelled job again, or a waiting one now; 409 for any other."""
        before = await self._job(job)
        if await self._ask(self._jobs.retry(job)) is Replay.REFUSED:
            raise Conflict(f"job {job} is {before.status.value}")
        return await self.job(job)

    async def cancel(self, job: Id) -> JobView:
        """Withdraw a waiting job or stop a running one; 409 for a job that has ended."""
        before = await self._job(job)
        if not await self._ask(self._jobs.abort(job)):
            raise Conflict(f"job {job} is {before.status.value}")
        return await self.job(job)

    async def events(
        self, part: Part, status: EventStatus | None = None, source: Text = None, repository: Text = None
    ) -> Page[Event]:
        """List events, newest first."""
        wanted = EventFilter(status, source, repository)
        found = await self._ask(self._backend.state.events.page(wanted, before=part.before, limit=part.limit))
        return part.page(found, [event.id for event in found])

    async def event(self, event: Id) -> Event:
        """Show one event and the copies that it caused."""
        found = await self._ask(self._backend.state.events.get(event))
        if found is None:
            raise Missing(f"there is no event {event}")
        return found

    async def _run(self, number: int) -> RunRecord:
        found = await self._ask(self._runs.get(number))
        if found is None:
            raise Missing(f"there is no run {number}")
        return found

    async def _job(self, number: int) -> JobRecord:
        found = await self._ask(self._jobs.show(number))
        if found is None:
            raise Missing(f"there is no job {number}")
        return found[0]

    async def _ask(self, answer: Awaitable[T]) -> T:
        return await in_time(self._patience, answer)
