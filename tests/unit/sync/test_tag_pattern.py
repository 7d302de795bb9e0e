"""Regular expressions on tags: Go's syntax, in linear time."""

import subprocess
import sys
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.errors import InvalidReference, UsageError
from image_syncer.oci import PlatformFilter, Repository
from image_syncer.sync.pattern import SourcePattern, TagGlob
from image_syncer.sync.rule import Rule, TagFilter, Triggers
from image_syncer.sync.tag_pattern import TagPattern

CATASTROPHIC = r"^([0-9]+\.?)+$"
LONG_TAG = "1" * 126 + "x"


@pytest.mark.parametrize(
    ("pattern", "tag", "matches"),
    [
        (r"^v\d+$", "v12", True),
        (r"v(?i)RC", "vrc", True),
        (r"v(?i:RC)1", "vRc1", True),
        (r"1\z", "1.1", True),
        (r"\p{L}\d", "v1", True),
        (r"\pN{3}", "1.23", False),
        (r"[[:^alpha:]]", "abc", False),
        (r"[[x]", "[", True),
        (r"^(?P<major>\d+)\.", "1.2", True),
        (r"\Q1.2\E", "1x2", False),
        (r"\x{31}\.", "1.", True),
        (r"(?U)a+", "aa", True),
        (r"[{,3}]", "3", True),
        (r"a\{,3}", "a{,3}", True),
        ("a{0,3}$", "b", True),
    ],
)
def test_the_syntax_is_that_of_go(pattern: str, tag: str, *, matches: bool) -> None:
    r"""Flags anywhere, `\z`, Unicode classes and quoting work as in the Go tool."""
    assert TagPattern.parse(pattern).matches(tag) is matches


@pytest.mark.parametrize(
    ("pattern", "tag", "matches"),
    [
        (r"^1\Z", "1", True),
        (r"^1\Z", "12", False),
        (r"^(1|2\Z)", "2", True),
        (r"a\\Z", r"a\Z", True),
        (r"\Q\Z\E", r"\Z", True),
        (r"\Q\Z", r"\Z", True),
        (r"[a\]]\Z", "x]", True),
    ],
)
def test_the_end_of_text_may_be_written_as_in_python(pattern: str, tag: str, *, matches: bool) -> None:
    r"""`\Z`, which earlier versions documented, is Go's `\z`; an escaped or quoted one stays."""
    assert TagPattern.parse(pattern).matches(tag) is matches


@pytest.mark.parametrize(
    ("pattern", "message", "remedy"),
    [
        (r"^1\.(?!9)", "unsupported: lookaround", "exclude:"),
        (r"(?=v)", "unsupported: lookaround", "exclude:"),
        (r"(?<!-)rc", "unsupported: lookaround", "exclude:"),
        (r"(?<=-)rc", "unsupported: lookaround", "exclude:"),
        (r"(\d)\1", "unsupported: backreferences", "write the text again"),
        (r"\d++", "unsupported: possessive quantifiers", "leave the + out"),
        (r"\d*+", "unsupported: possessive quantifiers", "leave the + out"),
        (r"\d?+", "unsupported: possessive quantifiers", "leave the + out"),
        (r"(?>\d+)", "unsupported: atomic groups", "(?:...)"),
        ("a{,3}", "{,3} is literal text in Go's syntax", "write {0,3}"),
        ("(", "missing ): (", None),
        ("[a", "missing ]: [a", None),
        ("*", "no argument for repetition operator", None),
        ("[[:nonsense:]]", "invalid character class range", None),
        (r"\u0041", r"invalid escape sequence: \u", None),
        ("(?x) a", "invalid perl operator: (?x", None),
        ("a{1001}", "invalid repetition size", None),
        ("((a{100}){100}){100}", "invalid repetition size", None),
        ("\udc80", "a lone surrogate", None),
    ],
)
def test_other_syntax_is_refused(pattern: str, message: str, remedy: str | None) -> None:
    """The error quotes the pattern and, for what Python supports, names another way."""
    with pytest.raises(InvalidReference) as error:
        TagPattern.parse(pattern)
    assert error.value.message.startswith(f"/{pattern}/: ")
    assert message in error.value.message
    assert remedy is None or remedy in (error.value.remedy or "")


def test_no_pattern_is_slow() -> None:
    """A backtracking engine needs years for this tag."""
    started = time.process_time()
    assert not TagPattern.parse(CATASTROPHIC).matches(LONG_TAG)
    assert not TagGlob.parse("*1" * 63 + "?").matches("1" * 62 + "x")
    assert time.process_time() - started < 1


def test_a_pushed_tag_is_matched_in_linear_time() -> None:
    """The daemon matches tags of webhooks by the same rules, here one with a filter and a pattern as its source."""
    selection = TagFilter((TagPattern.parse(CATASTROPHIC),), (TagPattern.parse(r"^(a|aa)+$"),))
    source = SourcePattern.parse("q.io/" + "*a" * 60)
    rule = Rule("r", source, selection, (), PlatformFilter(), "", Triggers(events=True))
    started = time.process_time()
    assert not rule.wants(Repository.parse("q.io/" + "a" * 120), LONG_TAG)
    assert not rule.wants(Repository.parse("q.io/" + "a" * 100 + "b"), "a" * 120)
    assert time.process_time() - started < 1


def test_the_library_prints_nothing() -> None:
    """RE2 writes errors to stderr by itself unless told otherwise."""
    code = (
        "from image_syncer.sync.tag_pattern import TagPattern\ntry: TagPattern.parse('(?=a')\nexcept ValueError: pass"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_without_the_library_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no wheels for musl, where an installation may lack it."""
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(UsageError, match="google-re2, which is not installed") as error:
        TagPattern.parse("v1-without-the-library")
    assert "globs" in str(error.value)


@given(st.text(alphabet=r"a1[]()\QEZz{,}:^?*+|.-", max_size=40))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    """Whatever the file has, the outcome is a pattern or an error."""
    pattern: TagPattern | None = None
    with suppress(InvalidReference):
        pattern = TagPattern.parse(text)
    assert pattern is None or pattern.matches("a1") in {True, False}
