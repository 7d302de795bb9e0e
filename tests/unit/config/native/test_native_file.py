"""The meaning of the keys of the native file."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.config.duration import parse_duration
from image_syncer.config.load import load_file
from image_syncer.config.locations import StateSettings
from image_syncer.config.model import (
    BasicCredentials,
    Configuration,
    HeaderProof,
    HmacProof,
    Proof,
    TokenClaims,
    UrlSecretProof,
)
from image_syncer.config.native.native_server import is_loopback, parse_listen
from image_syncer.config.native.native_tags import parse_matcher
from image_syncer.errors import UsageError
from image_syncer.oci import PlatformFilter, Repository
from image_syncer.registry.settings import Credential, HostLimits, Timeouts
from image_syncer.sync.pattern import SourcePattern, TagGlob, TargetTemplate
from image_syncer.sync.rule import AllTags, Cron, Every, Rule, Selection, TagFilter, TagNames, TagPattern, Triggers

NOTHING: Mapping[str, str] = MappingProxyType({})
LONG_SECRET = "0123456789abcdef" * 2


def native(
    directory: Path,
    text: str,
    environment: Mapping[str, str] = NOTHING,
    *,
    name: str = "n.yaml",
    platforms: PlatformFilter | None = None,
) -> Configuration:
    """Return the configuration of a native file with *text* after its first line."""
    path = directory / name
    path.write_text(text if name.endswith(".json") else f"version: 1\n{text}")
    return load_file(path, platforms=platforms or PlatformFilter(), environment=environment)


def rule(directory: Path, more: str, *, source: str = "q.io/a", targets: str = "t.io/x") -> Rule:
    """Return the only rule of a file, with *more* in it."""
    text = f"rules:\n - name: one\n   source: {source}\n   targets: {targets}\n   {more}\n"
    return native(directory, text).rules[0]


def proof(directory: Path, kind: str, text: str) -> Proof | None:
    """Return the proof of the only hook of a file."""
    return native(directory, f"hooks:\n  one: {{kind: {kind}, registry: q.io, {text}}}").hooks[0].proof


def test_the_smallest_file_has_nothing_to_do(tmp_path: Path) -> None:
    """Absent sections are empty, and a warning says so."""
    loaded = native(tmp_path, "rules:\nhooks:\nserver:\nstate:\n")
    assert (loaded.accounts, loaded.rules, loaded.hooks, loaded.queues, loaded.schedules) == ((), (), (), (), ())
    assert (loaded.server, loaded.state, loaded.fork) == (None, StateSettings(), None)
    assert loaded.warnings == ("no rules: nothing will be copied",)


def test_registries_have_logins_and_flags(tmp_path: Path) -> None:
    """Keys are those of the auth file; only braces mark a variable, and a number keeps its text."""
    text = (
        "registries:\n  index.docker.io: {username: robot$x, password: '${P}'}\n"
        "  q.io/team/:\n    insecure: true\n    private_network: false\n    plain_http: true\n"
    )
    first, second = native(tmp_path, text + "  w.io: {username: 007, password: 1.20}\n  e.io:\n", {"P": "$x"}).accounts[
        :2
    ]
    assert (first.prefix, first.credential, first.insecure) == ("docker.io", Credential("robot$x", "$x"), False)
    assert (second.prefix, second.credential, second.insecure) == ("q.io/team", None, True)
    assert (first.private_network, second.private_network) == (None, False)
    assert (first.plain_http, second.plain_http) == (False, True)
    assert (first.origin, second.origin) == (f"{tmp_path}/n.yaml:3", f"{tmp_path}/n.yaml:4")
    assert native(tmp_path, text + "  w.io: {username: 007, password: 1.20}\n", {"P": "x"}).accounts[2].credential == (
        Credential("007", "1.20")
    )


def test_several_logins_are_used_in_their_order(tmp_path: Path) -> None:
    """Each has its line and the other properties of the registry."""
    text = (
        "registries:\n  docker.io:\n    insecure: true\n    logins:\n"
        "      - {username: ann, password: '${P}'}\n      - {username: bob, password: b}\n"
    )
    (access,) = native(tmp_path, text, {"P": "a"}).accounts
    found = [(one.credential, one.origin, one.insecure) for one in (access, *access.further)]
    assert found == [
        (Credential("ann", "a"), f"{tmp_path}/n.yaml:6", True),
        (Credential("bob", "b"), f"{tmp_path}/n.yaml:7", True),
    ]
    assert "password=" not in repr(access)


def test_a_cloud_issues_logins_for_its_own_or_given_credentials(tmp_path: Path) -> None:
    """With one access key, several, or none; the key of a Google service account needs no user name."""
    text = (
        "registries:\n  a.example: {auth: aws}\n  b.example: {auth: huawei, username: AK, password: SK}\n"
        "  c.example: {auth: gcp, password: '{}'}\n"
        "  d.example: {auth: azure, logins: [{username: x, password: p}, {username: y, password: p}]}\n"
    )
    accounts = native(tmp_path, text).accounts
    found = [(one.cloud, one.credential and one.credential.username, len(one.further)) for one in accounts]
    assert found == [("aws", None, 0), ("huawei", "AK", 0), ("gcp", "_json_key", 0), ("azure", "x", 1)]
    assert accounts[3].further[0].cloud == "azure"


def test_timeouts_come_from_the_file(tmp_path: Path) -> None:
    """Absent ones have their default."""
    text = "timeouts: {stall: 90s, image: 2h, patience: 0s}\n"
    assert native(tmp_path, text).timeouts == Timeouts(connect=30, stall=90, image=7200, patience=0)
    assert native(tmp_path, "rules:\n").timeouts == Timeouts()


def test_the_file_may_be_json(tmp_path: Path) -> None:
    """The suffix decides only about the syntax."""
    text = '{"version": 1, "rules": [{"name": "a", "source": "q.io/a", "targets": ["t.io/x"], "tags": [1.20]}]}'
    assert native(tmp_path, text, name="n.json").rules[0].selection == TagNames(("1.20",))


@pytest.mark.parametrize(
    ("tags", "selection"),
    [
        ("platforms: linux/amd64", AllTags()),
        ("tags: {}", AllTags()),
        ("tags: v1", TagNames(("v1",))),
        ("tags: [1.20, v1, v1]", TagNames(("1.20", "v1"))),
        ("tags: {include: [v1, v2], exclude: '*2'}", TagNames(("v1",))),
        ("tags: [v1, 'v2*']", TagFilter(("v1", TagGlob.parse("v2*")))),
        ("tags: '/^v[0-9]+$/'", TagFilter((TagPattern.parse("^v[0-9]+$"),))),
        ("tags: {exclude: ['*-rc?', nightly]}", TagFilter((), (TagGlob.parse("*-rc?"), "nightly"))),
    ],
)
def test_tags_are_names_globs_and_regular_expressions(tmp_path: Path, tags: str, selection: Selection) -> None:
    """A selection by names needs no listing."""
    assert rule(tmp_path, tags).selection == selection


@given(st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True))
def test_a_tag_is_never_a_pattern(tag: str) -> None:
    """Every valid tag is read as a name."""
    assert parse_matcher(tag) == tag


@pytest.mark.parametrize(
    ("more", "triggers"),
    [
        ("every: 10m", Triggers(Every(600.0))),
        ("{every: 1h30m, jitter: 90s}", Triggers(Every(5400.0, 90.0))),
        ("cron: '15  3 * * 1-5'", Triggers(Cron("15 3 * * 1-5"))),
        ("{cron: 0 4 * * *, timezone: Europe/Berlin, jitter: 1m}", Triggers(Cron("0 4 * * *", "Europe/Berlin", 60.0))),
        ("on: event", Triggers(events=True)),
        ("{on: [event], every: 7d}", Triggers(Every(604_800.0), events=True)),
        ("on: []", Triggers()),
    ],
)
def test_triggers_are_schedules_and_events(tmp_path: Path, more: str, triggers: Triggers) -> None:
    """A rule without a trigger runs only on request."""
    one = "source: q.io/a, targets: t.io/x, name: one"
    loaded = native(tmp_path, f"rules: [{{{one}, {more.strip('{}')}}}]")
    assert loaded.rules[0].triggers == triggers
    assert [entry.schedule for entry in loaded.schedules] == [triggers.schedule] * (triggers.schedule is not None)


def test_a_rule_has_all_its_properties(tmp_path: Path) -> None:
    """Equal targets count once; the rule has its platforms and its place."""
    found = rule(tmp_path, "platforms: [linux/amd64]", targets="['t.io/{repository}', t.io/x:new, 't.io/{repository}']")
    source = Repository.parse("q.io/a").tag("v1")
    assert [str(target.fill(source)) for target in found.targets if isinstance(target, TargetTemplate)] == [
        "t.io/a:v1",
        "t.io/x:new",
    ]
    assert found.platforms == PlatformFilter.parse(platforms=["linux/amd64"])
    assert (found.name, found.source, found.origin) == ("one", Repository("q.io", "a"), f"{tmp_path}/n.yaml:3")


def test_variables_work_in_targets(tmp_path: Path) -> None:
    """Only names in braces after a `$` are variables; placeholders have no `$`."""
    text = "rules: [{name: a, source: q.io/a, targets: '${HOST}/{repository}'}]"
    assert str(native(tmp_path, text, {"HOST": "t.io"}).rules[0].targets[0]) == "t.io/{repository}"


def test_platforms_of_the_command_line_replace_those_of_the_file(tmp_path: Path) -> None:
    """An option is more specific than a file."""
    wanted = PlatformFilter.parse(["windows"])
    text = "rules: [{name: a, source: q.io/a, targets: t.io/x, platforms: linux/arm64/v8}]"
    assert native(tmp_path, text, platforms=wanted).rules[0].platforms == wanted


def test_a_pattern_as_source_needs_events(tmp_path: Path) -> None:
    """A file without hooks and queues gets a warning."""
    loaded = native(tmp_path, "rules: [{name: a, source: q.io/t/**, targets: 't.io/{repository}', on: event}]")
    assert loaded.rules[0].source == SourcePattern.parse("q.io/t/**")
    assert loaded.rules[0].triggers == Triggers(events=True)
    assert "neither hooks: nor queues:" in loaded.warnings[0]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("github", "secret: '${S}x'", HmacProof("${S}x")),
        ("harbor", "header: {value: Bearer s}", HeaderProof("Authorization", "Bearer s")),
        ("jfrog", "header: {name: X-JFrog-Event-Auth, value: s}", HeaderProof("X-JFrog-Event-Auth", "s")),
        ("zot", "basic: {username: u, password: 5}", BasicCredentials("u", "5")),
        ("quay", f"url_secret: {LONG_SECRET}", UrlSecretProof(LONG_SECRET)),
        ("pubsub", "token: {audience: a, email: e@x}", TokenClaims("a", "e@x")),
        ("acr", "token: {audience: a, issuer: 'https://i/t/v2.0'}", TokenClaims("a", None, "https://i/t/v2.0")),
        (
            "pubsub",
            "token: {audience: a, email: e@x, issuer: 'http://localhost:1', keys: 'https://k/?a=b'}",
            TokenClaims("a", "e@x", "http://localhost:1", "https://k/?a=b"),
        ),
        ("harbor", "allow_open: true", None),
    ],
)
def test_each_hook_has_one_proof(tmp_path: Path, kind: str, text: str, expected: Proof | None) -> None:
    """Its secrets may have variables."""
    assert proof(tmp_path, kind, text.replace("${S}", "$${S}")) == expected


def test_variables_work_in_token_claims(tmp_path: Path) -> None:
    """A tenant or an account may differ between installations."""
    text = "token: {audience: '${A}', email: '${A}@x', issuer: 'https://i/${A}', keys: 'https://k/${A}'}"
    text = f"hooks: {{h: {{kind: acr, registry: q.io, {text}}}}}"
    found = native(tmp_path, text, {"A": "t"}).hooks[0].proof
    assert found == TokenClaims("t", "t@x", "https://i/t", "https://k/t")


def test_known_senders_need_no_registry(tmp_path: Path) -> None:
    """Docker Hub, GitHub and Quay have one registry each; the plain form names it."""
    kinds = ("dockerhub", "github", "quay", "plain")
    loaded = native(tmp_path, "hooks:\n" + "".join(f"  {kind}: {{kind: {kind}, allow_open: true}}\n" for kind in kinds))
    assert [hook.registry for hook in loaded.hooks] == ["docker.io", "ghcr.io", "quay.io", None]


def test_a_sender_may_need_a_prefix(tmp_path: Path) -> None:
    """JFrog and Nexus send the image's name without the repository around it."""
    text = "hooks: {{h: {{kind: jfrog, registry: q.io, secret: s{0}}}}}"
    assert native(tmp_path, text.format(", prefix: docker-local/")).hooks[0].prefix == "docker-local"
    assert native(tmp_path, text.format("")).hooks[0].prefix is None


