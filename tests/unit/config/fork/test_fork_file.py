"""The fork's `sync.yaml`, with keys in any case."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from image_syncer.config.load import load_file
from image_syncer.config.model import BasicCredentials, Configuration, ForkSettings
from image_syncer.errors import ConfigError
from image_syncer.oci import PlatformFilter, Repository
from image_syncer.registry.settings import Credential
from image_syncer.sync.pattern import SourcePattern, TargetTemplate
from image_syncer.sync.rule import AllTags, Triggers
from support.config_errors import without_columns

AUTH = "auth: {username: u, password: p}\n"
FULL = """\
app: {port: 'localhost:9090', env: prod}
registry:
  reg:
    - sourceName: one.example.com/
      namespace: team
      destinationName: two.example.com, three.example.com:5000/copy ,two.example.com
    - {sourceName: harbor, namespace: a, destinationName: backup}
    - {sourceName: one.example.com, namespace: team, destinationName: four.example.com/}
auth: {Username: operator, Password: 007}
sync:
  routineNum: 3
  retryCount: 0
  interval: 2
  filter: {osFilterList: [linux, ''], archFilterList: 'arm:v7'}
  filePosition: {auth: logins.yaml, images: ./waiting.json, log: ''}
  maxSyncDes: 7
rabbitmq:
  queueName: images
  info:
    - {address: 'r1.example.com:5672', username: 'a b', password: 'p@/${P}'}
    - {address: r2.example.com}
receiver: [what, ever]
db: {file: x.db}
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty directory, since the fork's paths are relative to it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logins.yaml").write_text("one.example.com: {username: x, password: $P}\n")
    return tmp_path


def fork(text: str, *, allow_open: bool = False, platforms: PlatformFilter | None = None) -> Configuration:
    """Return the configuration of a `sync.yaml` with *text*."""
    Path("sync.yaml").write_text(text)
    wanted = platforms or PlatformFilter()
    return load_file(Path("sync.yaml"), platforms=wanted, environment={"P": "y"}, allow_open=allow_open)


def problem(text: str) -> str:
    """Return the error for *text*, which has one line."""
    with pytest.raises(ConfigError) as error:
        fork(text)
    assert "\n" not in str(error.value)
    return without_columns(str(error.value)).removeprefix("sync.yaml:")


@pytest.mark.parametrize("change_case", [str.lower, str.upper, str.swapcase])
def test_keys_match_in_any_case(change_case: Callable[[str], str]) -> None:
    """Values keep their case."""
    text = re.sub(r"\b[A-Za-z]+:(?=\s)", lambda key: change_case(key.group()), FULL)
    assert text != FULL
    assert fork(text) == fork(FULL)


def test_routes_are_rules_that_events_trigger() -> None:
    """Each repository below the namespace keeps its path at each destination; entries for one source are one rule."""
    first, second = fork(FULL).rules
    assert first.source == SourcePattern.of("one.example.com", "team/**")
    assert (first.selection, first.triggers) == (AllTags(), Triggers(events=True))
    assert [str(target) for target in first.targets] == [
        "two.example.com/{repository}",
        "three.example.com:5000/copy/{repository}",
        "four.example.com/{repository}",
    ]
    assert (first.name, first.origin) == ("one.example.com/team/**", "sync.yaml:4")
    assert second.targets == (TargetTemplate("backup", "{repository}"),)
    assert second.wants(Repository("harbor", "a/b/c"), "v1")
    assert second.wants(Repository("harbor", "a"), "v1")
    assert not second.wants(Repository("harbor", "ab/c"), "v1")


def test_settings_come_from_the_file() -> None:
    """Minutes become seconds, an empty log is stderr, a number keeps its text."""
    loaded = fork(FULL)
    assert loaded.fork == ForkSettings(120.0, "./waiting.json", None, transfers=3, retries=0)
    assert loaded.server is not None
    assert (loaded.server.host, loaded.server.port, loaded.server.login) == (
        "localhost",
        9090,
        BasicCredentials("operator", "007"),
    )
    assert loaded.rules[0].platforms == PlatformFilter.parse(["linux"], ["arm:v7"])
    assert fork(FULL, platforms=PlatformFilter.parse(["windows"])).rules[0].platforms == PlatformFilter.parse(
        ["windows"]
    )
    assert loaded.accounts[0].credential == Credential("x", "y")
    assert loaded.warnings == ()


def test_the_broker_has_urls() -> None:
    """Special characters of a login are percent-encoded, unlike in the fork."""
    (queue,) = fork(FULL).queues
    assert queue.urls == ("amqp://a%20b:p%40%2Fy@r1.example.com:5672/", "amqp://r2.example.com/")
    assert (queue.queue, queue.origin) == ("images", "sync.yaml:17")
    assert "p%40" not in repr(queue)
    assert fork(AUTH + "rabbitmq: {queueName: images, info: []}").queues == ()


