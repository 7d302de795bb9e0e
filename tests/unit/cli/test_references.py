import pytest

from image_syncer.cli.references import parse_repository, parse_source, parse_target
from image_syncer.errors import UsageError

DIGEST = "sha256:" + "0" * 64
OTHER = "sha256:" + "1" * 64


@pytest.mark.parametrize(
    ("source", "target", "parsed"),
    [
        ("nginx:1.27", "registry.example.com/mirror/nginx", "registry.example.com/mirror/nginx:1.27"),
        ("nginx", "localhost:5000/nginx", "localhost:5000/nginx:latest"),
        (f"nginx@{DIGEST}", "localhost:5000/nginx", f"localhost:5000/nginx@{DIGEST}"),
        (f"nginx@{DIGEST}", "localhost:5000/nginx:pinned", "localhost:5000/nginx:pinned"),
        ("nginx:1.27", "localhost:5000/nginx:stable", "localhost:5000/nginx:stable"),
        ("nginx:1.27", "oci:layout", "oci:layout:1.27"),
        ("nginx:1.27", "oci:layout:stable", "oci:layout:stable"),
        ("nginx:1.27", "oci-archive:image.tar:library/nginx", "oci-archive:image.tar:library/nginx:1.27"),
        (f"nginx@{DIGEST}", "oci:layout", f"oci:layout@{DIGEST}"),
        ("oci:layout:1.27", "localhost:5000/nginx", "localhost:5000/nginx:1.27"),
        ("docker-archive:image.tar", "localhost:5000/nginx", "localhost:5000/nginx:latest"),
    ],
)
def test_a_target_without_a_tag_gets_that_of_the_source(source: str, target: str, parsed: str) -> None:
    """A tag stays a tag, a digest a digest."""
    assert str(parse_target(target, parse_source(source))) == parsed


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("nginx:1", "docker.io/library/nginx", "source and target are the same"),
        (f"nginx@{DIGEST}", f"localhost:5000/nginx@{OTHER}", "a copy has the digest of its source"),
        ("nginx:1", f"localhost:5000/nginx@{DIGEST}", "the digest of the tag 1 is not known yet"),
        ("nginx:1", "oci:", "the path is missing"),
        ("nginx:1", "docker-archive:image.tar", "a docker-archive can only be a source"),
        ("oci:/srv/images:v1", "oci:/srv//images", "source and target are the same"),
        ("nginx:1", "oci://registry.example.com/nginx", "write registry.example.com/nginx"),
        ("nginx:1", "docker://localhost:5000/nginx", "write localhost:5000/nginx"),
        ("nginx:1", "localhost:5000/Nginx", "must be lower case"),
    ],
)
def test_a_wrong_target_is_refused(source: str, target: str, message: str) -> None:
    """Each usage error names the problem or the right form."""
    with pytest.raises(UsageError) as error:
        parse_target(target, parse_source(source))
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["oci-archive:", "https://registry.example.com/app:1", ""])
def test_a_wrong_source_is_refused(text: str) -> None:
    """A layout without a path, a URL and an empty text are no references."""
    with pytest.raises(UsageError):
        parse_source(text)


def test_a_repository_has_no_tag() -> None:
    """The error for `tags nginx:1.27` shows the right form."""
    assert str(parse_repository("nginx")) == "docker.io/library/nginx"
    assert str(parse_repository("oci:layout")) == "oci:layout"
    with pytest.raises(UsageError, match="write nginx"):
        parse_repository("nginx:1.27")
