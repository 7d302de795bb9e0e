"""Commands that need no rules: copy, tags, inspect, config validate, completion."""

import json

import pytest

from image_syncer.oci.referrer import legacy_tags
from image_syncer.testing import Image
from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.faults import answer
from image_syncer.testing.images import artifact, cosign_signature, multi, single
from support.command_line import CommandLine


@pytest.fixture(autouse=True)
def app(source: FakeRegistry) -> None:
    """Load one repository into the source."""
    source.load("team/app", multi("app"), "v1", "v2")


def test_copy_takes_several_targets_and_no_files(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """A target without a tag gets that of the source; the summary names each target."""
    done = cli.run("copy", f"{source.host}/team/app:v1", f"{target.host}/a/app", f"{target.host}/b/app:stable")
    assert done.returncode == 0
    assert target.manifest("a/app", "v1") == target.manifest("b/app", "stable") == multi("app").manifests[-1]
    assert f"→ {target.host}/b/app:stable  {multi('app').digest}" in done.stdout


def test_copying_a_missing_tag_fails(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """The exit code is 1; the summary has side, step and reason."""
    done = cli.run("copy", f"{source.host}/team/app:v9", f"{target.host}/a/app")
    assert done.returncode == 1
    assert f"source: resolve: {source.host}/team/app:v9: not found" in done.stdout


def test_tags_are_lines_or_a_json_list(cli: CommandLine, source: FakeRegistry) -> None:
    """The option --output decides."""
    assert cli.run("tags", f"{source.host}/team/app").stdout == "v1\nv2\n"
    assert json.loads(cli.run("tags", f"{source.host}/team/app", "--output", "json").stdout) == ["v1", "v2"]


def test_tags_of_a_missing_repository_are_an_error(cli: CommandLine, source: FakeRegistry) -> None:
    """The exit code is 1."""
    done = cli.run("tags", f"{source.host}/team/none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"image-syncer: tags of {source.host}/team/none: not found")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_closes_the_pipe_is_no_failure(cli: CommandLine, source: FakeRegistry) -> None:
    """`tags | head -1` ends without a message, even with many tags."""
    source.load("team/app", single("many"), *(f"t{number}" for number in range(5000)))
    done = cli.shell(f'set -o pipefail; $it tags {source.host}/team/app | head -1; echo "${{PIPESTATUS[0]}}"')
    assert done.stdout.splitlines() == ["t0", "0"]
    assert done.stderr == ""


def test_inspect_shows_digest_type_and_platforms(cli: CommandLine, source: FakeRegistry) -> None:
    """Text and JSON have the same facts."""
    reference = f"{source.host}/team/app:v1"
    text = cli.run("inspect", reference).stdout
    facts = json.loads(cli.run("inspect", reference, "--output", "json").stdout)
    assert facts["digest"] == str(multi("app").digest)
    assert facts["media_type"] in text
    assert {"amd64", "arm64"} <= {platform["architecture"] for platform in facts["platforms"]}
    for fact in (facts["digest"], *(platform["digest"] for platform in facts["platforms"])):
        assert fact in text


def test_inspect_raw_writes_the_manifest_byte_for_byte(cli: CommandLine, source: FakeRegistry) -> None:
    """It adds no line break, so the digest of the output is that of the manifest."""
    done = cli.run("inspect", "--raw", f"{source.host}/team/app:v1")
    assert done.stdout.encode() == multi("app").manifests[-1].content


def test_files_are_validated_without_a_request(cli: CommandLine, source: FakeRegistry) -> None:
    """The output counts rules and logins, or names the first problem with its line."""
    cli.write("images.yaml", f"{source.host}/team/app: registry.example.com/app\n")
    done = cli.run("config", "validate", "--images", "images.yaml")
    assert (done.returncode, done.stdout) == (0, "valid: 1 rule, 0 logins\n")
    quiet = cli.run("config", "validate", "--images", "images.yaml", "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    cli.write("images.yaml", f"{source.host}/team/app: registry.example.com/App\n")
    broken = cli.run("config", "validate", "--images", "images.yaml")
    assert broken.returncode == 2
    assert broken.stderr.startswith(f"image-syncer: images.yaml:1:{len(source.host) + 12}: ")
    assert source.requests.count() == 0


def test_completion_is_shown_and_installed(cli: CommandLine) -> None:
    """The current shell is bash; the installed script completes commands."""
    shown = cli.shell("$it --show-completion; true")
    assert "_IMAGE_SYNCER_COMPLETE=bash_complete" in shown.stdout
    installed = cli.shell("$it --install-completion; true")
    assert "completion for bash installed in" in installed.stderr
    assert "image-syncer" in cli.read(".bashrc")
    completed = cli.shell('COMP_WORDS="image-syncer in" COMP_CWORD=1 _IMAGE_SYNCER_COMPLETE=bash_complete $it')
    assert completed.stdout.split() == ["plain,inspect"]


def test_referrers_are_a_tree(cli: CommandLine, source: FakeRegistry) -> None:
    """What is attached to the index, to a platform and to another referrer, with kind, size and digest."""
    image = multi("app")
    child = Image(image.manifests[0], (image.manifests[0],), {})
    sbom = artifact("sbom", "application/spdx+json", subject=image)
    signature = artifact("signature", "application/vnd.cncf.notary.signature", subject=sbom)
    on_child = artifact("child", "application/sarif+json", subject=child)
    for one in (sbom, signature, on_child):
        source.load("team/app", one)
    source.load("team/app", cosign_signature(image), legacy_tags(image.digest)[0])
    done = cli.run("referrers", f"{source.host}/team/app:v1")
    assert done.returncode == 0
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    assert lines[0] == f"{source.host}/team/app:v1  {image.digest}"
    assert "├── sbom" in lines[1]
    assert str(sbom.digest) in lines[1]
    assert "│   └── signature" in lines[2]
    assert "└── signature" in lines[3]
    assert lines[3].endswith(".sig")
    assert lines[4] == "by a key"
    assert lines[5] == f"linux/amd64  {child.digest}"
    assert "└── scan" in lines[6]
    assert lines[-1] == "4 manifests attached"
    found = json.loads(cli.run("referrers", f"{source.host}/team/app:v1", "--output", "json").stdout)
    first = found["manifests"][0]["referrers"][0]
    assert (first["kind"], first["digest"], first["artifact_type"]) == (
        "sbom",
        str(sbom.digest),
        "application/spdx+json",
    )
    assert first["referrers"][0]["digest"] == str(signature.digest)


def test_signers_are_shown_as_the_signatures_name_them(cli: CommandLine, source: FakeRegistry) -> None:
    """In the tree and in the JSON; an unsigned referrer has none."""
    image = multi("app")
    sbom = artifact("sbom", "application/spdx+json", subject=image)
    source.load("team/app", sbom)
    source.load("team/app", cosign_signature(image), legacy_tags(image.digest)[0])
    done = cli.run("referrers", f"{source.host}/team/app:v1")
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    assert lines[2].endswith(".sig")
    assert [line for line in lines if "by " in line] == [lines[3]] == ["by a key"]
    found = json.loads(cli.run("referrers", f"{source.host}/team/app:v1", "--output", "json").stdout)
    assert [one["signers"] for one in found["manifests"][0]["referrers"]] == [[], ["a key"]]


def test_an_image_may_have_no_referrers(cli: CommandLine, source: FakeRegistry) -> None:
    """That is no failure."""
    done = cli.run("referrers", f"{source.host}/team/app:v1")
    assert done.returncode == 0
    assert "nothing is attached" in done.stdout


def test_a_referrer_that_cannot_be_read_is_named(cli: CommandLine, source: FakeRegistry) -> None:
    """The exit code is 1, and the others are shown."""
    image = multi("app")
    gone = artifact("gone", "application/spdx+json", subject=image)
    source.load("team/app", gone)
    path = f"/v2/team/app/manifests/{gone.digest}"
    source.faults.add(answer(404, code="MANIFEST_UNKNOWN"), path=path)
    done = cli.run("referrers", f"{source.host}/team/app:v1")
    assert done.returncode == 1
    assert "not found" in done.stdout
