"""Substitution of environment variables."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.config.environment import FILE_LIMIT_BYTES, FileValues, Substitution
from image_syncer.errors import UsageError

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
ENVIRONMENT = {"NAME": "value", "EMPTY": "", "NESTED": "${NAME} $NAME $$"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a${NAME}b", "avalueb"),
        ("a-$NAME-b", "a-value-b"),
        ("${EMPTY}|$EMPTY", "|"),
        ("robot$unset", "robot$unset"),
        ("robot$$NAME", "robot$NAME"),
        ("$${NAME}", "${NAME}"),
        ("$$$NAME", "$value"),
        ("$NAMES", "$NAMES"),
        ("$1 $- $", "$1 $- $"),
        ("${NESTED}", "${NAME} $NAME $$"),
        ("$NESTED", "${NAME} $NAME $$"),
    ],
)
def test_both_forms_are_replaced_once(text: str, expected: str) -> None:
    """An unset `$name` stays, `$$` is `$`, and variables in values are not replaced."""
    assert Substitution(ENVIRONMENT).apply(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a${NAME}b", "avalueb"),
        ("$NAME $$ pa$$word$", "$NAME $$ pa$$word$"),
        ("$${NAME}", "${NAME}"),
        ("${NESTED}", "${NAME} $NAME $$"),
    ],
)
def test_with_braces_only_other_dollars_stay(text: str, expected: str) -> None:
    """Passwords with a bare `$` in single files of the Go tool keep working."""
    assert Substitution(ENVIRONMENT, bare_names=False).apply(text) == expected


@pytest.mark.parametrize("bare_names", [True, False])
def test_an_unset_name_in_braces_is_an_error(*, bare_names: bool) -> None:
    """A missing variable never leads to a login with an empty password."""
    with pytest.raises(UsageError, match="environment variable MISSING is not set"):
        Substitution({}, bare_names=bare_names).apply("x${MISSING}")


@pytest.mark.parametrize(
    "text", ["${", "${}", "${1}", "${NAME", "${NAME:-secret", "${NAME-secret}", "${ secret }", "${file:}"]
)
def test_the_error_for_broken_braces_quotes_no_value(text: str) -> None:
    """The text may be part of a password."""
    with pytest.raises(UsageError) as error:
        Substitution(ENVIRONMENT).apply(text)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("bare_names", [True, False])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<${NAME:-default}>", "<value>"),
        ("<${MISSING:-default}>", "<default>"),
        ("<${EMPTY:-default}>", "<default>"),
        ("<${MISSING:-}>", "<>"),
        ("<${MISSING:-${NAME}}>", "<value>"),
        ("<${MISSING:-${EMPTY:-${NAME}-x}}y>", "<value-xy>"),
        ("${MISSING:-t.io/{repository}}:{tag}", "t.io/{repository}:{tag}"),
        ("${MISSING:-a:-b:?c}", "a:-b:?c"),
        ("${MISSING:-$${NAME}}", "${NAME}"),
        ("${NAME:?must be set}", "value"),
        ("${file:-x}", "x"),
        ("${NESTED:-x}", "${NAME} $NAME $$"),
    ],
)
def test_defaults_and_required_variables(text: str, expected: str, *, bare_names: bool) -> None:
    """As in a shell, a default also replaces an empty variable; a default may have variables itself."""
    assert Substitution(ENVIRONMENT, bare_names=bare_names).apply(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${MISSING:?ask the platform team}", "the environment variable MISSING: ask the platform team"),
        ("${EMPTY:?must be set}", "the environment variable EMPTY: must be set"),
        ("${EMPTY:?}", "the environment variable EMPTY is not set or empty (set it)"),
        ("${MISSING:-${ALSO}}", "the environment variable ALSO is not set"),
        ("${MISSING:-" * 10 + "}" * 10, "variables are nested deeper than 8 levels"),
    ],
)
def test_a_required_variable_has_its_own_message(text: str, message: str) -> None:
    """`:?` refuses an empty variable, too."""
    with pytest.raises(UsageError) as error:
        Substitution(ENVIRONMENT).apply(text)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"s3cret\n", "s3cret"), (b"s3cret", "s3cret"), (b"a\nb\r\n", "a\nb"), (b"$NAME ${NAME}", "$NAME ${NAME}")],
)
def test_the_content_of_a_file_is_a_value(tmp_path: Path, content: bytes, expected: str) -> None:
    """The line break that editors add is dropped; variables in the file are text."""
    (tmp_path / "secret").write_bytes(content)
    files = FileValues(tmp_path)
    environment = {"DIRECTORY": str(tmp_path)}
    assert Substitution(environment, files=files).apply("<${file:secret}>") == f"<{expected}>"
    assert Substitution(environment).apply("${file:${DIRECTORY}/secret}") == expected
    assert Substitution(environment, files=files).apply("${MISSING:-${file:secret}}") == expected
    assert list(files.paths) == [f"{tmp_path}/secret"]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """The error names the file and never its content."""
    (tmp_path / "large").write_bytes(b"hunter2" * FILE_LIMIT_BYTES)
    files = FileValues(tmp_path)
    problems: list[str] = []
    for name in ("gone", "large", "a\0b", "."):
        with pytest.raises(UsageError) as error:
            Substitution({}, files=files).apply(f"${{file:{name}}}")
        problems.append(str(error.value))
    assert problems == [
        "the file 'gone' cannot be read: No such file or directory (check its path and mode)",
        "the file 'large' is larger than 64 KiB",
        r"the file 'a\x00b' cannot be read: not the name of a file (check its path and mode)",
        "the file '.' cannot be read: Is a directory (check its path and mode)",
    ]


def test_the_repr_hides_values() -> None:
    """The environment contains secrets."""
    assert "value" not in repr(Substitution(ENVIRONMENT))


@given(name=NAMES, value=st.text(), bare_names=st.booleans())
def test_a_value_is_not_changed(name: str, value: str, *, bare_names: bool) -> None:
    """Dollars in a value are literal."""
    assert Substitution({name: value}, bare_names=bare_names).apply(f"<${{{name}}}>") == f"<{value}>"


@given(st.text())
def test_doubled_dollars_make_any_text_literal(text: str) -> None:
    """With every `$` doubled, a text is literal."""
    assert Substitution(ENVIRONMENT).apply(text.replace("$", "$$")) == text


@given(text=st.text(alphabet="${}NAMEx_1 :-?"), bare_names=st.booleans())
def test_substitution_fails_only_for_braces(text: str, *, bare_names: bool) -> None:
    """The outcome is a text, or a `UsageError` with a remedy."""
    failure: UsageError | None = None
    try:
        Substitution(ENVIRONMENT, bare_names=bare_names).apply(text)
    except UsageError as error:
        failure = error
    assert failure is None or ("${" in text and failure.remedy)
