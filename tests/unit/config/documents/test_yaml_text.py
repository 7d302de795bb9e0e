"""YAML 1.2, bounded, with lines, and without quoting what may be a password."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.config.documents.node import DEPTH_LIMIT, DocumentError, ListNode, MapNode, Node, Scalar
from image_syncer.config.documents.yaml_text import parse_yaml


def values(node: Node | None) -> object:
    """Return the texts that *node* holds."""
    match node:
        case MapNode():
            return {entry.key.text: values(entry.value) for entry in node.entries}
        case ListNode():
            return [values(item) for item in node.items]
        case Scalar():
            return node.text
        case None:
            return None


def test_values_know_their_lines() -> None:
    """Keys, values and items each point at their own line."""
    node = parse_yaml("# c\na: b\n\nc:\n  - d\n  - e\n")
    assert isinstance(node, MapNode)
    assert [entry.key.line for entry in node.entries] == [2, 4]
    assert isinstance(node.entries[1].value, ListNode)
    assert [item.line for item in node.entries[1].value.items] == [5, 6]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("~", "null"), ("null", "null"), ("", "null"), ("true", "truth"), ("No", "truth"), ("12", "number"),
        ("1.5e3", "number"), ("0x1F", "number"), ("'12'", "text"), ('"true"', "text"), ("!!str 12", "text"),
        ("1.2.3", "text"), ("12:30", "text"), ("nginx:1.27", "text"), ("2024-01-01", "text"),
    ],
)  # fmt: skip
def test_plain_values_have_a_kind(text: str, kind: str) -> None:
    """A number or nothing is no target, but `12:30` is a text in YAML 1.2."""
    node = parse_yaml(f"key: {text}")
    assert isinstance(node, MapNode)
    assert isinstance(node.entries[0].value, Scalar)
    assert node.entries[0].value.kind == kind


def test_aliases_and_merges_stand_for_what_they_name() -> None:
    """Logins that are the same are written once; what an entry says itself wins."""
    text = "a: &a {user: x, word: y}\nb: *a\nc:\n  <<: *a\n  word: z\nd:\n  <<: [{user: w}, *a]\n"
    assert values(parse_yaml(text)) == {
        "a": {"user": "x", "word": "y"},
        "b": {"user": "x", "word": "y"},
        "c": {"word": "z", "user": "x"},
        "d": {"user": "w", "word": "y"},
    }


def test_a_billion_laughs_end_early() -> None:
    """Aliases of aliases are counted as what they stand for."""
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    laughs += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    with pytest.raises(DocumentError, match="more than"):
        parse_yaml(laughs)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: b\n---\nc: d\n", 2, "second document"),
        ("a:\n  b: !hunter2 c\n", 2, "tag"),
        ("a: !hunter2!x c\n", 1, "tag handle"),
        ("a: *hunter2\n", 1, "alias"),
        ("a: 1\nb: 2\na: 3\n", 3, "duplicate key 'a', first in line 1"),
        ("a: b\n? [x, y]\n: c\n", 2, "list or a map"),
        ("a: b: c\n", 1, "mapping values"),
        ('x: y\na: "hunter2\n\n', 2, "end of stream"),
        ("a:\n\tb: c\n", 2, "cannot start any token"),
        ("a: b\nc: \x01hunter2\n", 2, "control character"),
        ('a: "\\ud800"\n', 1, "surrogate"),
        ('a: b\nc: "\\UFFFFFFFF"\n', 2, "names no character"),
        ('a: b\nc: "\\U00110000"\n', 2, "names no character"),
        ("a: &x [*x]\n", 1, "alias"),
        ("a: " + "[" * (DEPTH_LIMIT + 1), 1, "levels"),
        ("<<: b\n", 1, "'<<'"),
    ],
)
def test_what_is_not_taken_is_told_with_its_line_and_unquoted(text: str, line: int, message: str) -> None:
    """A reader finds the place; a password that YAML stumbles over is not shown."""
    with pytest.raises(DocumentError, match=re.escape(message)) as error:
        parse_yaml(text)
    assert error.value.line == line
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n"])
def test_no_document_is_nothing(text: str) -> None:
    """An empty file is told apart from a broken one."""
    assert parse_yaml(text) is None


@given(st.dictionaries(st.text(max_size=20), st.text() | st.lists(st.text())))
def test_quoted_texts_come_back(value: dict[str, str | list[str]]) -> None:
    """Any text can be written in double quotes, in ASCII as JSON escapes it."""
    assert values(parse_yaml(json.dumps(value))) == value


@given(st.text() | st.text(alphabet="ab:-? \n\t[]{},#&*!|>'\"%@`\\<~U0.Yx"))
def test_any_text_is_yaml_or_malformed(text: str) -> None:
    """Nothing but `Malformed` leaves the parser."""
    failure: DocumentError | None = None
    try:
        parse_yaml(text)
    except DocumentError as error:
        failure = error
    assert failure is None or 1 <= failure.line <= len(text) + 1
