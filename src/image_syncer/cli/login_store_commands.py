"""What `login` and `logout` do."""

import os
from pathlib import Path

from image_syncer.cli.console import say
from image_syncer.cli.log import command_log
from image_syncer.cli.options import OutputOptions
from image_syncer.cli.signals import run_unless_interrupted
from image_syncer.config.go_tool.auth_file import parse_prefix
from image_syncer.errors import UsageError
from image_syncer.oci import Repository
from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.auth.docker_config import home_directory
from image_syncer.registry.auth.login_files import docker_file
from image_syncer.registry.auth.login_store import erase_login, store_login
from image_syncer.registry.registries import Registries
from image_syncer.registry.settings import Credential, RegistryAccount


def parse_registry(text: str) -> str:
    """Return the registry *text*, normalised; `UsageError` if it is none, or has a namespace."""
    registry = parse_prefix(text.removeprefix("https://").removeprefix("http://"))
    if "/" in registry:
        raise UsageError(f"{registry}: a login is for a whole registry", remedy=registry.partition("/")[0])
    return registry


def login(registry: str, username: str, password: str, output: OutputOptions, *, insecure: bool) -> int:
    """Store the login if the registry accepts it, and say where."""
    credential = Credential(username, password)
    account = RegistryAccount(registry, credential, insecure=insecure, origin="this login")

    async def check_and_store() -> str:
        keychain = Keychain((account,), environment=os.environ, home=home_directory())
        async with Registries(keychain, environment=os.environ) as registries:
            await registries.check_login(Repository.parse(f"{registry}/login/check"))
        return await store_login(_file(), registry, credential, os.environ)

    with command_log(output, {}):
        place = run_unless_interrupted(check_and_store())
    if not output.quiet:
        say(f"logged in to {registry}; the login is in {place}")
    return 0


def logout(registry: str, output: OutputOptions) -> int:
    """Erase the login, and say whether there was one."""
    with command_log(output, {}):
        is_erased = run_unless_interrupted(erase_login(_file(), registry, os.environ))
    if not output.quiet:
        say(f"logged out of {registry}" if is_erased else f"no login for {registry} in {_file()}")
    return 0


def _file() -> Path:
    return docker_file(os.environ, home_directory())
