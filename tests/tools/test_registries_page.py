"""The reference page of registries says what the code does."""

from pathlib import Path

from image_syncer.registry.vendor_profiles import VENDORS
from registries_page import page

_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "registries.md"


def test_the_page_is_that_of_the_profiles() -> None:
    """A changed profile changes the page."""
    text = _PAGE.read_text(encoding="utf-8")
    assert text == page(), "run: python tools/registries_page.py > docs/reference/registries.md"


def test_the_tables_have_a_row_for_each_vendor() -> None:
    """Each of the three tables, with what tells the vendor and where the facts come from: no cell of those is empty."""
    rows = [line.strip("|").split("|") for line in page().splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[0].strip() != "vendor"]
    names = sorted(vendor.name for vendor in VENDORS)
    assert sorted(row[0].strip() for row in rows) == sorted(3 * names)
    assert all(cell.strip() for row in rows[: len(names)] for cell in row)


def test_no_two_vendors_have_one_name_or_host() -> None:
    """Else the first one of them would hide the other."""
    hosts = [host for vendor in VENDORS for host in vendor.hosts]
    assert len(set(hosts)) == len(hosts)
    assert len({vendor.name for vendor in VENDORS}) == len(VENDORS)
