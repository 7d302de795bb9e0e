"""`check`: which registries it covers, its table, its JSON and its exit code."""

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from image_syncer.cli.check_selection import named, of_rules, select
from image_syncer.cli.main import main
from image_syncer.config.load import load_file
from image_syncer.errors import ImageSyncerError
from image_syncer.oci import PlatformFilter, Repository
from image_syncer.registry.checks.check_values import RegistryToCheck
from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import single

RULES = """version: 1
registries:
  t.io/two: {username: bob, password: secret}
rules:
  - {name: a, source: q.io/team/app, targets: [t.io/one/app, 'oci:/srv/images']}
  - {name: b, source: q.io/team/lib, targets: t.io/one/lib}
  - {name: c, source: 'q.io/all/**', targets: 't.io/{name}', list: true}
  - {name: d, source: q.io/team/app, targets: 't.io/two/{name}'}
"""


@pytest.fixture(scope="module")
def registry() -> Generator[FakeRegistry]:
    """A registry with one image."""
    with FakeRegistry.in_thread() as fake:
        fake.load("team/app", single("image"), "v1")
        yield fake


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home without logins."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)


def checks(tmp_path: Path, text: str = RULES) -> list[RegistryToCheck]:
    """Return what a check of the configuration *text* covers."""
    path = tmp_path / "mirror.yaml"
    path.write_text(text)
    configuration = load_file(path, platforms=PlatformFilter(), environment={})
    return of_rules(configuration.rules, configuration.accounts)


def test_rules_are_covered_by_one_check_for_each_registry_and_login(tmp_path: Path) -> None:
    """With the first repository of each side, as far as names are known. Layouts need none."""
    assert checks(tmp_path) == [
        RegistryToCheck("q.io", source=Repository("q.io", "team/app"), needs_catalogue=True),
        RegistryToCheck("t.io", target=Repository("t.io", "one/app"), has_unknown_target=True),
        RegistryToCheck("t.io", target=Repository("t.io", "two/app")),
    ]


def test_names_select_among_the_registries_of_rules(tmp_path: Path) -> None:
    """One that no rule uses is an error."""
    found = checks(tmp_path)
    assert select(found, ["q.io"]) == found[:1]
    assert select(found, ["t.io/anything"]) == found[1:]
    assert select(found, []) == found
    with pytest.raises(ImageSyncerError, match=r"x\.io: no rule"):
        select(found, ["q.io", "x.io"])


def test_a_name_is_a_registry_or_a_repository() -> None:
    """As in references, a registry has a dot or a colon. Only with `--push` is a repository a target."""
    nginx = Repository("docker.io", "library/nginx")
    assert named(["q.io", "nginx", "q.io"], pushes=False) == [
        RegistryToCheck("q.io"),
        RegistryToCheck("docker.io", nginx),
    ]
    assert named(["nginx"], pushes=True) == [RegistryToCheck("docker.io", nginx, nginx)]
    assert named(["index.docker.io"], pushes=True) == [RegistryToCheck("docker.io")]


@pytest.mark.parametrize("text", ["nginx:1.27", "oci:/srv/images", "https://q.io/a", "q.io:port"])
def test_other_names_are_wrong_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No server is contacted."""
    assert main(["check", text]) == 2
    assert text in capsys.readouterr().err


def test_the_table_has_a_line_for_each_step(registry: FakeRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    """Remedies follow on lines of their own."""
    assert main(["check", f"{registry.host}/team/app", f"{registry.host}/no/such"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines.count(registry.host) == 2
    assert "  pull         ok       " + f"{registry.host}/team/app can be read, such as its tag v1" in lines
    failed = next(position for position, line in enumerate(lines) if "  pull         failed " in line)
    assert lines[failed + 1].strip().startswith("\u2192 check the name")


def test_json_has_each_step(registry: FakeRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    """`--push` makes the repository a target, too."""
    assert main(["check", "--push", "--output", "json", f"{registry.host}/team/app"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    name = f"{registry.host}/team/app"
    assert {key: report[key] for key in ("registry", "source", "target", "failed")} == {
        "registry": registry.host,
        "source": name,
        "target": name,
        "failed": False,
    }
    steps = {step["name"]: step for step in report["steps"]}
    assert steps["push"] == {
        "name": "push",
        "status": "ok",
        "text": f"an upload to {name} can be opened",
        "remedy": None,
    }
    assert registry.unfinished_uploads == 0


def test_a_configuration_is_checked_with_its_logins(
    registry: FakeRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its source is read, its target is pushed to."""
    (tmp_path / "mirror.yaml").write_text(
        f"version: 1\nregistries:\n  {registry.host}: {{username: bob, password: hunter2}}\n"
        f"rules:\n - {{name: a, source: {registry.host}/team/app, targets: {registry.host}/mirror/app}}\n"
    )
    assert main(["check", "-c", str(tmp_path / "mirror.yaml"), "--output", "json"]) == 0
    text = capsys.readouterr().out
    assert "hunter2" not in text
    (report,) = json.loads(text)
    steps = {step["name"]: step["text"] for step in report["steps"]}
    assert steps["credentials"].startswith("bob from ")
    assert steps["target"] == f"{registry.host}/mirror/app does not exist yet"
    assert steps["push"] == f"an upload to {registry.host}/mirror/app can be opened"