def test_absent_keys_have_the_defaults_of_the_fork() -> None:
    """A missing default auth file is a warning."""
    loaded = fork(AUTH + "sync:")
    assert loaded.fork == ForkSettings(600.0, "./images.json", "./app.log", transfers=1, retries=2)
    assert loaded.server is not None
    assert (loaded.server.host, loaded.server.port) == ("", 8080)
    assert [warning.partition(" ")[0] for warning in loaded.warnings] == ["./auth.yaml", "registry.reg"]


def test_the_default_auth_file_is_read_if_it_exists() -> None:
    """As in the fork, it is in the working directory."""
    Path("auth.yaml").write_text("q.io: {username: a, password: b}")
    assert fork(AUTH + "sync:").accounts[0].prefix == "q.io"


def test_an_open_hook_needs_an_option() -> None:
    """The fork accepts an empty login; here it needs --allow-open."""
    assert problem("app: {}").startswith("1: auth: no username and password")
    assert "--allow-open" in problem("app: {}")
    loaded = fork("app: {}", allow_open=True)
    assert loaded.server is not None
    assert loaded.server.login is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sync:\n  file_position: {}", "3: sync: unknown key 'file_position' (did you mean filePosition?)"),
        ("app:\n  prot: x", "3: app: unknown key 'prot' (did you mean port?)"),
        ("registri: {}\napp: {}", "2: unknown key 'registri' (did you mean registry?)"),
        ("app: {port: x}", "2: 'x': not an address to listen on"),
        ("app: {}\nAPP: {}", "3: duplicate key 'app', first in line 2"),
        ("sync:\n  interval: 0", "3: sync.interval: at least 1"),
        ("sync:\n  interval: 10m", "3: sync.interval: expected a whole number, found a text"),
        ("sync:\n  routineNum: 0", "3: sync.routineNum: at least 1"),
        ("sync:\n  retryCount: -1", "3: sync.retryCount: at least 0"),
        ("sync: {filter: {archFilterList: [':v7']}}", "2: ':v7': an arch filter is arch or arch:variant"),
        ("sync:\n  filePosition:\n    auth: gone.yaml", "gone.yaml: no such file"),
        ("registry: {reg: [{sourceName: a.io, namespace: b}]}", "2: registry.reg[0]: destinationName is missing"),
        ("registry:\n  reg:\n  - sourceName: a.io\n    namespace: B\n    destinationName: c.io", "4: 'a.io/B': a repo"),
        (
            "registry: {reg: [{sourceName: a.io, namespace: '*', destinationName: c.io}]}",
            "2: namespace: '*': patterns are not",
        ),
        ("registry: {reg: [{sourceName: a.io/b, namespace: c, destinationName: c.io}]}", "2: sourceName: 'a.io/b': a"),
        ("registry: {reg: [{sourceName: a.io, namespace: b, destinationName: 'c.io,'}]}", "2: destinationName: an em"),
        (
            "registry: {reg: [{sourceName: a.io, namespace: b, destinationName: u:hunter2@c.io}]}",
            "2: destinationName: not only",
        ),
        (
            "registry: {reg: [{sourceName: a.io, namespace: b, destinationName: 'c.io/{x}'}]}",
            "2: 'c.io/{x}': not a rep",
        ),
        ("rabbitmq: {info: [{address: 'a:1'}]}", "2: rabbitmq: queueName is missing"),
        ("rabbitmq: {queueName: q, info: [{address: 'amqp://u:hunter2@a'}]}", "2: address: not host:port"),
    ],
)
def test_problems_have_their_line(text: str, message: str) -> None:
    """Each is one line without a secret."""
    line = problem(AUTH + text)
    assert line.startswith(message)
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        ("auth: {username: u}", "2: auth: a username without a password"),
        ("auth: {password: hunter2}", "2: auth: a password without a username"),
        ("auth:\n  username: u\n  password: '${NO}'", "4: auth.password: the environment variable NO is not set"),
        ("auth:\n  passwort: hunter2", "3: auth: unknown key 'passwort' (did you mean password?)"),
    ],
)
def test_half_a_login_is_an_error(auth: str, message: str) -> None:
    """It does not open the hook."""
    line = problem(f"sync:\n{auth}")
    assert line.startswith(message)
    assert "hunter2" not in line


def test_passwords_may_be_in_files(directory: Path) -> None:
    """In the fork's file and in its auth file; a change of them is noticed."""
    for name in ("hook", "broker", "registry"):
        (directory / name).write_text(f"secret of {name}\n")
    (directory / "auth.yaml").write_text("q.io: {username: u, password: '${file:registry}'}\n")
    loaded = fork(
        "auth: {username: u, password: '${file:hook}'}\n"
        "rabbitmq: {queueName: q, info: [{address: 'h:1', username: u, password: '${file:broker}'}]}\n"
    )
    assert loaded.server is not None
    assert loaded.server.login == BasicCredentials("u", "secret of hook")
    assert loaded.queues[0].urls == ("amqp://u:secret%20of%20broker@h:1/",)
    assert loaded.accounts[0].credential == Credential("u", "secret of registry")
    assert set(loaded.files) == {"./auth.yaml", "hook", "broker", "registry"}
