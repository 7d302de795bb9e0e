"""Keys, types and bounds of rules in the native file, and of their defaults. `native_rules` interprets the values."""

from typing import Annotated, Any, Final, Literal, cast

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from image_syncer.config.native.native_images_model import ImagesFromSection
from image_syncer.config.native.native_trust_model import Attest, Trust
from image_syncer.config.native.native_values import Duration, LongDuration, Section, Several, Text, Truth, as_list
from image_syncer.roles.ways import Way

_DIGITS: Final = 5  # A longer number is no count of components.
Trigger = Literal["event"]
Texts = Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(min_length=1, max_length=100)]
_RECHECK: Final = "Skip the check of a target that was up to date within this time; 0s: always check."


WAYS: Final = (
    "How images may reach the targets: mount, import and hydrate need no byte through this machine; stream, which must "
    "be one of them, is what the others fall back to."
)


def _require_stream(ways: tuple[Way, ...]) -> tuple[Way, ...]:
    if Way.STREAM not in ways:
        raise PydanticCustomError("stream_missing", "stream is missing: the other ways fall back to it")
    return ways


Ways = Annotated[
    tuple[Way, ...],
    BeforeValidator(as_list, json_schema_input_type=Way | list[Way]),
    AfterValidator(_require_stream),
]


class LatestSection(Section):
    """The last tags, after all other keys. A number alone is `keep`."""

    keep: Annotated[int, Field(ge=1, le=100_000)] = Field(description="How many.")
    by: Literal["semver", "date", "name"] = Field(
        default="semver", description="What is last: the highest version, the newest image, or the last name."
    )
    per: Literal["major", "minor", "none"] = Field(
        default="none", description="Keep that many versions of each major or minor version."
    )
    groups: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="Only of this many of the newest major or minor versions; default: of all."
    )


def _keep(value: Any) -> Any:
    return {"keep": value} if isinstance(value, str | int) and not isinstance(value, bool) else value


Latest = Annotated[LatestSection, BeforeValidator(_keep, json_schema_input_type=int | LatestSection)]

Suffixes = Annotated[
    tuple[Annotated[str, Field(max_length=256)], ...],
    BeforeValidator(as_list, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]


class TagsSection(Section):
    """Selection of tags: names, globs such as `1.2*`, and regular expressions such as `/^v[0-9]+$/`.

    The keys apply in this order.
    """

    include: Several | None = Field(default=None, description="Select tags that match any of these; default: all tags.")
    semver: Text | None = Field(
        default=None, description="Select versions in this range, such as >=1.25 <2 || 3.x; v before them is allowed."
    )
    suffix: Suffixes | None = Field(
        default=None, description="Select versions with these suffixes, such as -alpine or -alpine*; default: none."
    )
    prereleases: Truth | None = Field(
        default=None, description="Select prereleases too, such as 1.26.0-rc.1; default: false."
    )
    exclude: Several | None = Field(default=None, description="Leave out tags that match any of these.")
    min_age: Duration | None = Field(
        default=None, description="Select a tag once it has been public for so long with the same digest: 7d."
    )
    newer_than: LongDuration | None = Field(default=None, description="Select images created within this time: 90d.")
    min_tags: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Fail the rule if fewer tags are left here, before latest."
    )
    latest: Latest | None = Field(default=None, description="Select only the last ones of these: a number, or a map.")


def _tags(value: Any) -> Any:
    return {"include": cast("object", value)} if isinstance(value, str | list) else value


Tags = Annotated[TagsSection, BeforeValidator(_tags, json_schema_input_type=str | list[str] | TagsSection)]


class ReferrersSection(Section):
    """What is attached to images: signatures, SBOMs and attestations. `true` or `false` switches it on or off."""

    enabled: Truth | None = Field(default=None, description="Copy what is attached to images; default: true.")
    types: Several | None = Field(
        default=None, description="Only these artifact types (globs) or kinds, such as signature or sbom; default: all."
    )
    exclude: Several | None = Field(default=None, description="Leave out these artifact types (globs) or kinds.")
    legacy_tags: Truth | None = Field(
        default=None, description="Also copy cosign's tags sha256-<hex>.sig, .att and .sbom; default: true."
    )
    recheck: Duration | None = Field(
        default=None, description="Look at unchanged images again after this time; 0s: in each run; default: 24h."
    )
    required: Truth | None = Field(
        default=None, description="Fail an image if something attached to it cannot be copied; default: false."
    )
    from_: Text | None = Field(
        default=None,
        alias="from",
        description="Repository that holds them, if not the image's: registry/path with {registry}, {repository}.",
    )
    to: Text | None = Field(
        default=None, description="Repository that receives them, if it is not the target's; as from."
    )


def _switch(value: Any) -> Any:
    return {"enabled": value} if isinstance(value, bool) else value


Referrers = Annotated[ReferrersSection, BeforeValidator(_switch, json_schema_input_type=bool | ReferrersSection)]


def _count(value: Any) -> Any:
    is_number = isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < _DIGITS
    return int(value) if is_number else value


Strip = Annotated[Annotated[int, Field(ge=1, le=100)] | Text, BeforeValidator(_count, json_schema_input_type=int | str)]


