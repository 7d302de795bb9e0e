"""Files of other tools, in the shapes that their documentation publishes, become native files.

Beside each file is the native file (`NAME.native.yaml`), followed by what the conversion says about it. After a change
that is meant, `python tests/unit/config/convert/test_convert.py` writes them again: read the difference.
"""

import sys
from pathlib import Path

import pytest

from image_syncer.config.convert.conversion import Conversion, literal, semver_range
from image_syncer.config.convert.kinds import KINDS, convert, guess_kind, write_native
from image_syncer.config.documents.document import read_nodes
from image_syncer.config.load import load_file
from image_syncer.errors import ConfigError, UsageError
from image_syncer.oci import Digest, PlatformFilter

FILES = Path(__file__).parent / "files"
TARGET = "target.example.com/mirror"
INPUTS = sorted(path for path in FILES.iterdir() if not path.name.endswith(".native.yaml"))


def kind_of(path: Path) -> str:
    """Return the kind of the file at *path*, by its name."""
    return path.name.rpartition("-")[0]


def render(path: Path) -> str:
    """Return the native file of the file at *path*, with the findings as comments."""
    converted = convert(kind_of(path), [path], TARGET)
    comments = [f"# {finding}".replace(f"{FILES}/", "") for finding in converted.findings]
    return "\n".join([write_native(converted).rstrip(), *comments, ""])


def golden(path: Path) -> Path:
    """Return where the native file of *path* is."""
    return FILES / f"{path.stem}.native.yaml"


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.name)
def test_a_file_becomes_the_native_file_beside_it(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every loss and note; the fork's file finds no auth file in an empty directory."""
    monkeypatch.chdir(tmp_path)
    assert render(path) == golden(path).read_text()


def test_each_kind_has_three_files() -> None:
    """None is forgotten."""
    kinds = [kind_of(path) for path in INPUTS]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == dict.fromkeys(KINDS, 3)


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.name)
def test_the_kind_of_a_file_is_recognised(path: Path) -> None:
    """By what it contains, so that --from is needed for odd files only."""
    assert guess_kind(path) == kind_of(path)


@pytest.mark.parametrize("line", ["5", "null", "~", "true", "1024", "{{ .Values.image }}", "a:v1@sha256:0"])
def test_a_line_of_a_list_that_is_no_image_is_an_error(tmp_path: Path, line: str) -> None:
    """With its place."""
    path = tmp_path / "images.txt"
    path.write_text(f"# all\n{line}\n")
    with pytest.raises(ConfigError, match=r"images\.txt:2: "):
        convert("list", [path], TARGET)


def test_a_line_with_a_tag_and_a_digest_keeps_both(tmp_path: Path) -> None:
    """The digest decides what is copied, the tag is its name at the target."""
    path = tmp_path / "images.txt"
    image = f"q.io:5000/a@{Digest.of(b'')}"
    path.write_text(f"{image.replace('@', ':v1@')}\r\n")
    rules = convert("list", [path], TARGET).document["rules"]
    assert rules == [{"name": "q.io:5000/a:v1", "source": image, "targets": f"{TARGET}/{{repository}}:v1"}]
    check = tmp_path / "native.yaml"
    check.write_text(write_native(convert("list", [path], TARGET)))
    assert load_file(check, platforms=PlatformFilter(), environment={}).rules[0].name == "q.io:5000/a:v1"


UNKNOWN = [
    ("some: thing", r"--from dregsy\|fork\|go-tool"),
    ("version: 1\nrules: []", "is a native file already"),
    ("services: {a: {image: b}}", r"images_from: \{compose: file\.yaml\}"),
    ("apiVersion: v1\nkind: Pod", r"images_from: \{manifests: file\.yaml\}"),
]


@pytest.mark.parametrize(("text", "message"), UNKNOWN, ids=["any", "native", "compose", "manifests"])
def test_a_file_of_no_known_kind_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    """With the kinds to choose from, or with what to do with it."""
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        guess_kind(path)


BAD_FILES = [
    ("regsync", "version: 1\nsync:\n  - source: a\n", r":3:5: sync\[0\]: type is missing"),
    ("regsync", "version: 1\nsync: {a: b}\n", ": sync: expected a list, found a map"),
    ("regsync", "sync:\n  - {source: '{{.X}}', target: b, type: image}\n", "a template other than env and file"),
    ("dregsy", "tasks: [{name: a, source: {registry: s.io, auth: AAAA}}]\n", "auth: not the base64 form"),
    ("dregsy", "tasks: [{source: {registry: s.io}}]\n", r"tasks\[0\]: name is missing"),
    ("ocync", "registries: {}\nmappings: [{from: a, source: b, targets: [c]}]\n", "no registry is called 'b'"),
    ("hauler", "kind: Secrets\n", "kind Secrets: expected Images, Charts or Files"),
    ("kpromo", "registries: [{name: a.io/x}]\n", "needs one with src: true and one without"),
    ("list", "Not A Reference!\n", ":1"),
    ("go-tool", "images: {'a.io/x:v1,v2': 'b.io/y:one'}\n", "1 tags for 2 tags of the source"),
    ("harbor", "{name: a, filters: [{type: name, value: {}}]}\n", r"filters\[0\]\.value: expected a text, found a map"),
    ("skopeo", "a.io: [1]\n", "a.io: expected a map, found a list"),
]