def test_jfrog_may_have_a_prefix_for_each_repository(tmp_path: Path) -> None:
    """A map by repository key; an empty path means that the host names the repository."""
    prefix = "{docker-local: /virtual/, docker-dev: ''}"
    text = f"hooks: {{h: {{kind: KIND, registry: q.io, header: {{value: x}}, prefix: {prefix}}}}}"
    loaded = native(tmp_path, text.replace("KIND", "jfrog"))
    assert loaded.hooks[0].prefix == {"docker-local": "virtual", "docker-dev": ""}
    with pytest.raises(UsageError, match="nexus has one prefix"):
        native(tmp_path, text.replace("KIND", "nexus"))


def test_a_topic_of_sns_authenticates_by_its_signature(tmp_path: Path) -> None:
    """One ARN or several; anything else is refused with an example."""
    text = "hooks: {{h: {{kind: ecr, registry: q.io, topic: {0}}}}}"
    arn = "arn:aws:sns:eu-central-1:123456789012:pushes"
    hook = native(tmp_path, text.format(arn)).hooks[0]
    assert (hook.topics, hook.proof) == ((arn,), None)
    assert native(tmp_path, text.format(f"[{arn}, {arn}-2]")).hooks[0].topics == (arn, f"{arn}-2")
    china = "arn:aws-cn:sns:cn-north-1:123456789012:pushes.fifo"
    assert native(tmp_path, text.format(china)).hooks[0].topics == (china,)
    for other in ("pushes", "arn:aws:sqs:eu-central-1:123456789012:queue"):
        with pytest.raises(UsageError, match="not the ARN of a topic"):
            native(tmp_path, text.format(other))


