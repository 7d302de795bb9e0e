"""References: one canonical spelling each, and one clear error for an invalid text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.errors import InvalidReference
from image_syncer.oci import Digest, Reference, Repository
from image_syncer.oci.reference import split_reference

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "registry", "path"),
    [
        ("nginx", "docker.io", "library/nginx"),
        ("org/app", "docker.io", "org/app"),
        ("docker.io/nginx", "docker.io", "library/nginx"),
        ("index.docker.io/library/nginx", "docker.io", "library/nginx"),
        ("registry-1.docker.io/org/app", "docker.io", "org/app"),
        ("Quay.IO/a/b", "quay.io", "a/b"),
        ("localhost/a", "localhost", "a"),
        ("localhost:5000/a/b/c", "localhost:5000", "a/b/c"),
        ("registry:5000/a", "registry:5000", "a"),
        ("[::1]:5000/a", "[::1]:5000", "a"),
        ("[2001:db8::1]/a", "[2001:db8::1]", "a"),
        ("10.0.0.1/a__b/c.d/e-f--g", "10.0.0.1", "a__b/c.d/e-f--g"),
    ],
)
def test_a_repository_has_one_spelling(text: str, registry: str, path: str) -> None:
    """Docker Hub's short forms and aliases, ports, IPv6 hosts and localhost all become registry and path."""
    assert Repository.parse(text) == Repository(registry, path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "a//b",
        "quay.io/",
        "UPPER/case",
        "a..b",
        "-a",
        "a/-b",
        "quay.io/a b",
        "ex ample.com/a",
        "a" * 300,
        "a/\n",
    ],
)
def test_an_invalid_repository_is_refused(text: str) -> None:
    """The error quotes the text."""
    with pytest.raises(InvalidReference) as error:
        Repository.parse(text)
    assert repr(text)[1:8] in str(error.value)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
        ("localhost:5000/a:v1", "localhost:5000/a:v1"),
        ("[::1]:5000/a:v1", "[::1]:5000/a:v1"),
        (f"quay.io/a/b@sha256:{HEX}", f"quay.io/a/b@sha256:{HEX}"),
    ],
)
def test_a_reference_is_a_tag_or_a_digest(text: str, parsed: str) -> None:
    """The colon of a port does not begin a tag."""
    assert str(Reference.parse(text)) == parsed


@pytest.mark.parametrize("text", ["a:", "a:-x", "a:" + "x" * 129, "a:b c", f"a:v1@sha256:{HEX}", "a@sha256:12", "a@"])
def test_an_invalid_reference_is_refused(text: str) -> None:
    """Broken tags and digests, and a tag beside a digest, are refused."""
    with pytest.raises(InvalidReference):
        Reference.parse(text)


def test_a_missing_tag_is_an_error_without_a_default() -> None:
    """Callers decide whether `latest` is the default."""
    with pytest.raises(InvalidReference, match="missing"):
        Reference.parse("nginx", default_tag=None)


@given(st.text(max_size=80))
def test_parsing_any_text_gives_a_reference_or_one_error(text: str) -> None:
    """Only `InvalidReference` is raised, and a parsed reference can be parsed again from its own text."""
    try:
        reference = Reference.parse(text)
    except InvalidReference:
        return
    assert Reference.parse(str(reference)) == reference


@given(st.from_regex(r"[a-z0-9]+(/[a-z0-9]+){0,3}", fullmatch=True), st.from_regex(r"\w[\w.-]{0,20}", fullmatch=True))
def test_splitting_reverses_joining(name: str, tag: str) -> None:
    """A name and a tag, joined by a colon, are split again."""
    assert split_reference(f"{name}:{tag}") == (name, tag, None)


@pytest.mark.parametrize("text", [f"sha256:{HEX}", f"sha512:{HEX}{HEX}", f"sha384:{HEX}{HEX[:32]}"])
def test_digests_round_trip(text: str) -> None:
    """A parsed digest is written as it was read."""
    assert str(Digest.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "sha256:", f"sha256:{HEX.upper()}", f"sha256:{HEX}0", f"md5:{HEX[:32]}", f"../sha256:{HEX}", "sha256:../.."],
)
def test_a_digest_that_cannot_be_verified_is_refused(text: str) -> None:
    """Wrong lengths, upper case, weak algorithms and path tricks are refused before they reach a URL."""
    with pytest.raises(InvalidReference):
        Digest.parse(text)
