"""Substitution of environment variables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.config.environment import Substitution
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


@pytest.mark.parametrize("text", ["${", "${}", "${1}", "${NAME", "${NAME:-secret}", "${ secret }"])
def test_the_error_for_broken_braces_quotes_no_value(text: str) -> None:
    """The text may be part of a password."""
    with pytest.raises(UsageError) as error:
        Substitution(ENVIRONMENT).apply(text)
    assert "secret" not in str(error.value)


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


@given(text=st.text(alphabet="${}NAMEx_1 "), bare_names=st.booleans())
def test_substitution_fails_only_for_braces(text: str, *, bare_names: bool) -> None:
    """The outcome is a text, or a `UsageError` with a remedy."""
    failure: UsageError | None = None
    try:
        Substitution(ENVIRONMENT, bare_names=bare_names).apply(text)
    except UsageError as error:
        failure = error
    assert failure is None or ("${" in text and failure.remedy)