def _require_source(value: ImagesFromSection | None, info: ValidationInfo) -> ImagesFromSection | None:
    if value is None and info.data.get("source", "not valid") is None:
        raise PydanticCustomError("source_missing", "source is missing")
    return value


class RuleSection(Section):
    """A rule: a source, its targets, and its triggers."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["source"]}, {"required": ["images_from"]}]})

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/@:-]*$")] = Field(
        description="Unique name of the rule, for reports and --rule."
    )
    source: Text | None = Field(
        default=None,
        description="registry/repository. A pattern has * (within a path component) or ** (any components).",
    )
    targets: Several = Field(description="registry/repository[:tag] with placeholders such as {repository} and {tag}.")
    tags: Tags | None = Field(default=None, description="Selection of tags; default: all.")
    platforms: Several | None = Field(
        default=None, description="Copy only these: os/arch[/variant][:version], such as linux/arm64."
    )
    every: Duration | None = Field(default=None, description="Run the rule at this interval: 10m, 1h30m, 7d.")
    cron: Text | None = Field(default=None, description="Run the rule at these times: minute hour day month weekday.")
    timezone: Text | None = Field(default=None, description="Time zone of cron, such as Europe/Berlin; default: UTC.")
    jitter: Duration | None = Field(default=None, description="Start with a random delay of up to this long.")
    on: Annotated[
        tuple[Trigger, ...],
        BeforeValidator(as_list, json_schema_input_type=Trigger | list[Trigger]),
    ] = Field(default=(), description="event: run for each push that a hook or a queue announces.")
    recheck_targets: Duration | None = Field(default=None, description=_RECHECK)
    other_digests: Literal["rename", "refuse"] = Field(
        default="rename",
        description="If a target cannot store a tag under its sha512 or sha384 digest: rename to sha256, or refuse.",
    )
    nondistributable_layers: bool = Field(
        default=False, description="Also copy layers that have urls, which registries need not hold (Windows)."
    )
    referrers: Referrers | None = Field(
        default=None, description="Copy signatures, SBOMs and attestations along; default: true."
    )
    ways: Ways | None = Field(default=None, description=f"{WAYS} Default: all.")
    trust: Trust | None = Field(default=None, description="Check images before their tags move; default: no check.")
    attest: Attest | None = Field(default=None, description="Attach a signed statement to each copy; default: none.")
    repositories: Several | None = Field(
        default=None, description="Of a pattern's repositories, only these: paths, globs and /regular expressions/."
    )
    exclude: Several | None = Field(
        default=None, description="Leave out these repositories of the pattern: paths, globs and /regular expressions/."
    )
    list_: Truth | None = Field(
        default=None,
        alias="list",
        description="Runs find the pattern's repositories in the registry's catalogue; default: not with on: alone.",
    )
    max_repositories: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Fail the rule if the pattern finds more repositories; default: 10000."
    )
    artifacts: Several | None = Field(
        default=None,
        description="Copy only these types: image, helm, wasm, model, or media types with * in them; default: all.",
    )
    annotations: Texts | None = Field(
        default=None, description="Copy only images with these annotations; values are globs or /regular expressions/."
    )
    labels: Texts | None = Field(default=None, description="Copy only images with these labels; as annotations.")
    entries: Texts | None = Field(
        default=None, description="Copy only the entries of an index that have these annotations; as annotations."
    )
    index: Literal["trimmed", "sparse", "auto"] = Field(
        default="trimmed",
        description="Of an index of which a part is selected: remove the other entries (a new digest), keep them "
        "without their manifests, or what the target takes.",
    )
    convert: Literal["oci"] | None = Field(
        default=None, description="oci: convert Docker's media types, which changes digests; default: no conversion."
    )
    strip: Strip | None = Field(
        default=None, description="Remove this beginning of the source's path, or so many components of it."
    )
    rename: dict[Text, Annotated[str, Field(max_length=4096)]] | None = Field(
        default=None,
        description="Regular expressions on the path, and what replaces their match; \\1 is the first group.",
    )
    flatten: bool | Literal["-", "_", ".", "__"] | None = Field(
        default=None, description="Join the components of the path with this; true: with -."
    )
    prefix: Text | None = Field(default=None, description="Put these components in front of the path.")
    rename_tags: dict[Text, Annotated[str, Field(max_length=4096)]] | None = Field(
        default=None, description="Regular expressions on the tag, and what replaces their match, as rename."
    )
    images_from: Annotated[ImagesFromSection | None, AfterValidator(_require_source)] = Field(
        default=None,
        validate_default=True,
        description="In place of source: a chart, Compose files, manifests, lists or a cluster name images.",
    )


class DefaultsSection(Section):
    """Defaults for rules."""

    recheck_targets: Duration | None = Field(default=None, description=_RECHECK)
    referrers: Referrers | None = Field(
        default=None, description="As in rules; a rule with keys of its own keeps the others of these."
    )
    ways: Ways | None = Field(default=None, description="As in rules; a rule with its own replaces it.")
    trust: Trust | None = Field(default=None, description="As in rules; a rule with its own replaces it.")
    attest: Attest | None = Field(default=None, description="As in rules; a rule with its own replaces it.")
