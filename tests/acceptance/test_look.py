"""Commands that need no rules: copy, tags, inspect, config validate, completion."""

import json

import pytest

from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import multi, single
from support.command_line import CommandLine


@pytest.fixture(autouse=True)
def app(source: FakeRegistry) -> None:
    """Let the source hold one repository."""
    source.load("team/app", multi("app"), "v1", "v2")


def test_copy_needs_no_files_and_takes_several_targets(
    cli: CommandLine, source: FakeRegistry, target: FakeRegistry
) -> None:
    """A target without a tag keeps that of the source; each is named at the end."""
    done = cli.run("copy", f"{source.host}/team/app:v1", f"{target.host}/a/app", f"{target.host}/b/app:stable")
    assert done.returncode == 0
    assert target.manifest("a/app", "v1") == target.manifest("b/app", "stable") == multi("app").manifests[-1]
    assert f"→ {target.host}/b/app:stable  {multi('app').digest}" in done.stdout


def test_copy_of_what_is_not_there_fails(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """Exit code 1, with side, step and reason."""
    done = cli.run("copy", f"{source.host}/team/app:v9", f"{target.host}/a/app")
    assert done.returncode == 1
    assert f"source: resolve: {source.host}/team/app:v9: not found" in done.stdout


def test_copy_to_a_layout_says_that_it_comes_later(cli: CommandLine, source: FakeRegistry) -> None:
    """Exit code 2, and nothing is contacted."""
    done = cli.run("copy", f"{source.host}/team/app:v1", "oci:layout")
    assert done.returncode == 2
    assert "image layouts come with a later version" in done.stderr
    assert source.requests.count() == 0


def test_tags_are_one_a_line_or_a_list(cli: CommandLine, source: FakeRegistry) -> None:
    """For a shell and for a program."""
    assert cli.run("tags", f"{source.host}/team/app").stdout == "v1\nv2\n"
    assert json.loads(cli.run("tags", f"{source.host}/team/app", "--output", "json").stdout) == ["v1", "v2"]


def test_tags_of_what_is_not_there_is_one_line(cli: CommandLine, source: FakeRegistry) -> None:
    """Exit code 1."""
    done = cli.run("tags", f"{source.host}/team/none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"image-syncer: tags of {source.host}/team/none: not found")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_has_had_enough_is_no_failure(cli: CommandLine, source: FakeRegistry) -> None:
    """`tags | head -1` ends quietly, also where the registry has very many."""
    source.load("team/app", single("many"), *(f"t{number}" for number in range(5000)))
    done = cli.shell(f'set -o pipefail; $it tags {source.host}/team/app | head -1; echo "${{PIPESTATUS[0]}}"')
    assert done.stdout.splitlines() == ["t0", "0"]
    assert done.stderr == ""


def test_inspect_shows_digest_type_and_platforms(cli: CommandLine, source: FakeRegistry) -> None:
    """As text and as JSON, from the same facts."""
    reference = f"{source.host}/team/app:v1"
    text = cli.run("inspect", reference).stdout
    facts = json.loads(cli.run("inspect", reference, "--output", "json").stdout)
    assert facts["digest"] == str(multi("app").digest)
    assert facts["media_type"] in text
    assert {"amd64", "arm64"} <= {platform["architecture"] for platform in facts["platforms"]}
    for fact in (facts["digest"], *(platform["digest"] for platform in facts["platforms"])):
        assert fact in text


def test_inspect_raw_writes_the_very_bytes(cli: CommandLine, source: FakeRegistry) -> None:
    """No line break is added: the digest of the output is that of the manifest."""
    done = cli.run("inspect", "--raw", f"{source.host}/team/app:v1")
    assert done.stdout.encode() == multi("app").manifests[-1].content


def test_configuration_can_be_checked_without_contacting_anybody(cli: CommandLine, source: FakeRegistry) -> None:
    """It says what it found, or the first fault with its line."""
    cli.write("images.yaml", f"{source.host}/team/app: registry.example.com/app\n")
    done = cli.run("config", "validate", "--images", "images.yaml")
    assert (done.returncode, done.stdout) == (0, "valid: 1 rule, 0 logins\n")
    cli.write("images.yaml", f"{source.host}/team/app: registry.example.com/App\n")
    broken = cli.run("config", "validate", "--images", "images.yaml")
    assert broken.returncode == 2
    assert broken.stderr.startswith("image-syncer: images.yaml:1: ")
    assert source.requests.count() == 0


def test_completion_is_shown_and_installed(cli: CommandLine) -> None:
    """For the shell that asks; what is installed completes our commands."""
    shown = cli.shell("$it --show-completion; true")
    assert "_IMAGE_SYNCER_COMPLETE=complete_bash" in shown.stdout
    installed = cli.shell("$it --install-completion; true")
    assert "completion installed" in installed.stdout
    assert "image-syncer" in cli.read(".bashrc")
    asked = cli.shell('COMP_WORDS="image-syncer in" COMP_CWORD=1 _IMAGE_SYNCER_COMPLETE=complete_bash $it')
    assert asked.stdout.split() == ["inspect"]
