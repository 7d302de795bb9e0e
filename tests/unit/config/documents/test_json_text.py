"""JSON with comments, and the lines in it."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.config.documents.json_text import blank_comments, parse_json
from image_syncer.config.documents.node import DEPTH_LIMIT, DocumentError, ListNode, MapNode, Node, Scalar

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def plain(node: Node | None) -> object:
    """Return *node* as plain data, as json.loads does."""
    match node:
        case MapNode():
            return {entry.key.text: plain(entry.value) for entry in node.entries}
        case ListNode():
            return [plain(item) for item in node.items]
        case Scalar(kind="text"):
            return node.text
        case Scalar(kind="number"):
            return json.loads(node.text)
        case Scalar(kind="truth"):
            return node.text == "true"
        case _:
            return None


def test_comments_and_trailing_commas_are_accepted() -> None:
    """The examples of the Go tool have `//` comments; users write the others."""
    text = '// top\n{ /* a\n b */ "x": [1, 2, /* last */ ], // end\n "url": "https://h//p/*no*/", }\n'
    assert plain(parse_json(text)) == {"x": [1, 2], "url": "https://h//p/*no*/"}


def test_every_value_has_its_line() -> None:
    """Comments, blank lines and escapes do not move lines."""
    node = parse_json('{\n// c\n"a": "\\n\\n",\n/*\n*/ "b":\n [1,\n\n 2]}')
    assert isinstance(node, MapNode)
    first, second = node.entries
    assert isinstance(second.value, ListNode)
    assert (first.key.line, first.value.line, second.key.line, second.value.line) == (3, 3, 5, 6)
    assert [item.line for item in second.value.items] == [6, 8]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('{\n"a": 1\n"b": 2}', 3, "Expecting ',' delimiter"),
        ('{\n"a": "x\n}', 2, "without end"),
        ("{\n/* open", 2, "comment without end"),
        ('{"a": 1,\n,}', 2, "property name"),
        ("[,]", 1, "Expecting value"),
        ('{"a": 1}\n{"b": 2}', 2, "Extra data"),
        ('{"a": 1,\n"a": 2}', 2, "first in line 1"),
        ('["\\ud800"]', 1, "surrogate"),
        ("[" * (DEPTH_LIMIT + 1), 1, "levels"),
        ('{"a":\n yes}', 2, "Expecting value"),
        ('{"a" \n 1}', 2, "Expecting ':' delimiter"),
        ('"a\tb"', 1, "control character"),
    ],
)
def test_errors_have_their_line(text: str, line: int, message: str) -> None:
    """The line is that of the file, with comments."""
    with pytest.raises(DocumentError, match=re.escape(message)) as error:
        parse_json(text)
    assert error.value.line == line


def test_escaped_surrogate_pairs_are_one_character() -> None:
    """JSON escapes characters beyond the first plane as two."""
    assert plain(parse_json('["\\ud83d\\ude00"]')) == ["\U0001f600"]


def test_long_keys_and_numbers_are_complete() -> None:
    """A rule may have hundreds of tags; a numeric password keeps its digits."""
    key = "repository:" + ",".join(f"v{number}" for number in range(1000))
    node = parse_json(f'{{"{key}": {"9" * 5000}}}')
    assert isinstance(node, MapNode)
    assert node.entries[0].key.text == key
    assert node.entries[0].value == Scalar("9" * 5000, "number", 1)


def test_a_file_of_comments_has_no_document() -> None:
    """An empty file is not an error of the parser."""
    assert parse_json("// nothing\n \n") is None


@given(value=JSON_VALUES, indent=st.sampled_from([None, 2, "\t"]), ascii_only=st.booleans())
def test_valid_json_is_read_as_by_the_standard_library(
    value: object, indent: int | str | None, *, ascii_only: bool
) -> None:
    """Comments and trailing commas are the only extension."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert plain(parse_json(text)) == json.loads(text)


@given(JSON_VALUES, st.text(alphabet="a/*\"\\', \t{}[]:").filter(lambda text: "*/" not in text and text[-1:] != "*"))
def test_comments_change_no_value(value: object, comment: str) -> None:
    """Comments of both kinds with any text may be at any line break."""
    text = json.dumps(value, indent=1)
    commented = text.replace("\n", f" //{comment}\n/*{comment}*/\n")
    assert plain(parse_json(commented)) == json.loads(text)


@given(st.text(alphabet='{}[]",:/*\\ \t\r\n1atrue'))
def test_blanking_keeps_the_position_of_each_character(text: str) -> None:
    """Length and line breaks stay, so the line of an error is the line of the file."""
    try:
        plain_text, lines, columns = blank_comments(text)
    except DocumentError:
        return  # The next test is about those.
    assert [(place, c) for place, c in enumerate(plain_text) if c in "\r\n"] == [
        (place, c) for place, c in enumerate(text) if c in "\r\n"
    ]
    assert len(plain_text) == len(text)
    places = list(zip(lines, columns, strict=True))
    assert places == sorted(places)


@given(st.text() | st.text(alphabet='{}[]",:/*\\ \n1truenl'))
def test_any_text_is_json_or_an_error(text: str) -> None:
    """The parser raises only `DocumentError`, with a line of the file."""
    failure: DocumentError | None = None
    try:
        parse_json(text)
    except DocumentError as error:
        failure = error
    assert failure is None or 1 <= failure.line <= text.count("\n") + 1
