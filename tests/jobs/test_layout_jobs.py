"""Copies from and to layouts as jobs: their references are stored as texts."""

from datetime import UTC, datetime

import pytest

from image_syncer.jobs.payloads import CopyRequest, stored_reference
from image_syncer.oci import Reference

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "text",
    [
        "oci:images:v1",
        "oci:/srv/images:library/nginx:v1",
        "oci:./5000/images:v1",
        f"oci-archive:image.tar@{DIGEST}",
        f"docker-archive:/srv/saved.tar:nginx@{DIGEST}",
        "harbor/app:v1",
        "oci:5000/app:v1",
    ],
)
def test_a_stored_reference_is_read_again(text: str) -> None:
    """Whether it names a layout or a registry without a dot."""
    reference = stored_reference(text)
    assert str(reference) == text
    assert reference.repository.is_layout == ("images" in text or ".tar" in text)


def test_a_copy_to_a_layout_has_the_layout_in_place_of_a_registry() -> None:
    """Limits per registry then hold for it."""
    request = CopyRequest(Reference.parse("q.io/app:v1"), Reference.parse("oci:images:v1"))
    arguments = request.to_job(datetime.now(UTC)).task_kwargs
    assert (arguments["source"], arguments["target"]) == ("q.io/app:v1", "oci:images:v1")
    assert arguments["registries"] == ["oci:images", "q.io"]
