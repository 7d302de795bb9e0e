"""Builds the objects that a check of registries needs, and runs it."""

import asyncio
import os
from collections.abc import Sequence

from image_syncer.app_options import Options
from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.auth.docker_config import home_directory
from image_syncer.registry.checks.check_values import RegistryReport, RegistryToCheck
from image_syncer.registry.checks.registry_check import RegistryCheck
from image_syncer.registry.limits.retry import Clock
from image_syncer.registry.registries import Registries


async def check_registries(
    options: Options, wanted: Sequence[RegistryToCheck], *, writes: bool = False
) -> Sequence[RegistryReport]:
    """Return a report on each of *wanted*, in their order; all are checked at once, and each step once.

    *writes*: push a tag to each target and delete it again.
    """
    environment = os.environ if options.environment is None else options.environment
    home = home_directory() if options.home is None else options.home
    keychain = Keychain(options.access, environment=environment, home=home)
    clock = Clock()
    registries = Registries(
        keychain, limits=options.limits, environment=environment, policy=options.policy, clock=clock
    )
    registries.transports = options.transports
    async with registries, asyncio.TaskGroup() as group:
        checks = [RegistryCheck(one, registries, keychain, clock, writes=writes) for one in wanted]
        running = [group.create_task(check.run()) for check in checks]
    return [task.result() for task in running]
