"""Names that users rely on stay: a rename would break a file, a script, a dashboard or an alert."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from frozen_names import SCHEMA, api_document, api_fields, frozen_names
from image_syncer.config.schema import json_schema

GOLDEN: dict[str, list[str]] = json.loads((Path(__file__).parent.parent / "frozen_names.json").read_text())


@pytest.fixture(scope="module")
def now() -> Mapping[str, Collection[str]]:
    """The names of today by kind."""
    return {**frozen_names(), "api": api_fields(api_document())}


def test_the_schema_of_the_examples_is_current() -> None:
    """`python tools/frozen_names.py > tests/frozen_names.json` writes it, too."""
    assert json.loads(SCHEMA.read_text()) == json_schema()


@pytest.mark.parametrize("kind", sorted(GOLDEN))
def test_no_name_is_lost(kind: str, now: Mapping[str, Collection[str]]) -> None:
    """Each name of the last release still exists; `tools/frozen_names.py` adds new ones."""
    assert sorted(set(GOLDEN[kind]) - set(now[kind])) == []


@pytest.mark.parametrize("kind", sorted(GOLDEN))
def test_a_new_name_is_frozen_too(kind: str, now: Mapping[str, Collection[str]]) -> None:
    """From its first release on, users rely on it."""
    assert sorted(set(now[kind]) - set(GOLDEN[kind])) == []
