"""Locations of the databases of a configuration, for the daemon and the command line."""

import os
import pwd
import sys
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

from image_syncer.errors import UsageError
from image_syncer.structs import Struct, field

_DIRECTORY: Final = "image-syncer"


class StateSettings(Struct):
    """Location of the state: a PostgreSQL *url*, or the directory *path*; both None for the default directory.

    *keep* is the retention of finished events and runs.
    """

    url: str | None = field(default=None, repr=False)
    path: str | None = None
    keep: timedelta = timedelta(days=30)


class DatabaseLocations(Struct):
    """Paths or URLs of the state and of the job queue. A URL may contain a password. Creates nothing."""

    state: str = field(repr=False)
    jobs: str = field(repr=False)

    @classmethod
    def of_state(cls, state: StateSettings) -> Self:
        """Return the locations for *state*: its database, else two files in its or the default directory.

        `UsageError` if there is no default directory, since the user has no home directory.
        """
        if state.url is not None:
            return cls(state.url, state.url)
        directory = Path(state.path) if state.path is not None else _default_directory()
        return cls(str(directory / "state.db"), str(directory / "jobs.db"))


def _default_directory() -> Path:
    if not os.environ.get("XDG_STATE_HOME") and not _has_home():
        raise UsageError(
            "there is no directory for the state, since HOME is not set and the user has no home directory",
            remedy="set HOME or XDG_STATE_HOME, or name the state: state.path in the file, or --state",
        )
    if sys.platform != "linux":
        from platformdirs import user_state_path  # noqa: PLC0415 - takes 5 % of the time of a short run

        return user_state_path(_DIRECTORY)
    # XDG Base Directory Specification: "All paths set in these environment variables must be absolute."
    configured = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (configured if configured.is_absolute() else Path("~/.local/state").expanduser()) / _DIRECTORY


def _has_home() -> bool:
    home = os.environ.get("HOME")
    if home is not None:
        return bool(home)
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True
