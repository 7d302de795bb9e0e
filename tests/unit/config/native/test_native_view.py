"""The effective configuration, as `config show` prints it."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.config.documents.document import parse_document
from image_syncer.config.duration import format_duration, parse_duration
from image_syncer.config.load import load_document
from image_syncer.config.native.native_view import mask_login, view_native
from image_syncer.oci import PlatformFilter

EXAMPLE = Path(__file__).parents[4] / "examples" / "native.yaml"
URL_SECRET = "hunter2-0123456789abcdef0123456789"
FILE = Path("n.yaml")


class Secrets(dict[str, str]):
    """An environment in which each variable is a secret."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return a secret for *key*."""
        del key, default
        return URL_SECRET


def view(text: str, *, shows_defaults: bool = False, **environment: str) -> dict[str, Any]:
    """Return the view of a native file with *text*."""
    document = parse_document(text.encode(), FILE, remedy_if_empty="")
    return view_native(document, "n.yaml", environment, shows_defaults=shows_defaults)


def test_no_secret_is_shown() -> None:
    """Passwords, tokens, keys, and logins in addresses are masked; hosts and user names are shown."""
    text = """version: 1
registries:
  q.io: {username: u, password: hunter2}
  t.io: {logins: [{username: u1, password: hunter2}, {username: u2, password: '${X:-hunter2}'}]}
hooks:
  a: {kind: github, secret: hunter2}
  b: {kind: quay, header: {name: X-Token, value: hunter2}}
  c: {kind: quay, basic: {username: u, password: hunter2}}
  d: {kind: quay, url_secret: hunter2-0123456789abcdef0123456789}
server: {auth: {basic: {username: u, password: hunter2}, tokens: [hunter2, hunter2]}}
state: {url: 'postgresql://u:hunter2/@h@db.example.com/s?sslmode=require&password=hunter2'}
queues:
  a: {kind: rabbitmq, urls: 'amqp://u:hunter2@h1:5672/v?heartbeat=10&x=hunter2', queue: q}
  b: {kind: nats, urls: ['nats://hunter2@h2', 'tls://h3'], queue: s/c}
rules: [{name: r, source: q.io/a, targets: t.io/a, attest: {key: hunter2}}]
"""
    shown = view(text)
    assert "hunter2" not in json.dumps(shown)
    assert shown["registries"]["q.io"] == {"username": "u", "password": "***"}
    assert shown["state"] == {"url": "postgresql://***@db.example.com/s?sslmode=require&password=***"}
    assert shown["queues"]["a"]["urls"] == ["amqp://***@h1:5672/v?heartbeat=10&x=***"]
    assert shown["queues"]["b"]["urls"] == ["nats://***@h2", "tls://h3"]
    assert shown["rules"][0]["attest"] == {"key": "***"}


def test_the_view_is_a_native_file_with_the_same_rules() -> None:
    """It can be loaded again."""
    document = parse_document(EXAMPLE.read_bytes(), EXAMPLE, remedy_if_empty="")
    shown = view_native(document, "n.yaml", Secrets(), shows_defaults=True)
    text = json.dumps(shown)
    assert URL_SECRET not in text
    text = text.replace('"url_secret": "***"', f'"url_secret": "{URL_SECRET}"')
    again = parse_document(text.encode(), Path("n.json"), remedy_if_empty="")
    loaded = load_document(again, "n.json", platforms=PlatformFilter(), environment={})
    original = load_document(document, "n.yaml", platforms=PlatformFilter(), environment=Secrets())
    for one, other in zip(loaded.rules, original.rules, strict=True):
        assert (one.name, one.source, one.selection, one.targets, one.triggers, one.recheck_seconds) == (
            other.name,
            other.source,
            other.selection,
            other.targets,
            other.triggers,
            other.recheck_seconds,
        )
    assert (loaded.timeouts, loaded.host_limits) == (original.timeouts, original.host_limits)


def test_values_are_those_that_take_effect() -> None:
    """Variables are replaced, defaults of the file apply to each rule, and shared parts are gone."""
    text = """version: 1
x-shared: &shared {every: 90m}
defaults: {recheck_targets: 24h, referrers: {required: true}}
registries: {q.io: , t.io: {insecure: '${INSECURE:-true}'}}
rules:
  - {<<: *shared, name: '${TEAM}', source: q.io/a, targets: 't.io/{repository}', tags: v1}
  - {name: two, source: q.io/b, targets: t.io/b, recheck_targets: 0s, referrers: {types: sbom}}
"""
    shown = view(text, TEAM="blue")
    assert shown == {
        "version": 1,
        "registries": {"q.io": {}, "t.io": {"insecure": True}},
        "rules": [
            {
                "name": "blue",
                "source": "q.io/a",
                "targets": ["t.io/{repository}"],
                "tags": {"include": ["v1"]},
                "every": "1h30m",
                "recheck_targets": "1d",
                "referrers": {"required": True},
            },
            {
                "name": "two",
                "source": "q.io/b",
                "targets": ["t.io/b"],
                "recheck_targets": "0s",
                "referrers": {"types": ["sbom"], "required": True},
            },
        ],
    }
    assert view(text, shows_defaults=True, TEAM="blue")["timeouts"] == {"connect": "30s", "stall": "1m"}


def test_a_text_with_a_literal_dollar_and_brace_stays_literal() -> None:
    """The view can be read again as a native file."""
    shown = view("version: 1\nregistries: {q.io: {username: 'a$${B}', password: p}}\n")
    assert shown["registries"]["q.io"]["username"] == "a$${B}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:hunter2@h/p?sig=hunter2&port=1", "https://***@h/p?sig=***&port=1"),
        ("https://hunter2@h", "https://***@h"),
        ("oci://r.io/a@sha256:ab", "oci://r.io/a@sha256:ab"),
        (r"https://github\.com/a@refs/tags/v.*", r"https://github\.com/a@refs/tags/v.*"),
        ("r.io/a:v1", "r.io/a:v1"),
    ],
)
def test_a_login_in_an_address_is_masked(text: str, shown: str) -> None:
    """Digests and paths with an @ stay."""
    assert mask_login(text) == shown


@given(st.integers(0, 366 * 24 * 3_600_000).map(lambda milliseconds: timedelta(milliseconds=milliseconds)))
def test_a_formatted_duration_is_read_back(duration: timedelta) -> None:
    """To the microsecond."""
    assert abs(parse_duration(format_duration(duration)) - duration) <= timedelta(microseconds=1)
