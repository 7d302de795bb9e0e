"""Images of a list and their names at the targets."""

import pytest

from image_syncer.oci import Digest, Reference
from image_syncer.sync.image_lists import FoundImage, FoundImages, ImageList, InvalidImage
from image_syncer.sync.image_pairing import PairedImages, pair_images
from image_syncer.sync.image_text import has_placeholder, parse_image, parse_value_path
from image_syncer.sync.pattern import TargetTemplate
from image_syncer.sync.rule import AllTags, Rule

DIGEST = Digest.of(b"a")
LIST = ImageList("list", ("a.txt",))


def found(text: str, *, certain: bool = True) -> FoundImage:
    """Return *text* as found in line 1."""
    parsed = parse_image(text)
    return FoundImage(parsed.reference, "a.txt:1", certain, parsed.tag)


def pair(*images: FoundImage, wanted: ImageList = LIST, target: str = "t.io/{repository}") -> PairedImages:
    """Return the copies of *images* to one target."""
    rule = Rule("one", wanted, AllTags(), (TargetTemplate.parse(target),))
    return pair_images(rule, wanted, FoundImages(images))


@pytest.mark.parametrize(
    ("image", "target", "copy"),
    [
        ("nginx:1.27", "t.io/{repository}", ("docker.io/library/nginx:1.27", "t.io/library/nginx:1.27")),
        ("q.io/a/b", "t.io/{registry}/{repository}", ("q.io/a/b:latest", "t.io/q.io/a/b:latest")),
        (f"q.io/a@{DIGEST}", "t.io/{repository}", (f"q.io/a@{DIGEST}", f"t.io/a@{DIGEST}")),
        (f"q.io/a:v1@{DIGEST}", "t.io/{repository}", (f"q.io/a@{DIGEST}", "t.io/a:v1")),
        (f"q.io/a:v1@{DIGEST}", "t.io/x/{repository}:{tag}-x", (f"q.io/a@{DIGEST}", "t.io/x/a:v1-x")),
    ],
)
def test_the_digest_decides_what_is_read_and_the_tag_is_the_name(
    image: str, target: str, copy: tuple[str, str]
) -> None:
    """An image with both is read by its digest, and has its tag at the target."""
    (only,) = pair(found(image), target=target).paired.copies
    assert (str(only.source), str(only.target)) == copy


def test_uncertain_images_are_copied_on_request_only() -> None:
    """Otherwise a warning names them and where they were found."""
    images = found("a:1"), found("b:1", certain=False)
    careful = pair(*images)
    assert [str(copy.source) for copy in careful.paired.copies] == ["docker.io/library/a:1"]
    assert careful.warnings == [
        "1 image is not certain and not copied: docker.io/library/b:1 (a.txt:1) (uncertain: true copies them)"
    ]
    bold = pair(*images, wanted=ImageList("list", ("a.txt",), uncertain=True))
    assert len(bold.paired.copies) == 2
    assert not bold.warnings


def test_many_uncertain_images_are_counted() -> None:
    """The warning names 20 of them."""
    (warning,) = pair(*(found(f"a:{number}", certain=False) for number in range(50))).warnings
    assert warning.startswith("50 images are not certain and not copied: docker.io/library/a:0 (a.txt:1)")
    assert " and 30 more (" in warning


def test_an_image_that_runs_from_the_target_is_not_copied_to_itself() -> None:
    """A cluster that pulls from the mirror runs images that are there already."""
    assert not pair(found("t.io/a:1"), found(f"t.io/b:1@{DIGEST}")).paired.copies


def test_a_text_that_is_no_reference_is_a_failed_image() -> None:
    """With the place and the reason."""
    rule = Rule("one", LIST, AllTags(), (TargetTemplate.parse("t.io/{repository}"),))
    invalid = (InvalidImage("A:1", "a.txt:3", "must be lower case"), InvalidImage("b.txt", "", "b.txt: no such file"))
    failures = pair_images(rule, LIST, FoundImages(invalid=invalid)).paired.failures
    assert [(one.source, one.target, str(one.failure)) for one in failures] == [
        ("A:1", "t.io/{repository}", "source: find images: a.txt:3: must be lower case"),
        ("b.txt", "t.io/{repository}", "source: find images: b.txt: no such file"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nginx", False),
        ("a/b:1.2_x-y@sha256:00", False),
        ("a:{{ .Values.tag }}", True),
        ("a:${TAG}", True),
        ("a:$(TAG)", True),
        ("a:$TAG", True),
        ("a:<version>", True),
        ("a:%VERSION%", True),
        ("a:__TAG__", True),
    ],
)
def test_placeholders_of_common_tools_are_known(text: str, expected: bool) -> None:
    """An image with one cannot be copied."""
    assert has_placeholder(text) is expected


def test_a_tag_or_a_digest_makes_an_image_explicit() -> None:
    """`latest` by default is a guess."""
    assert parse_image("docker://a/b").reference == Reference.parse("a/b")
    assert [parse_image(text).explicit for text in ("a", "a:1", f"a@{DIGEST}")] == [False, True, True]


@pytest.mark.parametrize("text", ["", ".", "a..b", "a[0]", "a[x].b"])
def test_other_texts_are_no_paths(text: str) -> None:
    """Only keys, `*` and `[*]`."""
    with pytest.raises(ValueError, match="not a path"):
        parse_value_path(text)
