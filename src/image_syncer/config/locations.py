"""Which databases a configuration means: for the daemon, and for those who look at its work from outside."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from platformdirs import user_state_path

from image_syncer.config.model import Configuration


@dataclass(frozen=True, slots=True)
class DatabaseLocations:
    """Where the state and the jobs are kept: paths, or URLs, which may hold a password. Nothing is made here."""

    state: str = field(repr=False)
    jobs: str = field(repr=False)

    @classmethod
    def of(cls, configuration: Configuration) -> Self:
        """Return the places of *configuration*: its database, else two files in its directory or the usual one."""
        where = configuration.state
        if where.url is not None:
            return cls(where.url, where.url)
        directory = Path(where.path) if where.path is not None else user_state_path("image-syncer")
        return cls(str(directory / "state.db"), str(directory / "jobs.db"))
