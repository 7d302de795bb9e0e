"""What a check of one registry covers, and what it finds. Values only."""

from collections.abc import Awaitable
from typing import Literal

from image_syncer.errors import StoreError
from image_syncer.oci import Repository
from image_syncer.structs import Struct

Status = Literal["ok", "note", "warning", "failed", "skipped"]
"""A *note* is a fact without a judgement; a *warning* slows copies down, or prevents some of them."""


class RegistryToCheck(Struct):
    """One registry to check: reads are tried at *source*, pushes at *target*.

    Without a *source*, reads are tried at the target, or else at the first repository that the registry lists.
    *needs_catalogue*: a rule finds its repositories in the list of repositories. *has_unknown_target*: a rule pushes
    to repositories whose names only a run knows.
    """

    registry: str
    source: Repository | None = None
    target: Repository | None = None
    needs_catalogue: bool = False
    has_unknown_target: bool = False

    @property
    def account_repository(self) -> Repository:
        """A repository that selects the login."""
        return self.source or self.target or Repository(self.registry, "image-syncer-check")


class CheckStep(Struct):
    """What one step found, in one line, and what to do about it."""

    name: str
    status: Status
    text: str
    remedy: str | None = None


class RegistryReport(Struct):
    """The steps of one check, in their order."""

    checked: RegistryToCheck
    steps: tuple[CheckStep, ...]

    @property
    def has_failed(self) -> bool:
        """Whether a step has failed, so that a run would fail too."""
        return any(step.status == "failed" for step in self.steps)


async def attempt(name: str, step: Awaitable[CheckStep], *, on_error: Status = "failed") -> CheckStep:
    """Return the result of *step*; an error of the registry is a result with the status *on_error*."""
    try:
        return await step
    except StoreError as error:
        return failed_step(name, error, on_error)


def failed_step(name: str, error: StoreError, status: Status = "failed") -> CheckStep:
    """Return *error* as the result of the step *name*."""
    return CheckStep(name, status, error.message, error.remedy)
