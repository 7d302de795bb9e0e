"""The option `--state`: where runs tell each other what they found."""

from contextlib import suppress
from pathlib import Path
from typing import Final

from image_syncer.config.locations import DatabaseLocations
from image_syncer.config.model import Configuration
from image_syncer.errors import UsageError

# Where SQLite keeps the id of the program, and ours (`state.migrate`): so a run that needs no history need not import
# the database to know its own file.
OUR_ID: Final = b"isSt"
_ID_AT: Final = slice(68, 72)


def wanted_state(given: str | None, configuration: Configuration) -> str | None:
    """Return the file or URL of the state: what was *given*, else the place of *configuration*; None for `none`.

    `UsageError` where what was given cannot be one. One that is damaged passes: that costs requests alone.
    """
    if given is None:
        return DatabaseLocations.of(configuration).state
    if given == "none":
        return None
    path = _file_of(given)
    if path is None:
        return given
    if path.exists() and not path.is_file():
        raise UsageError(f"--state {given}: not a file", remedy="name the file, such as state.db, or none")
    return str(path)


def _file_of(given: str) -> Path | None:
    """Return the file that *given* names, None for a database of a server."""
    try:
        plain = Path(given).expanduser()
    except RuntimeError as error:
        raise UsageError(f"--state {given}: nobody has that home directory") from error
    usual = bool(given) and not any(sign in given for sign in "?:\0")
    if usual and (not plain.is_file() or _is_ours(plain)):
        return plain
    # All that is not plainly right is looked at by those who know; to import them takes a while.
    from image_syncer.state import SqliteFile, parse_place, refuse_foreign  # noqa: PLC0415

    place = parse_place(given)
    if not isinstance(place, SqliteFile):
        return None
    refuse_foreign(place)
    return place.path


def _is_ours(path: Path) -> bool:
    """Whether *path* is a state by the id in its head."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(_ID_AT.stop)[_ID_AT] == OUR_ID
    return False
