"""A variable in the wrong place is shown as written, since its value may be a secret."""

from pathlib import Path

import pytest

from image_syncer.config.load import load_file
from image_syncer.errors import ConfigError, UsageError
from image_syncer.oci import PlatformFilter

SECRETS = (
    "ghp_S3cretOfSomeone",
    "https://user:S3cretOfSomeone@h/",
    "S3cretOfSomeone\\'\n",
    "a:S3cretOfSomeone@b",
    "t.io/S3cretOfSomeone",
    "b.S3cretOfSomeone:99999/x:" + "S3cret" * 60,
)
RULE = "rules: [{{name: a, source: q.io/a, targets: t.io/a, {}}}]"
PLACES = (
    *(f"rules: [{{name: a, source: q.io/a, targets: '{one}'}}]" for one in ("${T}", "t.io/${T}", "t.io/a:${T}!")),
    *(f"rules: [{{name: a, source: '{one}', targets: t.io/a}}]" for one in ("${T}", "q.io/${T}:v1", "q.io/*${T}/**")),
    *(f"rules: [{{name: a, source: q.io/*, targets: 't.io/{one}'}}]" for one in ("{${T}}", "{repository}:{${T}}")),
    RULE.format("every: '${T}'"),
    RULE.format("cron: '${T}'"),
    RULE.format("cron: '0 0 * * *', timezone: '${T}'"),
    RULE.format("on: ['${T}']"),
    RULE.format("platforms: ['${T}', '!${T}']"),
    RULE.format("tags: ['${T}!']"),
    RULE.format("tags: ['/(${T}/']"),
    RULE.format("tags: {semver: '${T}'}"),
    RULE.format("tags: {semver: '*', suffix: '${T}'}"),
    RULE.format("tags: {latest: '${T}'}"),
    RULE.format("tags: {newer_than: '${T}'}"),
    RULE.format("tags: {min_tags: '${T}'}"),
    RULE.format("prefix: '${T}!', targets: 't.io/{name}'").replace("targets: t.io/a, ", ""),
    RULE.format("artifacts: ['${T} ']"),
    RULE.format("referrers: {to: '${T}'}"),
    RULE.format("convert: '${T}'"),
    "rules: [{name: '${T}\\n', source: q.io/a, targets: t.io/a}]",
    "rules: [{name: a, images_from: {list: 'ftp://${T}'}, targets: 't.io/{repository}'}]",
    "rules: [{name: a, images_from: {list: x, paths: ['${T}[']}, targets: 't.io/${T}'}]",
    "defaults: {every: '${T}'}\nrules: [{name: a, source: q.io/a, targets: t.io/a}]",
    "defaults: {platforms: '${T}'}\nrules: [{name: a, source: q.io/a, targets: t.io/a}]",
    "include: '${T}'",
    "include: 'x/${T}/none.yaml'",
    "include: '/**/${T}*'\nversoin: 1",
    "state: {url: '${T}'}\nserver: {}",
    "state: {path: x, keep: '${T}'}",
    "server: {listen: '${T}'}",
    "server: {drain: '${T}'}",
    "timeouts: {image: '${T}'}",
    "bandwidth: {up: '${T}'}",
    "queues: {q: {kind: '${T}', urls: '${T}', queue: '${T}'}}",
    "queues: {q: {kind: nats, urls: '${T}', queue: '${T}'}}",
    "hooks: {h: {kind: '${T}'}}",
    "hooks: {h: {kind: harbor, registry: '${T}', secret: x}}",
    "hooks: {h: {kind: pubsub, registry: q.io, token: {audience: '${T}', issuer: '${T}', keys: '${T}'}}}",
    "hooks: {h: {kind: generic, url_secret: '${T}'}}",
    "hooks: {h: {kind: generic, header: {name: '${T}', value: '${T}'}}}",
    *(
        f"registries: {{q.io: {{{key}: '${{T}}'}}}}"
        for key in ("insecure", "addresses", "proxy", "same_as", "mirrors", "chunk_size", "auth", "user_agent")
    ),
    "registries: {q.io: {headers: {Authorization: '${T}', X-A: '${T}'}}}",
    "registries: {q.io: {limits: {copies: '${T}'}, timeouts: {connect: '${T}'}}}",
    "registries: {q.io: {username: '${T}'}}",
)


def problem(path: Path, environment: dict[str, str]) -> str:
    """Return the problems of the file at *path*; empty if it is valid."""
    try:
        load_file(path, platforms=PlatformFilter(), environment=environment)
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("content", PLACES)
def test_no_error_shows_the_value_of_a_variable(tmp_path: Path, content: str) -> None:
    """A secret in a wrong key must not reach the log of a pipeline."""
    path = tmp_path / "c.yaml"
    path.write_text(f"version: 1\n{content}\n")
    shown = [problem(path, {"T": secret}) for secret in SECRETS]
    assert any(shown)
    assert [text for text in shown if "s3cret" in text.lower()] == []


def test_the_text_is_shown_as_written(tmp_path: Path) -> None:
    """So the user finds it in the file."""
    path = tmp_path / "c.yaml"
    path.write_text("version: 1\nrules: [{name: a, source: q.io/a, targets: 't.io/app:${T}-x'}]\n")
    with pytest.raises(ConfigError) as error:
        load_file(path, platforms=PlatformFilter(), environment={"T": "no tag"})
    assert "'t.io/app:${T}-x'" in str(error.value) or "'${T}-x'" in str(error.value)
    assert "no tag" not in str(error.value)


@pytest.mark.parametrize("target", ["${T}", "$T/a", "t.io/a:$T!", "t.io/a:v1,${T}@x", "t.io/$T@sha256:00"])
def test_a_file_of_the_go_tool_shows_its_targets_as_written(tmp_path: Path, target: str) -> None:
    """Its targets have variables as well."""
    path = tmp_path / "c.yaml"
    path.write_text(f"auth: {{}}\nimages: {{q.io/a: '{target}'}}\n")
    shown = [problem(path, {"T": secret}) for secret in SECRETS]
    assert any(shown)
    assert [text for text in shown if "s3cret" in text.lower()] == []


def test_values_that_the_file_itself_has_stay(tmp_path: Path) -> None:
    """A short value is in many words."""
    path = tmp_path / "c.yaml"
    path.write_text("version: 1\nrules: [{name: a, source: q.io/a, targets: t.io/A, every: '${T}'}]\n")
    assert "t.io/A" in problem(path, {"T": "10s"})