@pytest.mark.parametrize(
    ("kind", "url"),
    [("sqs", "sqs://eu-central-1"), ("sqs", "sqs://eu-central-1?endpoint=http://h"), ("pubsub", "pubsub://p")],
)
def test_a_clouds_queue_is_named_by_region_or_project(tmp_path: Path, kind: str, url: str) -> None:
    """Its credentials are found as the cloud's own tools find them."""
    queue = native(tmp_path, f"queues: {{q: {{kind: {kind}, urls: '{url}', queue: pushes}}}}").queues[0]
    assert (queue.kind, queue.urls, queue.queue) == (kind, (url,), "pushes")


@pytest.mark.parametrize(
    ("kind", "url"), [("sqs", "https://sqs.aws"), ("sqs", "sqs://r?region=x"), ("pubsub", "pubsub://p?a=b")]
)
def test_another_address_of_a_clouds_queue_is_refused(tmp_path: Path, kind: str, url: str) -> None:
    """With the form that it should have."""
    with pytest.raises(UsageError, match="urls"):
        native(tmp_path, f"queues: {{q: {{kind: {kind}, urls: '{url}', queue: pushes}}}}")


def test_the_server_has_an_address_and_logins(tmp_path: Path) -> None:
    """A loopback address needs no login."""
    auth = "auth: {basic: {username: u, password: '${P}'}, tokens: [a, '${P}']}"
    server = native(tmp_path, f"server: {{listen: ':8080', {auth}, drain: 1m}}", {"P": "p"}).server
    assert server is not None
    assert (server.host, server.port, server.login, server.tokens) == ("", 8080, BasicCredentials("u", "p"), ("a", "p"))
    assert server.drain_seconds == 60
    local = native(tmp_path, "server: {}").server
    assert local is not None
    assert (local.host, local.port, local.login, local.tokens) == ("127.0.0.1", 8080, None, ())
    assert native(tmp_path, "server: {listen: ':80', allow_open: true}").server is not None


