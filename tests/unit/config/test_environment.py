"""Variables in values."""

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
def test_both_forms_are_put_in_once(text: str, expected: str) -> None:
    """`${NAME}` and `$NAME` are replaced, an unset `$name` stays, `$$` is `$`, and values are not looked at again."""
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
def test_with_braces_only_any_other_dollar_stays(text: str, expected: str) -> None:
    """Passwords of single files that worked in the Go tool keep every bare `$`."""
    assert Substitution(ENVIRONMENT, bare_names=False).apply(text) == expected


@pytest.mark.parametrize("bare_names", [True, False])
def test_an_unset_name_in_braces_is_an_error(*, bare_names: bool) -> None:
    """A login never goes out with an empty password because a variable is missing."""
    with pytest.raises(UsageError, match="environment variable MISSING is not set"):
        Substitution({}, bare_names=bare_names).apply("x${MISSING}")


@pytest.mark.parametrize("text", ["${", "${}", "${1}", "${NAME", "${NAME:-secret}", "${ secret }"])
def test_broken_braces_are_an_error_that_quotes_nothing(text: str) -> None:
    """What stands in broken braces may be part of a password."""
    with pytest.raises(UsageError) as error:
        Substitution(ENVIRONMENT).apply(text)
    assert "secret" not in str(error.value)


def test_its_text_form_holds_no_values() -> None:
    """The environment holds secrets and is never shown."""
    assert "value" not in repr(Substitution(ENVIRONMENT))


@given(name=NAMES, value=st.text(), bare_names=st.booleans())
def test_a_value_arrives_as_it_is(name: str, value: str, *, bare_names: bool) -> None:
    """Any value, however many dollars it holds, comes out unchanged."""
    assert Substitution({name: value}, bare_names=bare_names).apply(f"<${{{name}}}>") == f"<{value}>"


@given(st.text())
def test_doubled_dollars_make_any_text_literal(text: str) -> None:
    """With every `$` doubled, a text means itself, whatever is set."""
    assert Substitution(ENVIRONMENT).apply(text.replace("$", "$$")) == text


@given(text=st.text(alphabet="${}NAMEx_1 "), bare_names=st.booleans())
def test_substitution_fails_only_for_braces(text: str, *, bare_names: bool) -> None:
    """Whatever stands in a value, the outcome is a text, or a `UsageError` that tells what to do."""
    failure: UsageError | None = None
    try:
        Substitution(ENVIRONMENT, bare_names=bare_names).apply(text)
    except UsageError as error:
        failure = error
    assert failure is None or ("${" in text and failure.remedy)
