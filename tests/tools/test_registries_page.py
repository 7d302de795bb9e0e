"""The reference page of registries says what the code does."""

from pathlib import Path

from image_syncer.registry.vendor_profiles import VENDORS
from registries_page import page

_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "registries.md"


def test_the_page_is_that_of_the_profiles() -> None:
    """A changed profile changes the page."""
    text = _PAGE.read_text(encoding="utf-8")
    assert text == page(), "run: python tools/registries_page.py > docs/reference/registries.md"


def test_the_page_has_a_row_for_each_vendor() -> None:
    """With what tells it: no cell is empty."""
    rows = [line.strip("|").split("|") for line in page().splitlines() if line.startswith("| ")][1:]
    assert sorted(row[0].strip() for row in rows) == sorted(vendor.name for vendor in VENDORS)
    assert all(cell.strip() for row in rows for cell in row)
