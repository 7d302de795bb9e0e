"""The images file of the Go tool."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from image_syncer.config.load import load_go_tool_files
from image_syncer.errors import ConfigError
from image_syncer.oci import Digest, PlatformFilter
from image_syncer.sync.rule import AllTags, ByDigest, Rule, Selection, TagNames, TagPattern, select_tags
from support.config_errors import without_columns

NOTHING: Mapping[str, str] = MappingProxyType({})


def error_text(directory: Path, load: Callable[[], object]) -> str:
    """Return the text of the error that *load* raises, without the directory."""
    with pytest.raises(ConfigError) as error:
        load()
    return without_columns(str(error.value).replace(f"{directory}/", ""))


def rules(
    directory: Path, text: str, environment: Mapping[str, str] = NOTHING, *, name: str = "images.yaml"
) -> list[Rule]:
    """Return the rules of an images file with *text*."""
    path = directory / name
    path.write_text(text)
    return list(load_go_tool_files(auth=None, images=path, platforms=PlatformFilter(), environment=environment).rules)


DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


@pytest.mark.parametrize(
    ("source", "repository", "selection"),
    [
        ("nginx", "docker.io/library/nginx", AllTags()),
        ("org/app", "docker.io/org/app", AllTags()),
        ("localhost/app", "localhost/app", AllTags()),
        ("host:5000/app", "host:5000/app", AllTags()),
        ("[::1]:5000/app:v1", "[::1]:5000/app", TagNames(("v1",))),
        ("quay.io/a/b:v1, v2 ,v1", "quay.io/a/b", TagNames(("v1", "v2"))),
        (f"host:5000/app@{DIGEST}", "host:5000/app", ByDigest(Digest.parse(DIGEST))),
        ("index.docker.io/nginx:v1", "docker.io/library/nginx", TagNames(("v1",))),
    ],
)
def test_a_source_is_a_repository_and_a_selection(
    tmp_path: Path, source: str, repository: str, selection: Selection
) -> None:
    """Docker Hub's short forms are completed."""
    (rule,) = rules(tmp_path, json.dumps({source: "t.io/x"}), name="images.json")
    assert (rule.name, str(rule.source), rule.selection) == (source, repository, selection)


@pytest.mark.parametrize("pattern", ["^v1", "a/b", "v1,v2", "a:b", "x@y", ":/", "1.2"])
def test_a_regular_expression_may_contain_separators(tmp_path: Path, pattern: str) -> None:
    """The text between `:/` and the last slash is the expression."""
    (rule,) = rules(tmp_path, json.dumps({f"host:5000/app:/{pattern}/": "t.io/x"}), name="images.json")
    assert isinstance(rule.selection, TagPattern)
    assert (str(rule.source), rule.selection.text) == ("host:5000/app", pattern)


def test_a_regular_expression_is_not_anchored(tmp_path: Path) -> None:
    """`1.2` also matches `v1.29`."""
    (rule,) = rules(tmp_path, "a:/1.2/: t.io/x")
    assert select_tags(rule.selection, ["v1.29", "1.3", "102"]) == ["v1.29", "102"]


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("a", "t.io/x", ["t.io/x"]),
        ("a:v1,v2", "t.io/x: n1 , n2", ["t.io/x:n1,n2"]),
        ("a:v1", ["t.io/x", "u.io/y:z", " t.io/x "], ["t.io/x", "u.io/y:z"]),
        ("a:v1", ["nginx", "docker.io/library/nginx"], ["docker.io/library/nginx"]),
        ("a", "host:5000/x:only", ["host:5000/x:only"]),
        ("a:/^v/", "t.io/x:n1,n2", ["t.io/x:n1,n2"]),
        (f"a@{DIGEST}", "t.io/x:pinned", ["t.io/x:pinned"]),
        (f"a@{DIGEST}", [f"t.io/x@{DIGEST}", "t.io/x"], ["t.io/x"]),
        ("a", "[fe80::1]/x", ["[fe80::1]/x"]),
    ],
)
def test_targets_keep_or_rename(tmp_path: Path, source: str, target: object, expected: list[str]) -> None:
    """The number of tags in a listing is unknown, so any number of new tags passes."""
    (rule,) = rules(tmp_path, json.dumps({source: target}), name="images.json")
    assert [str(found) for found in rule.targets] == expected


