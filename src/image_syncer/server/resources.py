"""The API's resources as JSON: rules, registries, runs, images and jobs, read from the values of state and queue.

Each model reads the fields of a record by name (`from_attributes`); an alias says where a field lies elsewhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, Generic, Self, TypeVar

from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field

from image_syncer.app import Options
from image_syncer.jobs import JobRecord, JobStatus
from image_syncer.oci import Digest
from image_syncer.oci.referrer import ReferrerKind
from image_syncer.server.registry_health import RegistryOutage
from image_syncer.server.web_backend import ConfigInForce
from image_syncer.state import RunRecord, ScheduleRecord, Trigger
from image_syncer.sync.image_lists import ImageList
from image_syncer.sync.pattern import TargetTemplate
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.sync.rule import Cron, Rule, RuleTarget, Schedule

T = TypeVar("T")

_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def _as_text(digest: Digest | None) -> str | None:
    return None if digest is None else str(digest)


DigestText = Annotated[str | None, BeforeValidator(_as_text)]
KindCounts = Annotated[dict[str, int], BeforeValidator(dict)]


class _Resource(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)


class Page(_Resource, Generic[T]):
    """A part of a list. *next* is the `before` of the following part, None at the end."""

    items: Sequence[T]
    next: int | None = None


class RuleView(_Resource):
    """A rule as the configuration writes it.

    *schedule*, *next_at* and *last_run_at* are None for a rule without a schedule.
    """

    name: str
    source: str
    targets: list[str]
    selection: str
    events: bool
    schedule: str | None = None
    next_at: datetime | None = None
    last_run_at: datetime | None = None

    @classmethod
    def of(cls, rule: Rule, planned: ScheduleRecord | None) -> Self:
        """Return *rule* with its times as *planned*."""
        return cls(
            name=rule.name,
            source=str(rule.source),
            targets=[str(target) for target in rule.targets],
            selection=str(rule.selection),
            events=rule.triggers.events,
            schedule=None if rule.triggers.schedule is None else schedule_text(rule.triggers.schedule),
            next_at=None if planned is None else planned.due_at,
            last_run_at=None if planned is None else planned.last_run_at,
        )


class RegistryView(_Resource):
    """A registry that the configuration names: whether rules read from it (*source*) and write to it (*target*).

    *logins* are the prefixes (the host, or namespaces of it) with a login. *requests* and *transfers* limit the
    small requests and the blobs that one process has in flight; *copies* limits the copies of the whole fleet (None:
    no limit). While the registry is down, *down_since* is the time and *error* the last failure.
    """

    host: str
    source: bool
    target: bool
    logins: list[str]
    insecure: bool
    requests: int
    transfers: int
    copies: int | None = None
    down_since: datetime | None = None
    error: str | None = None

    @classmethod
    def of(cls, host: str, config: ConfigInForce, outage: RegistryOutage | None = None) -> Self:
        """Return the registry at *host* as *config* describes it, with its *outage*."""
        options: Options = config.options
        accounts = [account for account in options.access if _is_at(account.prefix, host)]
        limits = options.limits.for_host(host)
        return cls(
            host=host,
            source=host in _sources(config.rules),
            target=host in _targets(config.rules),
            logins=sorted({one.prefix for one in accounts if one.credential or one.cloud or one.source}),
            insecure=any(account.insecure for account in accounts),
            requests=limits.requests_per_host,
            transfers=limits.transfers,
            copies=config.copy_limits.get(host),
            down_since=None if outage is None else outage.since,
            error=None if outage is None else outage.error,
        )


class RunView(_Resource):
    """One execution of rules. *finished_at* is None while it runs.

    *unannounced* counts the images to copy that no webhook event announced; None for a run that did not check.
    """

    id: int
    trigger: Trigger
    rules: list[str] = Field(validation_alias="rule_names")
    started_at: datetime
    finished_at: datetime | None
    copied: int = Field(0, validation_alias=AliasPath("counts", Outcome.COPIED.value))
    unchanged: int = Field(0, validation_alias=AliasPath("counts", Outcome.UNCHANGED.value))
    skipped: int = Field(0, validation_alias=AliasPath("counts", Outcome.SKIPPED.value))
    failed: int = Field(0, validation_alias=AliasPath("counts", Outcome.FAILED.value))
    bytes_copied: int = Field(0, validation_alias=AliasPath("transferred", "copied"))
    warnings: tuple[str, ...] = ()
    unannounced: int | None = None


class ReferrerProblemView(_Resource):
    """An attached manifest that did not reach the target, and the reason."""

    digest: DigestText
    kind: ReferrerKind
    reason: str


class ReferrersView(_Resource):
    """The manifests that are attached to an image at the source and at the target, by kind; *copied* are new there.

    *refused*: the target did not accept them. *not_carried*: they were not sent. Each has the first 20.
    """

    source: KindCounts
    target: KindCounts
    copied: int
    refused: tuple[ReferrerProblemView, ...]
    not_carried: tuple[ReferrerProblemView, ...]


class ImageView(_Resource):
    """The result of one copy within a run. *referrers* is None if they were not looked at."""

    id: int = 0
    rule: str
    source: str
    target: str
    outcome: Outcome
    source_digest: DigestText = None
    target_digest: DigestText = None
    reason: str | None = None
    remedy: str | None = None
    bytes_copied: int = Field(0, validation_alias=AliasPath("transferred", "copied"))
    seconds: float = 0.0
    attempts: int = 1
    referrers: ReferrersView | None = None

    @classmethod
    def of(cls, number: int, result: CopyResult) -> Self:
        """Return *result* with the identifier *number*."""
        return cls.model_validate(result).model_copy(update={"id": number})


class JobView(_Resource):
    """A durable unit of work, `rule` or `copy`.

    *next_at* is the time of its next attempt, *error* the error of its last one.
    """

    id: int
    kind: str
    status: JobStatus
    rule: str | None = Field(None, validation_alias=AliasPath("args", "rule"))
    source: str | None = Field(None, validation_alias=AliasPath("args", "source"))
    target: str | None = Field(None, validation_alias=AliasPath("args", "target"))
    attempts: int
    created_at: datetime
    next_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = Field(None, validation_alias="last_error")


def rule_views(config: ConfigInForce, planned: Iterable[ScheduleRecord]) -> list[RuleView]:
    """Return the rules in the order of the configuration."""
    times = {entry.rule: entry for entry in planned}
    return [RuleView.of(rule, times.get(rule.name)) for rule in config.rules]


def registry_views(config: ConfigInForce, outages: Mapping[str, RegistryOutage]) -> list[RegistryView]:
    """Return the registries of rules and logins and those that are down, sorted by host."""
    named = {account.prefix.partition("/")[0] for account in config.options.access}
    hosts = _sources(config.rules) | _targets(config.rules) | named | outages.keys()
    return [RegistryView.of(host, config, outages.get(host)) for host in sorted(hosts)]


def run_views(runs: Iterable[RunRecord]) -> list[RunView]:
    """Return the runs in their order."""
    return [RunView.model_validate(run) for run in runs]


def job_views(jobs: Iterable[JobRecord]) -> list[JobView]:
    """Return the jobs in their order."""
    return [JobView.model_validate(job) for job in jobs]


def schedule_text(schedule: Schedule) -> str:
    """Return a schedule as the configuration writes it, with its time zone."""
    if isinstance(schedule, Cron):
        return f"cron {schedule.expression} {schedule.timezone}"
    rest, parts = round(schedule.seconds), list[str]()
    for unit, seconds in _UNITS:
        amount, rest = divmod(rest, seconds)
        parts += [f"{amount}{unit}"] if amount else []
    return f"every {''.join(parts)}"


def _sources(rules: Iterable[Rule]) -> set[str]:
    return {rule.source.registry for rule in rules if not isinstance(rule.source, ImageList)}


def _targets(rules: Iterable[Rule]) -> set[str]:
    return {_registry(target) for rule in rules for target in rule.targets}


def _registry(target: RuleTarget | TargetTemplate) -> str:
    return target.registry if isinstance(target, TargetTemplate) else target.repository.registry


def _is_at(prefix: str, host: str) -> bool:
    return prefix == host or prefix.startswith(f"{host}/")