def test_state_and_queues_are_values(tmp_path: Path) -> None:
    """Loading opens neither."""
    text = "state: {url: 'postgresql://u:${P}@h/d'}\nqueues:\n  q: {kind: rabbitmq, urls: 'amqp://u:${P}@h/', queue: i}"
    loaded = native(tmp_path, text, {"P": "p"})
    assert loaded.state == StateSettings("postgresql://u:p@h/d")
    (queue,) = loaded.queues
    assert (queue.urls, queue.queue, queue.prefetch, queue.poison) == (("amqp://u:p@h/",), "i", 16, "reject")
    assert native(tmp_path, "state: {path: /var/lib/x}").state == StateSettings(path="/var/lib/x")
    assert native(tmp_path, "state: {keep: 90d}").state.keep == timedelta(days=90)


def test_the_repr_hides_secrets(tmp_path: Path) -> None:
    """A configuration in a log shows no password."""
    text = (
        "registries: {q.io: {username: u, password: hunter2}}\nstate: {url: postgresql://u:hunter2@h/d}\n"
        "server: {auth: {basic: {username: u, password: hunter2}, tokens: [hunter2]}}\n"
        "hooks:\n a: {kind: github, secret: hunter2}\n b: {kind: zot, registry: q.io, header: {value: hunter2}}\n"
        f" c: {{kind: quay, url_secret: hunter2{LONG_SECRET}}}\n"
        " d: {kind: zot, registry: q.io, basic: {username: u, password: hunter2}}\n"
        "queues: {q: {kind: rabbitmq, urls: ['amqp://u:hunter2@h/'], queue: q}}"
    )
    assert "hunter2" not in repr(native(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("7d", 604_800)]
)
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    """Several amounts add up."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["10", "", "m", "10 m", "-5s", "1h-3m", "367d", "1e9s", 10, None, "٣s"])
def test_other_durations_are_refused(text: object) -> None:
    """A number without a unit is ambiguous."""
    with pytest.raises(ValueError, match=r"duration|year"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "address", "loopback"),
    [
        (":8080", ("", 8080), False),
        ("127.0.0.1:0", ("127.0.0.1", 0), True),
        ("[::1]:80", ("::1", 80), True),
        ("localhost:80", ("localhost", 80), True),
        ("0.0.0.0:80", ("0.0.0.0", 80), False),
        ("hub.example.com:80", ("hub.example.com", 80), False),
    ],
)
def test_listen_addresses_have_the_form_of_go(text: str, address: tuple[str, int], loopback: bool) -> None:
    """Only addresses that other machines cannot reach are loopback."""
    assert parse_listen(text) == address
    assert is_loopback(address[0]) is loopback


def test_a_registry_has_limits_for_the_fleet_and_for_a_process(tmp_path: Path) -> None:
    """Copies are counted over the fleet; transfers and requests for one process."""
    found = native(
        tmp_path,
        """
