"""Locations of the databases of a configuration, for the daemon and the command line."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from platformdirs import user_state_path

from image_syncer.config.model import Configuration, StateSettings


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
        """Return the locations for *state*: its database, else two files in its or the default directory."""
        if state.url is not None:
            return cls(state.url, state.url)
        directory = Path(state.path) if state.path is not None else user_state_path("image-syncer")
        return cls(str(directory / "state.db"), str(directory / "jobs.db"))
