"""The revisions of the schema, known without the libraries that migrate it."""

from typing import Final

REVISIONS: Final = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0006",
    "0007",
    "0008",
    "0009",
    "0010",
    "0011",
    "0012",
    "0013",
    "0014",
    "0015",
)
"""All revisions of the schema, oldest first."""

VERSION_TABLE: Final = "image_syncer_version"

APPLICATION_ID: Final = 0x69735374
"""SQLite's application_id of a state file."""
