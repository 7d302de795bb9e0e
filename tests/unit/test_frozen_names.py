"""Names that users rely on stay: a rename of any of them breaks somebody's file, script, dashboard or alert."""

import json
from pathlib import Path

import pytest

from frozen_names import api_document, api_fields, frozen_names

GOLDEN: dict[str, list[str]] = json.loads((Path(__file__).parent.parent / "frozen_names.json").read_text())
NOW = {**frozen_names(), "api": api_fields(api_document())}


@pytest.mark.parametrize("kind", sorted(GOLDEN))
def test_no_name_is_lost(kind: str) -> None:
    """Each name of the last release is still there; new ones are added with `tools/frozen_names.py`."""
    assert sorted(set(GOLDEN[kind]) - set(NOW[kind])) == []


@pytest.mark.parametrize("kind", sorted(GOLDEN))
def test_a_new_name_is_frozen_as_well(kind: str) -> None:
    """What is new today is relied on tomorrow."""
    assert sorted(set(NOW[kind]) - set(GOLDEN[kind])) == []
