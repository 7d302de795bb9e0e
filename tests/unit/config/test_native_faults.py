"""Problems of the native file: all are reported, with their lines and without secrets."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.config.documents.json_text import parse_json
from image_syncer.config.documents.node import MapNode
from image_syncer.config.load import load_file
from image_syncer.config.native.native_file import parse_native
from image_syncer.config.native.native_model import HookSection, NativeFile, ServerSection
from image_syncer.config.native.native_rule_model import RuleSection
from image_syncer.config.native.native_values import known_keys
from image_syncer.errors import ConfigError
from image_syncer.oci import PlatformFilter
from support.config_errors import without_columns


def problems(directory: Path, text: str) -> list[str]:
    """Return the lines of the error for a native file with *text* from its second line on."""
    path = directory / "n.yaml"
    path.write_text(f"version: 1\n{text}")
    with pytest.raises(ConfigError) as error:
        load_file(path, platforms=PlatformFilter(), environment={"EMPTY": ""})
    return without_columns(str(error.value).replace(f"{path}:", "")).splitlines()


def rule(more: str, *, source: str = "q.io/a", targets: str = "t.io/x") -> str:
    """Return the text of one rule with *more* in line 6."""
    return f"rules:\n - name: one\n   source: {source}\n   targets: {targets}\n   {more}\n"


def token(more: str, *, kind: str = "pubsub") -> str:
    """Return the text of a hook with the properties *more* of its token from line 6 on."""
    return f"hooks:\n h:\n  kind: {kind}\n  token:\n   {more}\n  registry: q.io\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rulez: []", "2: unknown key 'rulez' (did you mean rules?)"),
        ("rules: {}", "2: rules: expected a list, found a map"),
        ("registries:\n  q.io: [x]", "3: registries.q.io: expected a map, found a list"),
        ("server: yes", "2: server: expected a map, found true or false"),
        ("rules:\n - name: a\n   targets: t.io/x", "3: rules[0]: source is missing"),
        (rule("evry: 5m"), "6: rules[0]: unknown key 'evry' (did you mean every?)"),
        (rule("tags: [v1, yes]"), "6: rules[0].tags[1]: expected a text, found true or false (write it in quotes)"),
        (rule("tags: []"), "6: rules[0].tags: an empty list"),
        (rule("tags:\n    inclde: v1"), "7: rules[0].tags: unknown key 'inclde' (did you mean include?)"),
        (rule("on: push"), "6: rules[0].on: unknown value 'push' (known values: event)"),
        (rule("every: 10"), "6: rules[0].every: expected a duration with its unit"),
        (rule("recheck_targets: 24"), "6: rules[0].recheck_targets: expected a duration with its unit"),
        (rule("recheck_targets: -1h"), "6: rules[0].recheck_targets: expected a duration with its unit"),
        ("defaults: {recheck_targets: daily}", "2: defaults.recheck_targets: expected a duration with its unit"),
        (
            "defaults:\n  recheck: 1h",
            "3: defaults: unknown key 'recheck' (did you mean recheck_targets, or recheck of referrers?)",
        ),
        ("defaults:\n  platforms: linux/amd64", "3: defaults: unknown key 'platforms' (it is a key of rules)"),
        (rule("min_age: 7d"), "6: rules[0]: unknown key 'min_age' (it is a key of tags)"),
        (rule("tags:\n    by: semver"), "7: rules[0].tags: unknown key 'by' (it is a key of latest)"),
        (rule("interval: 1h"), "6: rules[0]: unknown key 'interval' (did you mean every?)"),
        (rule("retries: 3"), "6: rules[0]: unknown key 'retries' (the command has the option --retries)"),
        ("defaults: []", "2: defaults: expected a map, found a list"),
        ("hooks:\n  h:\n    kind: harbour", "4: hooks.h.kind: unknown value 'harbour' (did you mean harbor?)"),
        ("hooks:\n  h: {kind: [x]}", "3: hooks.h.kind: expected one of acr, alibaba,"),
        ("hooks:\n  h:\n    kind: zot\n    heder: {value: hunter2}", "5: hooks.h: unknown key 'heder' (did you mean"),
        ("hooks:\n  h:\n    kind: zot\n    secret: {a: hunter2}", "5: hooks.h.secret: expected a text, found a map"),
        ("server: {allow_open: 'yes'}", "2: server.allow_open: expected true or false, without quotes"),
        ("server: {auth: {tokens: [a, ~]}}", "2: server.auth.tokens[1]: expected a text, found nothing"),
        (
            "queues: {q: {kind: kafak, urls: a, queue: q}}",
            "2: queues.q.kind: unknown value 'kafak' (did you mean kafka?)",
        ),
        ("queues: {q: {kind: kafka, urls: 'kafka://h:1', queue: q}}", "2: queues.q.queue: 'q': not topic/group"),
        (
            "queues: {q: {kind: kafka, urls: 'kafka://h?acks=0', queue: q/g}}",
            "2: urls: 'acks' is no option of kafka (only ?cafile= and ?sasl=)",
        ),
        (
            "queues: {q: {kind: kafka, urls: 'kafka://u:hunter2@h?sasl=gssapi', queue: q/g}}",
            "2: urls: unsupported mechanism 'gssapi' (sasl=plain or scram-sha-256 or scram-sha-512)",
        ),
        ("queues: {q: {kind: nats, urls: 'nats://h:1', queue: q}}", "2: queues.q.queue: 'q': not stream/consumer"),
        ("queues: {q: {kind: redis, urls: 'redis://h:1', queue: q/}}", "2: queues.q.queue: 'q/': not stream/group"),
        (
            "queues: {q: {kind: redis, urls: 'amqp://h:1', queue: q/g}}",
            "2: urls: not the URL of a broker (redis://",
        ),
        (
            "queues: {q: {kind: redis, urls: 'redis://h/x', queue: q/g}}",
            "2: urls: not the URL of a broker (redis://",
        ),
        (
            "queues: {q: {kind: nats, urls: 'tls://h?ca=x', queue: q/g}}",
            "2: urls: 'ca' is no option of nats (only ?cafile=)",
        ),
        ("queues: {q: {kind: rabbitmq, urls: a, queue: q, prefetch: 0}}", "2: queues.q.prefetch: at least 1"),
        ("queues: {q: {kind: rabbitmq, urls: a, queue: q, prefetch: x}}", "2: queues.q.prefetch: expected a whole"),
        ("rules: [{name: 'a b', source: q.io/a, targets: t.io/x}]", "2: rules[0].name: invalid characters"),
    ],
)
def test_problems_of_structure_have_their_line(tmp_path: Path, text: str, message: str) -> None:
    """The line is that of the key, or of the item in a list."""
    (line,) = problems(tmp_path, text)
    assert line.startswith(message)
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (rule("tags: [a b]"), "6: 'a b': not a tag, a glob with * and ?, or a /regular expression/"),
        (rule("tags:\n    - v1\n    - /(/"), "8: /(/: not a regular expression"),
        (
            rule("tags: /^1(?!0)/"),
            "6: /^1(?!0)/: unsupported: lookaround (invalid perl operator: (?!) (select other tags with exclude:",
        ),
        (rule("tags: {include: v1, exclude: v1}"), "6: tags: exclude removes all included tags"),
        (rule("cron: 1 2"), "6: cron: '1 2' does not have 5 fields"),
        (rule("cron: 61 * * * *"), "6: cron: '61 * * * *': not a cron expression"),
        (rule("cron: R 0 * * *"), "6: cron: 'R 0 * * *': H and R have no fixed time"),
        (rule("cron: 0 0 30 2 *"), "6: cron: '0 0 30 2 *': not a cron expression, or it never matches"),
        (
            rule("{cron: 0 0 * * *}").replace("{", "").replace("}", "\n   timezone: Mars"),
            "6: timezone: unknown time zone 'Mars'",
        ),
        (rule("cron: 0 0 * * *\n   every: 1h"), "7: every and cron exclude each other"),
        (rule("every: 5s"), "6: every: shorter than 10 s"),
        (rule("every: 1m\n   jitter: 2m"), "6: jitter: longer than every"),
        (rule("timezone: UTC"), "6: timezone needs cron"),
        (rule("jitter: 1m"), "6: jitter needs every or cron"),
        (rule("platforms: linux"), "6: 'linux': a platform is os/arch"),
        (rule("on: event", source="team/**"), "4: 'team/**': a pattern names its registry"),
        (rule("on: event", source="q.io/a**"), "4: 'q.io/a**': ** matches whole path components"),
        (rule("on: event", source="q.*.io/a"), "4: 'q.*.io': a registry cannot have a wildcard"),
        (rule("list: false", source="q.io/**"), "6: list: false needs on: event, since the rule would never copy"),
        (
            rule("list: false\n   on: event\n   every: 1h", source="q.io/**"),
            "6: list: false with every: sched",
        ),
        (
            rule("list: false\n   on: event\n   cron: 0 1 * * *", source="q.io/**"),
            "6: list: false with cron: sched",
        ),
        (rule("list: true"), "6: list: only for a source with a pattern of repositories (leave it out, or write a"),
        (rule("exclude: a/b"), "6: exclude: only for a source with a pattern"),
        (rule("repositories: a/b"), "6: repositories: only for a source with a pattern"),
        (rule("max_repositories: 5"), "6: max_repositories: only for a source with a pattern"),
        (
            rule("max_repositories: 0", source="q.io/**"),
            "6: rules[0].max_repositories: at least 1",
        ),
        (rule("exclude: [a, /(/]", source="q.io/**"), "6: /(/: not a regular expression"),
        (rule("exclude: w.io/a", source="q.io/**"), "6: 'w.io/a': the source of the rule is at q.io"),
        (rule("exclude: Upper/a", source="q.io/**"), "6: 'q.io/Upper/a': a repository name must be lower case"),
        (rule("repositories: a**", source="q.io/**"), "6: 'q.io/a**': ** matches whole path components"),
        (rule("repositories: u:hunter2@q.io/a", source="q.io/**"), "6: a repository cannot have an @"),
        (rule("repositories: https://q.io/a", source="q.io/**"), "6: 'https'://: not a repository"),
        (rule("tags: v1", source="q.io/a:v1"), "4: 'q.io/a:v1': a source is a repository without a tag (select tags"),
        (rule("tags: v1", source="docker://u:hunter2@q.io/a"), "4: a source that begins with docker://"),
        (rule("tags: v1", source="u:hunter2@q.io/a"), "4: a source cannot have an @"),
        (rule("tags: v1", targets="\n    - t.io/x\n    - u:hunter2@t.io/x"), "7: a target with an @"),
        (rule("tags: v1", targets="https://u:hunter2@t.io/x"), "5: a target that begins with https://"),
        (rule("tags: v1", targets="team/x"), "5: 'team/x': a target names its registry"),
        (
            rule("tags: v1", targets="'t.io/{repo}'"),
            "5: '{repo}' is not allowed here; allowed: {date}, {digest_short}, {name}, {namespace}, {registry}",
        ),
        (rule("tags: v1", targets="'t.io/x:{registry}'"), "5: '{registry}' is not allowed here; allowed: {date}"),
        (rule("tags: v1", targets="'t.io/{registry}'", source="q.io:5000/a"), "5: 't.io/q.io:5000': not a repository"),
        (rule("tags: v1", targets="'q.io/{repository}'"), "5: 'q.io/{repository}': source and target are the same"),
        (rule("tags: [v1, v2]", targets="t.io/x:new"), "5: 't.io/x:new': one tag for 2 images"),
        (rule("tags: v1", targets="'${NO}/x'"), "5: rules[0].targets: the environment variable NO is not set"),
        ("registries: {q.io: {username: u}}", "2: registries.q.io: a username without a password"),
        ("registries: {q.io: {auth: aws, password: hunter2}}", "2: registries.q.io: a password without a username"),
        ("registries: {q.io: {auth: ibm}}", "2: registries.q.io.auth: "),
        ("registries: {q.io: {logins: [{username: u}]}}", "2: registries.q.io.logins[0]: password is missing"),
        (
            "registries: {q.io: {username: u, password: hunter2, logins: [{username: v, password: hunter2}]}}",
            "2: registries.q.io: username and logins exclude each other (make it the first of the logins",
        ),
        (
            "registries: {q.io: {logins: [{username: u, password: hunter2}, {username: u, password: x}]}}",
            "2: registries.q.io.logins[1]: duplicate username 'u'",
        ),
        ("registries: {q.io: {logins: [{username: u, password: '${NO}'}]}}", "2: registries.q.io.logins[0].password"),
        ("timeouts: {stall: 10ms}", "2: timeouts.stall: shorter than a second"),
        ("timeouts: {stall: 60}", "2: timeouts.stall: expected a duration with its unit"),
        ("timeouts: {patients: 60s}", "2: timeouts: unknown key 'patients' (did you mean patience?)"),
        ("registries: {q: {insecure: true}}", "2: 'q': not a registry"),
        ("registries: {q.io: {limits: {copies: 0}}}", "2: registries.q.io.limits.copies: at least 1"),
        ("registries: {q.io: {limits: {copys: 3}}}", "2: registries.q.io.limits: unknown key 'copys' (did you mean"),
        ("registries: {q.io: {limits: {transfers: 0}}}", "2: registries.q.io.limits.transfers: at least 1"),
        ("registries: {q.io: {limits: {transfers: many}}}", "2: registries.q.io.limits.transfers: expected a whole"),
        ("registries: {q.io: {limits: {requests: 1001}}}", "2: registries.q.io.limits.requests: at most 1000"),
        (
            "registries: {q.io/a: {limits: {transfers: 3}}}",
            "2: registries.q.io/a.limits: a limit applies to a whole registry",
        ),
        (
            "registries: {q.io/a: {limits: {copies: 3}}}",
            "2: registries.q.io/a.limits: a limit applies to a whole registry",
        ),
        (
            "registries:\n  docker.io:\n  index.docker.io:",
            "4: 'index.docker.io' is docker.io, which line 3 already has",
        ),
        ("registries: {q.io: {username: u, password: '${EMPTY}'}}", "2: registries.q.io.password: empty after"),
        ("hooks: {H: {kind: quay, allow_open: true}}", "2: 'H': not a valid name for a hook"),
        ("hooks: {h: {kind: quay}}", "2: hooks.h: no authentication of the sender (set one of secret, header,"),
        ("hooks: {h: {kind: harbor, allow_open: true}}", "2: hooks.h: registry is missing"),
        ("hooks: {h: {kind: zot, registry: 'u:hunter2@q.io', allow_open: true}}", "2: hooks.h.registry: not only"),
        ("hooks: {h: {kind: quay, prefix: a, allow_open: true}}", "2: hooks.h.prefix: quay sends whole names"),
        ("hooks: {h: {kind: quay, secret: hunter2}}", "2: hooks.h.secret: quay does not sign"),
        ("hooks: {h: {kind: quay, url_secret: hunter2}}", "2: hooks.h.url_secret: at least 32"),
        ("hooks: {h: {kind: quay, token: {audience: a, email: b}}}", "2: hooks.h.token: quay sends no tokens"),
        (token("audience: a"), "5: hooks.h.token: email is missing (the service account of the push subscription)"),
        (token("audience: a\n   email: e", kind="acr"), "5: hooks.h.token: issuer is missing (for Entra ID https://"),
        (token("audience: '${NO}'\n   email: e"), "6: hooks.h.token.audience: the environment variable NO is not set"),
        (
            token("audience: a\n   email: e\n   issuer: http://i.example.com"),
            "8: hooks.h.token.issuer: not a usable https",
        ),
        (
            token("audience: a\n   email: e\n   issuer: https://u:hunter2@i"),
            "8: hooks.h.token.issuer: not a usable https",
        ),
        (
            token("audience: a\n   email: e\n   issuer: https://i/?hunter2"),
            "8: hooks.h.token.issuer: not a usable https",
        ),
        (
            token("audience: a\n   email: e\n   issuer: accounts.google.com"),
            "8: hooks.h.token.issuer: not a usable https",
        ),
        (
            token("audience: a\n   email: e\n   keys: http://k.example.com/"),
            "8: hooks.h.token.keys: not a usable https",
        ),
        (token("audience: a\n   email: e\n   keys: 'https://k/ b'"), "8: hooks.h.token.keys: not a usable https URL"),
        (token("audience: a\n   email: e\n   keys: https://k:x/"), "8: hooks.h.token.keys: not a usable https URL"),
        ("hooks: {h: {kind: github, secret: hunter2, allow_open: true}}", "2: hooks.h: more than one authentication"),
        ("server: {listen: ':80'}", "2: server: other machines could send unauthenticated requests"),
        ("server: {listen: ':99999'}", "2: ':99999': not an address to listen on"),
        (
            "server: {auth: {basic: {username: 'a:b', password: hunter2}}}",
            "2: username: HTTP Basic does not allow a colon",
        ),
        ("state: {url: 'mysql://u:hunter2@h/d'}", "2: state.url: not a PostgreSQL address"),
        ("state: {keep: 23h}", "2: state.keep: shorter than a day"),
        ("state: {url: 'postgresql://h/d', path: /x}", "2: state: url and path exclude each other"),
        ("queues: {q: {kind: rabbitmq, queue: q, urls: 'http://u:hunter2@h'}}", "2: urls: not the URL of a broker"),
    ],
)
def test_problems_of_meaning_have_their_line(tmp_path: Path, text: str, message: str) -> None:
    """References, patterns, times and secrets are checked; no error shows a secret."""
    (line,) = problems(tmp_path, text)
    assert line.startswith(message)
    assert "hunter2" not in line


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    """Each broken part of each rule and hook has a line."""
    text = rule("tags: [a b]", source="q.io/A") + " - {name: two, source: q.io/b, targets: [t.io/X, t.io/y]}\n"
    text += " - {name: two, source: q.io/b, targets: t.io/y}\n - {name: two, source: q.io/c, targets: t.io/y}\n"
    places = [
        line.partition(": ")[0] for line in problems(tmp_path, text + "hooks: {h: {kind: quay}}\nstate: {url: x}")
    ]
    assert places == ["4", "6", "7", "9", "10", "11"]


KEYS = sorted({key for part in (NativeFile, RuleSection, HookSection, ServerSection) for key in known_keys(part)})
TEXTS = st.sampled_from([*KEYS, "q.io/a", "q.io/**", "t.io/{repository}", "v*", "/(/", "10m", "harbor", "${NO}", "@"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
RULES = st.lists(st.dictionaries(st.sampled_from(sorted(known_keys(RuleSection))), VALUES), max_size=3)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES), RULES)
def test_any_file_is_valid_or_has_problems(content: dict[str, object], rules: list[dict[str, object]]) -> None:
    """The outcome is a configuration, or problems that each have a line."""
    document = parse_json(json.dumps({**content, "rules": rules, "version": 1}))
    assert isinstance(document, MapNode)
    try:
        found = parse_native(document, "n.json", platforms=PlatformFilter(), environment={})
    except ConfigError as error:
        lines = str(error).splitlines()
    else:
        lines = [f"n.json:1:1: rule {rule.name}" for rule in found.rules]
        assert len(lines) == len(rules)
    assert all(re.match(r"n\.json:1:\d+: |and \d+ more", line) for line in lines)


def test_other_versions_are_refused(tmp_path: Path) -> None:
    """A file for a later version is not read partly."""
    path = tmp_path / "n.yaml"
    path.write_text("version: 2\n")
    with pytest.raises(ConfigError, match=r"n.yaml:1:1: version: this image-syncer reads version 1"):
        load_file(path, platforms=PlatformFilter(), environment={})


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("rulez: []", "2:1"),
        (rule("evry: 5m"), "6:4"),
        (rule("tags: [v1, yes]"), "6:15"),
        (rule("tags: [v1, 'a b']"), "6:15"),
        (rule("every: 10"), "6:4"),
        (rule("tags: v1", targets="[t.io/x, 't.io/${NO}']"), "5:22"),
        ("registries: {q.io: {username: u}}", "2:14"),
        ("hooks:\n  h: {kind: harbour}", "3:7"),
    ],
)
def test_a_problem_has_its_column(tmp_path: Path, text: str, place: str) -> None:
    """It is the place of the key, or of the item in a list."""
    path = tmp_path / "n.yaml"
    path.write_text(f"version: 1\n{text}")
    with pytest.raises(ConfigError) as error:
        load_file(path, platforms=PlatformFilter(), environment={})
    assert str(error.value).startswith(f"{path}:{place}: ")