def test_variables_work_in_targets_and_not_in_sources(tmp_path: Path) -> None:
    """Both forms are replaced; equal targets count once."""
    text = "a:v1: [$HOST/x, '${HOST}/x', u.io/$$x, u.io/y]"
    line = error_text(tmp_path, lambda: rules(tmp_path, text, {"HOST": "t.io"}))
    assert line.startswith("images.yaml:1: 'u.io/$x': not a repository name")
    (rule,) = rules(tmp_path, text.replace("u.io/$$x, ", ""), {"HOST": "t.io"})
    assert [str(target) for target in rule.targets] == ["t.io/x", "u.io/y"]
    assert "'$HOST/a'" in error_text(tmp_path, lambda: rules(tmp_path, "$HOST/a: t.io/x", {"HOST": "h.io"}))


def test_a_rule_has_its_place(tmp_path: Path) -> None:
    """Messages of a run can point at the file."""
    first, second = rules(tmp_path, "# c\na: t.io/x\n\nb:v1:\n  - t.io/y\n")
    assert first.origin == f"{tmp_path}/images.yaml:2"
    assert second.origin.endswith(":4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # Row 1: neither side is empty.
        ("'': t.io/x", "1: an empty source (write registry/repository)"),
        ("~: t.io/x", "1: a rule without a source"),
        ("a:v1:", "1: expected a target, found nothing"),
        ("a:v1: ''", "1: an empty target"),
        ("a:v1: []", "1: an empty list of targets"),
        ("a:v1:\n  - t.io/x\n  - ''", "3: an empty target"),
        ("a:v1:\n  - t.io/x\n  - ~", "3: expected a target, found nothing"),
        ("a:v1: 5", "1: expected a target, found a number (a target is a text"),
        ("a:v1: true", "1: expected a target, found true or false"),
        ("a:v1: [[t.io/x]]", "1: expected a target, found a list"),
        ("auth:\n  q.io: {username: x, password: hunter2}", "2: expected a target, found a map (a file with auth and"),
        # Row 3: every item of a list is checked.
        ("'a:v1,,v2': t.io/x", "1: 'v1,,v2': an empty tag"),
        ("'a:': t.io/x", "1: '': an empty tag"),
        ("a:v1,v2!: t.io/x", "1: 'v2!': not a tag"),
        ("a:v1,/x/: t.io/x", "1: 'a:v1,': not a registry"),
        # Row 4: one digest, and the same at the target.
        (f"a@{DIGEST},{OTHER}: t.io/x", "1: 'a': more than one digest"),
        ("a@sha256:abc: t.io/x", "1: 'sha256:abc': not a digest"),
        ("a@md5:abc: t.io/x", "1: 'md5:abc': unsupported algorithm"),
        (f"a@{DIGEST}: t.io/x@{OTHER}", f"1: 't.io/x@{OTHER}': the digest of a target must be that of its source"),
        (f"a:v1: t.io/x@{DIGEST}", f"1: 't.io/x@{DIGEST}': the digest of a target must be that of its source"),
        (f"a: t.io/x@{DIGEST}", f"1: 't.io/x@{DIGEST}': the digest of a target must be that of its source"),
        # Row 5: one regular expression between slashes.
        (r"a:/^(v)\1$/: t.io/x", r"1: /^(v)\1$/: unsupported: backreferences (invalid escape sequence: \1)"),
        ("a:/v1: t.io/x", "1: ':/v1': a regular expression needs a slash at both ends"),
        ("a://: t.io/x", "1: a source that begins with a://"),
        ("b.io/a://: t.io/x", "1: '://': a regular expression needs a slash at both ends"),
        ("a:/(v1/: t.io/x", "1: /(v1/: not a regular expression"),
        # Row 7: as many tags as the source has.
        ("a:v1,v2: t.io/x:n1", "1: 't.io/x:n1': 1 tags for 2 tags of the source"),
        ("a:v1: t.io/x:n1,n2", "1: 't.io/x:n1,n2': 2 tags for 1 tags of the source"),
        (f"a@{DIGEST}: 't.io/x:n1,n2'", "1: 't.io/x:n1,n2': 2 tags for 1 tags of the source"),
        ("a: t.io/x:n1,n1", "1: 't.io/x:n1,n1': a duplicate tag"),
        # Row 9: a tag with a digest.
        (f"a:v1@{DIGEST}: t.io/x", f"1: 'a:v1@{DIGEST}': a tag and a digest together"),
        (f"a@{DIGEST}: t.io/x:v1@{DIGEST}", f"1: 't.io/x:v1@{DIGEST}': a tag and a digest together"),
        # Row 10: a regular expression in a target.
        ("a: t.io/x:/v1/", "1: 't.io/x:/v1/': a target cannot have a regular expression (move it to the source)"),
        # Row 12: a key twice.
        ("a: t.io/x\nb: t.io/y\na: t.io/z", "3: duplicate key 'a', first in line 1"),
        # Schemes and other mistakes.
        ("docker://a: t.io/x", "1: a source that begins with docker:// (leave it out"),
        ("a: https://me:hunter2@t.io/x", "1: a target that begins with https://"),
        ("a: me:hunter2@t.io/x", "1: 't.io/x': not a digest"),
        ("a: t.io/x:v1,u.io/y:v1", "1: 't.io/x:v1,u.io/y': not a repository (write several targets as a list)"),
        ("a: t.io/X", "1: 't.io/X': a repository name must be lower case"),
        ("a: t.io/", "1: 't.io/': a part of the repository name is empty"),
        (
            "a:v1: t.io/x:$NO",
            "1: '$NO': not a tag; up to 128 letters, digits, '_', '.' and '-' (a variable may be unset",
        ),
        ("a:\n  t.io/$${x}/${NO}", "2: the environment variable NO is not set"),
    ],
)
def test_problems_have_their_line(tmp_path: Path, text: str, message: str) -> None:
    """Each problem is one line with a remedy."""
    line = error_text(tmp_path, lambda: rules(tmp_path, text))
    assert line.startswith(f"images.yaml:{message}")
    assert "hunter2" not in line
    assert "\n" not in line


def test_duplicate_keys_in_json_are_an_error(tmp_path: Path) -> None:
    """Other JSON parsers silently take the last one."""
    text = '{\n"a": "t.io/x",\n// again\n"a": "t.io/y"}'
    line = error_text(tmp_path, lambda: rules(tmp_path, text, name="images.json"))
    assert line.startswith("images.json:4: duplicate key 'a', first in line 2")


def test_rules_may_overlap(tmp_path: Path) -> None:
    """Two rules may ask for the same copy; the planner plans it once."""
    first, second = rules(tmp_path, "nginx:v1: t.io/x\ndocker.io/nginx:v1: t.io/x")
    assert (first.source, first.targets) == (second.source, second.targets)


@pytest.mark.slow
def test_ten_thousand_rules_load_in_seconds(tmp_path: Path) -> None:
    """The bound is far above the measured time."""
    text = "".join(f"s.io/team/app{n}:v1,v2:\n  - t.io/team/app{n}\n  - u.io/app{n}:v3,v4\n" for n in range(10_000))
    began = time.monotonic()
    assert len(rules(tmp_path, text)) == 10_000
    assert time.monotonic() - began < 90