registries:
  a.io: {limits: {copies: 4, transfers: 2, requests: 8}}
  index.docker.io: {limits: {transfers: 3}}
  b.io: {limits: {}}
""",
    )
    assert found.limits == {"a.io": 4}
    assert found.host_limits == {"a.io": HostLimits(2, 8), "docker.io": HostLimits(transfers=3)}


@pytest.mark.parametrize(
    ("defaults", "own", "seconds"),
    [
        ("", "", None),
        ("defaults: {recheck_targets: 24h}\n", "", 86400.0),
        ("defaults: {recheck_targets: 24h}\n", "recheck_targets: 90s", 90.0),
        ("defaults: {recheck_targets: 24h}\n", "recheck_targets: 0s", None),
        ("defaults:\n", "recheck_targets: 1h", 3600.0),
    ],
)
def test_recheck_targets_has_a_default_for_all_rules(
    tmp_path: Path, defaults: str, own: str, seconds: float | None
) -> None:
    """A rule's own value wins; without any, each run checks the target."""
    text = f"{defaults}rules:\n - name: one\n   source: q.io/a\n   targets: t.io/x\n   {own}\n"
    assert native(tmp_path, text).rules[0].recheck_seconds == seconds


@pytest.mark.parametrize(
    ("key", "renames"), [("", True), ("other_digests: rename", True), ("other_digests: refuse", False)]
)
def test_other_digests_are_renamed_unless_the_rule_refuses(tmp_path: Path, key: str, *, renames: bool) -> None:
    """By default a target may name a sha512 tag by its sha256 digest."""
    text = f"rules:\n - name: one\n   source: q.io/a\n   targets: t.io/x\n   {key}\n"
    assert native(tmp_path, text).rules[0].renames_digests is renames


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("{b.io: {same_as: a.io}}", {"b.io": "a.io"}),
        ("{c.io: {same_as: b.io}, b.io: {same_as: a.io}}", {"c.io": "a.io", "b.io": "a.io"}),
        ("{b.io: {same_as: a.io}, a.io: {same_as: b.io}}", {"a.io": "a.io", "b.io": "a.io"}),
        ("{hub.test: {same_as: index.docker.io}}", {"hub.test": "docker.io"}),
    ],
)
def test_further_host_names_of_a_registry(text: str, same_as: dict[str, str], tmp_path: Path) -> None:
    """Chains and circles end at one main name for all."""
    assert native(tmp_path, f"registries: {text}").same_as == same_as


@pytest.mark.parametrize(
    "text", ["{b.io/team: {same_as: a.io}}", "{b.io: {same_as: a.io/team}}", "{b.io: {same_as: b.io}}"]
)
def test_a_host_name_that_is_no_other_name_is_refused(text: str, tmp_path: Path) -> None:
    """Only whole registries have further names."""
    with pytest.raises(UsageError, match="same_as"):
        native(tmp_path, f"registries: {text}")
