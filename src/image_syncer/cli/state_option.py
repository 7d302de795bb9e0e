"""The option `--state`: the cache that runs share."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from image_syncer.config.locations import DatabaseLocations, StateSettings
from image_syncer.errors import UsageError
from image_syncer.state.revisions import APPLICATION_ID

# SQLite stores the id of an application in its file header.
_ID_BYTES: Final = slice(68, 72)


def state_location(given: str | None, settings: StateSettings) -> str | None:
    """Return the file or URL of the state: *given*, else the location of *settings*; None for `none`.

    `UsageError` if *given* can be no state. Without a home directory there is no default state. A damaged state
    passes: a run without it only makes more requests.
    """
    if given is None:
        try:
            return DatabaseLocations.of_state(settings).state
        except UsageError:  # Without a home directory runs share no state, which only costs requests.
            return None
    if given == "none":
        return None
    path = _state_file(given)
    if path is None:
        return given
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113 - False in an unreadable directory
        raise UsageError(f"--state {given}: not a file", remedy="name the file, such as state.db, or none")
    return str(path)


def _state_file(given: str) -> Path | None:
    """Return the file that *given* names, None for the URL of a database server."""
    try:
        path = Path(given).expanduser()
    except RuntimeError as error:
        raise UsageError(f"--state {given}: unknown home directory", remedy="write the whole path") from error
    ordinary = bool(given) and not any(sign in given for sign in "?:\0")
    if ordinary and (not os.path.isfile(path) or _has_our_id(path)):  # noqa: PTH113 - as above
        return path
    # Only a doubtful value needs the full check, which is slow to import.
    from image_syncer.state import SqliteFile, parse_database_url, refuse_foreign  # noqa: PLC0415

    place = parse_database_url(given)
    if not isinstance(place, SqliteFile):
        return None
    refuse_foreign(place)
    return place.path


def _has_our_id(path: Path) -> bool:
    """Whether the header of *path* has the application id of a state."""
    with suppress(OSError), path.open("rb") as file:
        return int.from_bytes(file.read(_ID_BYTES.stop)[_ID_BYTES], "big") == APPLICATION_ID
    return False
