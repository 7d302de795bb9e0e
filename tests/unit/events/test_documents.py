"""The reference of webhooks names every kind, and its examples are valid."""

import json
import re
from pathlib import Path

import pytest

from image_syncer.events import DIALECTS

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "webhooks.md").read_text(encoding="utf-8")


def anchor(heading: str) -> str:
    """Return the anchor that a heading gets."""
    return "#" + heading.lower().replace(" ", "-")


def test_every_kind_is_in_the_table() -> None:
    """Users of each registry find it."""
    assert set(re.findall(r"^\| \[`([a-z]+)`\]", PAGE, re.MULTILINE)) == set(DIALECTS)


def test_links_within_the_page_lead_to_headings() -> None:
    """Each kind in the table has a section."""
    anchors = {anchor(heading) for heading in re.findall(r"^##+ (.+)$", PAGE, re.MULTILINE)}
    assert set(re.findall(r"\]\((#[^)]+)\)", PAGE)) <= anchors


@pytest.mark.parametrize("block", re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
def test_json_examples_are_json(block: str) -> None:
    """They are pasted into other systems."""
    assert json.loads(block)
