"""YAML 1.2, bounded, with lines, and with errors that do not quote the file."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.config.documents.node import DEPTH_LIMIT, DocumentError, ListNode, MapNode, Node, Scalar
from image_syncer.config.documents.yaml_text import parse_yaml


def values(node: Node | None) -> object:
    """Return *node* as plain data."""
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
    """Keys, values and items each have their own line."""
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
    """`12:30` is a text in YAML 1.2."""
    node = parse_yaml(f"key: {text}")
    assert isinstance(node, MapNode)
    assert isinstance(node.entries[0].value, Scalar)
    assert node.entries[0].value.kind == kind


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a:\tb\nc: \td\n", {"a": "b", "c": "d"}),
        ("a\t:\tb\t# comment\n", {"a": "b"}),
        ("a:\n -\tb\n - \tc\t\n", {"a": ["b", "c"]}),
        ("a:\t'b'\nc:\t[d,\te]\nf:\t{g:\th}\n", {"a": "b", "c": ["d", "e"], "f": {"g": "h"}}),
        ("a:\t&x b\nc:\t*x\n", {"a": "b", "c": "b"}),
        ("a:\t|\n  b\n", {"a": "b\n"}),
        ("a:\t\n  b:\tc\n\t\n\t# comment\nd: e\n", {"a": {"b": "c"}, "d": "e"}),
        ("a: [\n\tb\n\t]\n", {"a": ["b"]}),
        ("a: b\tc\n", {"a": "b\tc"}),
        ("a: b\n  \tc\n\n  d\n", {"a": "b c\nd"}),
        ("?\ta\n:\tb\n", {"a": "b"}),
    ],
)
def test_tabs_separate_tokens(text: str, value: object) -> None:
    """YAML 1.2 allows tabs as white space between tokens; only indentation needs spaces."""
    assert values(parse_yaml(text)) == value


def test_aliases_and_merge_keys_are_resolved() -> None:
    """An entry of the map itself wins over a merged one."""
    text = "a: &a {user: x, word: y}\nb: *a\nc:\n  <<: *a\n  word: z\nd:\n  <<: [{user: w}, *a]\n"
    assert values(parse_yaml(text)) == {
        "a": {"user": "x", "word": "y"},
        "b": {"user": "x", "word": "y"},
        "c": {"word": "z", "user": "x"},
        "d": {"user": "w", "word": "y"},
    }


def test_nested_aliases_are_bounded() -> None:
    """An alias counts as all values of its anchor ("billion laughs")."""
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
        ("a:\n\tb: c\n", 2, "a tab as indentation (indent with spaces)"),
        ("a: b\nc: \x01hunter2\n", 2, "control character"),
        ('a: "\\ud800"\n', 1, "surrogate"),
        ('a: b\nc: "\\UFFFFFFFF"\n', 2, "names no character"),
        ('a: b\nc: "\\U00110000"\n', 2, "names no character"),
        ("a: b\n\tc\n", 2, "a tab as indentation"),
        ("a:\n  - b\n\t- c\n", 3, "a tab as indentation"),
        ("-\t- a\n", 1, "sequence entries"),
        ("-\tb: c\n", 1, "mapping values"),
        ("a: &x [*x]\n", 1, "alias"),
        ("a: " + "[" * (DEPTH_LIMIT + 1), 1, "levels"),
        ("<<: b\n", 1, "'<<'"),
    ],
)
def test_errors_have_a_line_and_quote_no_value(text: str, line: int, message: str) -> None:
    """A password at the place of an error is not shown."""
    with pytest.raises(DocumentError, match=re.escape(message)) as error:
        parse_yaml(text)
    assert error.value.line == line
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n"])
def test_an_empty_file_has_no_document(text: str) -> None:
    """None is not an error of the parser."""
    assert parse_yaml(text) is None


@given(st.dictionaries(st.text(max_size=20), st.text() | st.lists(st.text())))
def test_quoted_texts_come_back(value: dict[str, str | list[str]]) -> None:
    """Any text can be written in double quotes, escaped as in JSON."""
    assert values(parse_yaml(json.dumps(value))) == value


@given(st.text() | st.text(alphabet="ab:-? \n\t[]{},#&*!|>'\"%@`\\<~U0.Yx"))
def test_any_text_is_yaml_or_an_error(text: str) -> None:
    """The parser raises only `DocumentError`."""
    failure: DocumentError | None = None
    try:
        parse_yaml(text)
    except DocumentError as error:
        failure = error
    assert failure is None or 1 <= failure.line <= len(text) + 1