@pytest.mark.parametrize(("kind", "text", "message"), BAD_FILES, ids=lambda value: str(value)[:20])
def test_a_bad_file_is_one_clear_error(kind: str, text: str, message: str, tmp_path: Path) -> None:
    """With file and line, without a value that may be a password."""
    path = tmp_path / ("file.txt" if kind == "list" else "file.yaml")
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        convert(kind, [path], TARGET)
    assert "file." in str(caught.value)
    assert "AAAA" not in str(caught.value)


@pytest.mark.parametrize("kind", ["hauler", "list", "oc-mirror", "quay", "skopeo"])
def test_a_kind_without_targets_needs_one(kind: str) -> None:
    """The error names the option."""
    path = next(path for path in INPUTS if kind_of(path) == kind and path.name != "quay-3.json")
    with pytest.raises(UsageError, match="names no target") as caught:
        convert(kind, [path], None)
    assert "--target registry.example.com/mirror" in str(caught.value)


def test_unknown_keys_are_lost_and_never_ignored(tmp_path: Path) -> None:
    """What a newer version of a tool adds must not vanish."""
    path = tmp_path / "regsync.yaml"
    path.write_text("version: 1\nnew: 1\nsync:\n  - {source: a, target: b.io/a, type: image, newer: true}\n")
    assert [str(finding).partition(": ")[2] for finding in convert("regsync", [path], None).lost] == [
        "lost: new: image-syncer has nothing like it",
        "lost: sync[0].newer: image-syncer has nothing like it",
    ]


CLOUDS = [
    (
        "dregsy",
        "tasks: [{name: a, source: {registry: s.io}, target: {registry: HOST, auth-refresh: 10h}, mappings: []}]",
    ),
    ("ocync", "registries: {a: {url: HOST, auth_type: ecr}}\nmappings: [{from: x, source: a, targets: [a]}]"),
]


@pytest.mark.parametrize(("kind", "text"), CLOUDS, ids=["dregsy", "ocync"])
def test_logins_of_a_cloud_are_carried_over_where_its_registries_are_known(
    kind: str, text: str, tmp_path: Path
) -> None:
    """By their names; the cloud behind a name of one's own is not known."""
    path = tmp_path / "file.yaml"
    host = "111122223333.dkr.ecr.eu-central-1.amazonaws.com"
    path.write_text(text.replace("HOST", host))
    converted = convert(kind, [path], None)
    assert converted.document["registries"] == {host: {"auth": "aws"}}
    assert not converted.lost
    path.write_text(text.replace("HOST", "ecr.example.com"))
    assert "registries" not in convert(kind, [path], None).document
    assert len(convert(kind, [path], None).lost) == 1


def test_texts_keep_their_meaning() -> None:
    """`${` in a password is no variable; ranges have no commas."""
    assert literal("a${b}$c") == "a$${b}$c"
    assert semver_range(">= 1.2.0, < 2") == ">=1.2.0 <2"
    assert semver_range("1.2 - 1.4") == "1.2 - 1.4"


def test_rule_names_are_unique_and_valid() -> None:
    """Two steps may have one source."""
    conversion = Conversion("f")
    for _ in range(3):
        conversion.add_rule("a b!", "s.io/a", ["t.io/a"])
    assert [rule["name"] for rule in conversion.rules] == ["a-b-", "a-b--2", "a-b--3"]


def test_documents_of_a_file_keep_their_lines(tmp_path: Path) -> None:
    """An error in the second document has its line in the file."""
    path = tmp_path / "two.yaml"
    path.write_text("a: 1\n--- # next\nb: 2\n---\n")
    first, second = read_nodes(path)
    assert (first.line, second.line) == (1, 3)
    path.write_text("a: 1\n---\nb: [\n")
    with pytest.raises(ConfigError, match=r":[34]:[0-9]+: not YAML"):
        read_nodes(path)


if __name__ == "__main__":
    for each in INPUTS:
        golden(each).write_text(render(each))
    sys.stdout.write("read the difference: git diff\n")
