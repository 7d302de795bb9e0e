"""`image-syncer config explain`: whether a rule selects an image, why, and where the image goes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from image_syncer.cli.main import main
from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import single

Explain = Callable[..., int]


@pytest.fixture
def explain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Explain:
    """Return a function that explains by a file with *rules*."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = tmp_path / "n.yaml"

    def call(rules: str, *arguments: str) -> int:
        file.write_text(f"version: 1\nrules:\n{rules}\n")
        return main(["config", "explain", "-c", str(file), *arguments])

    return call


RULE = " - {name: one, source: q.io/a, targets: t.io/a, tags: 'v*', every: 90m, on: event}"


def test_a_selected_image_has_its_targets(explain: Explain, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The text has the place of the rule, the reason and when it runs."""
    assert explain(RULE, "one", "q.io/a:v1") == 0
    assert [line.strip() for line in capsys.readouterr().out.splitlines() if line] == [
        f"rule   one ({tmp_path}/n.yaml:3)",
        "image  q.io/a:v1",
        "selected: fits v*",
        "→ t.io/a:v1",
        "runs every 1h30m and for each event",
    ]


def test_an_image_without_a_tag_is_that_of_latest(explain: Explain, capsys: pytest.CaptureFixture[str]) -> None:
    """The user did not write it, so the answer says where it comes from."""
    assert explain(RULE, "one", "q.io/a") == 0
    assert "image  q.io/a:latest, since no tag is given\n" in capsys.readouterr().out
    assert explain(RULE, "one", "q.io/a:latest") == 0
    assert "since" not in capsys.readouterr().out


def test_the_answer_as_json(explain: Explain, capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts read it."""
    assert explain(RULE, "one", "q.io/a:latest", "--output", "json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["rule"], shown["selected"], shown["targets"]) == ("one", False, [])
    assert shown["reason"] == "matches nothing in include"


def test_secrets_of_other_sections_are_not_needed(explain: Explain, capsys: pytest.CaptureFixture[str]) -> None:
    """A user who asks why a tag is missing need not have them; to ask the registry they are needed."""
    rules = f"{RULE}\nregistries: {{q.io: {{username: u, password: '${{NO_SUCH_SECRET}}'}}}}"
    assert explain(rules, "one", "q.io/a:v1", "--output", "json") == 0
    assert json.loads(capsys.readouterr().out)["selected"] is True
    assert explain(rules, "one", "q.io/a:v1", "--ask") == 2
    assert "the environment variable NO_SUCH_SECRET is not set" in capsys.readouterr().err


def test_an_unknown_rule_is_an_error(explain: Explain, capsys: pytest.CaptureFixture[str]) -> None:
    """With a suggestion."""
    assert explain(RULE, "oen", "q.io/a:v1") == 2
    assert "oen: no rule has this name (did you mean one?)" in capsys.readouterr().err


def test_the_registry_decides_on_request(explain: Explain, capsys: pytest.CaptureFixture[str]) -> None:
    """Without it the answer is open."""
    with FakeRegistry.in_thread() as registry:
        check_by_registry(explain, capsys, registry)


def test_a_list_is_read_on_request(explain: Explain, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The reason is the line of the list."""
    (tmp_path / "images.txt").write_text("# images\nq.io/a:v1\n")
    rules = " - {name: one, images_from: {list: images.txt}, targets: 't.io/{repository}'}"
    answers: list[object] = []
    for image in ("q.io/a:v1", "q.io/b:v1"):
        assert explain(rules, "one", image, "--output", "json", "--ask") == 0
        shown = json.loads(capsys.readouterr().out)
        answers.append((shown["selected"], [target["target"] for target in shown["targets"]]))
    assert answers == [(True, ["t.io/a:v1"]), (False, [])]


def check_by_registry(explain: Explain, capsys: pytest.CaptureFixture[str], registry: FakeRegistry) -> None:
    """Check the answers about the two newest of three versions."""
    for version in ("1.1", "1.2", "1.3"):
        registry.load("a", single(version), version)
    rules = f" - {{name: one, source: {registry.host}/a, targets: t.io/a, tags: {{latest: 2}}}}\n"
    verdicts: list[object] = []
    for more in ([], ["--ask"]):
        for version in ("1.1", "1.3"):
            assert explain(rules, "one", f"{registry.host}/a:{version}", "--output", "json", *more) == 0
            verdicts.append(json.loads(capsys.readouterr().out)["selected"])
    assert verdicts == [None, None, False, True]
