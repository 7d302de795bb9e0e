"""Locations of the databases of a configuration, for the daemon and the command line."""

import os
import pwd
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from platformdirs import user_state_path

from image_syncer.config.model import Configuration, StateSettings
from image_syncer.errors import UsageError


@dataclass(frozen=True, slots=True)
class DatabaseLocations:
    """Paths or URLs of the state and of the job queue. A URL may contain a password. Creates nothing."""

    state: str = field(repr=False)
    jobs: str = field(repr=False)

    @classmethod
    def of(cls, configuration: Configuration) -> Self:
        """Return the locations for *configuration*."""
        return cls.of_state(configuration.state)

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
    return user_state_path("image-syncer")


def _has_home() -> bool:
    home = os.environ.get("HOME")
    if home is not None:
        return bool(home)
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True
