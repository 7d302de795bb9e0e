"""The reference page of the native file says what the models say."""

from pathlib import Path

from image_syncer.config.schema import json_schema
from native_file_page import page

_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "native-file.md"


def test_the_page_is_that_of_the_models() -> None:
    """A changed model changes the page."""
    text = _PAGE.read_text(encoding="utf-8")
    assert text == page(), "run: python tools/native_file_page.py > docs/reference/native-file.md"


def test_every_key_has_a_meaning() -> None:
    """A row per key, without an empty last cell."""
    schema = json_schema()
    keys = sum(len(one.get("properties", {})) for one in (schema, *schema["$defs"].values()))
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) == keys
    assert not [row for row in rows if row.endswith("|  |")]
