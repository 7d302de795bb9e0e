"""Layouts as users write them: which part is the path, the name, the tag and the digest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.errors import InvalidReference
from image_syncer.oci import Reference, Repository
from image_syncer.oci.layout_text import is_layout

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "location", "name", "identifier"),
    [
        ("oci:images", "oci:images", "", "latest"),
        ("oci:images:v1", "oci:images", "", "v1"),
        ("oci:/srv/images:v1", "oci:/srv/images", "", "v1"),
        ("oci:./a//b/./c/:v1", "oci:a/b/c", "", "v1"),
        ("oci:.", "oci:.", "", "latest"),
        ("oci:/:v1", "oci:/", "", "v1"),
        ("oci:../images:v1", "oci:../images", "", "v1"),
        ("oci:my images@home:v1", "oci:my images@home", "", "v1"),
        ("oci:./5000/images:v1", "oci:./5000/images", "", "v1"),
        ("oci:5000:v1", "oci:./5000", "", "v1"),
        (f"oci:images@{DIGEST}", "oci:images", "", DIGEST),
        (f"oci:images:library/nginx@{DIGEST}", "oci:images", "library/nginx", DIGEST),
        ("oci:images:library/nginx", "oci:images", "library/nginx", "latest"),
        ("oci:images:nginx:v1", "oci:images", "nginx", "v1"),
        ("oci:images:docker.io/library/nginx:v1", "oci:images", "docker.io/library/nginx", "v1"),
        ("oci:images:localhost:5000/nginx:v1", "oci:images", "localhost:5000/nginx", "v1"),
        ("oci:images:localhost:5000/nginx", "oci:images", "localhost:5000/nginx", "latest"),
        ("oci-archive:/srv/image.tar:v1", "oci-archive:/srv/image.tar", "", "v1"),
        ("docker-archive:image.tar:nginx:v1", "docker-archive:image.tar", "nginx", "v1"),
    ],
)
def test_the_parts_of_a_layout_are_found(text: str, location: str, name: str, identifier: str) -> None:
    """What follows the path is a tag, a name, or both."""
    reference = Reference.parse(text)
    assert (reference.repository.registry, reference.repository.path) == (location, name)
    assert reference.identifier == identifier
    assert reference.repository.is_layout
    assert Reference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("oci:", "the path is missing"),
        ("oci::v1", "the path is missing"),
        ("oci-archive:", "the path is missing"),
        ("oci:a\nb:v1", "no line breaks"),
        ("oci:" + "a" * 5000, "at most 4096"),
        ("oci:images:-v1", "not a tag"),
        ("oci:images:a/../b:v1", "not a name"),
        ("oci:images:" + "a/" * 200 + "b:v1", "not a name"),
        ("oci:images@sha256:12", "not a digest"),
    ],
)
def test_an_invalid_layout_is_refused(text: str, message: str) -> None:
    """The error says which part is wrong."""
    with pytest.raises(InvalidReference, match=message):
        Reference.parse(text)


@pytest.mark.parametrize("text", ["oci:5000/app:v1", "oci-archive:443/a/b:v1"])
def test_a_registry_with_the_name_of_a_scheme_stays_a_registry(text: str) -> None:
    """If it has a port."""
    assert not is_layout(text)
    assert str(Reference.parse(text)) == text


@pytest.mark.parametrize("text", ["oci/app", "ocis:app", "oci-archives:1", "library/oci:v1", "docker.io/oci:v1", "oci"])
def test_other_texts_are_no_layouts(text: str) -> None:
    """Also if they begin with the same letters."""
    assert not is_layout(text)


def test_a_repository_in_a_layout_has_no_tag() -> None:
    """`Repository.parse` refuses it, as it does for registries."""
    assert str(Repository.parse("oci:images:library/nginx")) == "oci:images:library/nginx"
    for text in ("oci:images:v1", f"oci:images@{DIGEST}"):
        with pytest.raises(InvalidReference):
            Repository.parse(text)


@given(st.sampled_from(["oci:", "oci-archive:", "docker-archive:"]), st.text(max_size=40))
def test_any_text_gives_a_reference_or_one_error(scheme: str, text: str) -> None:
    """And a parsed reference can be parsed again from its own text."""
    try:
        reference = Reference.parse(scheme + text)
    except InvalidReference:
        return
    assert Reference.parse(str(reference)) == reference
