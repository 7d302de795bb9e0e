"""The commands `login` and `logout`, which write docker's login file as docker does."""

# ruff: noqa: PLC0415 - modules that are slow to import are imported inside the commands

import sys

import click

from image_syncer.cli.console import PROGRAM
from image_syncer.cli.help import Command
from image_syncer.cli.options import OutputOptions, option, output_options
from image_syncer.errors import UsageError

_LONGEST_PASSWORD = 65536


@click.command(
    cls=Command,
    examples=(
        f"{PROGRAM} login registry.example.com",
        f"{PROGRAM} login -u mirror --password-stdin registry.example.com < token.txt",
    ),
)
@click.argument("registry", metavar="REGISTRY", help="Registry, such as registry.example.com or docker.io.")
@option("--username", "-u", metavar="NAME", show_default="asked", help="User name.")
@option("--password-stdin", is_flag=True, help="Read the password or token from stdin.")
@option("--insecure", is_flag=True, help="Do not verify TLS certificates; allow plain HTTP.")
@output_options
def login(registry: str, username: str | None, output: OutputOptions, *, password_stdin: bool, insecure: bool) -> int:
    """Check a login and store it where docker does."""
    from image_syncer.cli import login_store_commands

    host = login_store_commands.parse_registry(registry)
    user, password = _ask(username, password_stdin=password_stdin)
    return login_store_commands.login(host, user, password, output, insecure=insecure)


@click.command(cls=Command, examples=(f"{PROGRAM} logout registry.example.com",))
@click.argument("registry", metavar="REGISTRY", help="Registry, such as registry.example.com or docker.io.")
@output_options
def logout(registry: str, output: OutputOptions) -> int:
    """Remove a stored login."""
    from image_syncer.cli import login_store_commands

    return login_store_commands.logout(login_store_commands.parse_registry(registry), output)


def _ask(username: str | None, *, password_stdin: bool) -> tuple[str, str]:
    """Return user name and password; from the terminal what the options do not give."""
    if password_stdin:
        if not username:
            raise UsageError("--password-stdin needs a user name", remedy="add --username NAME")
        text = sys.stdin.buffer.read(_LONGEST_PASSWORD + 1).decode(errors="surrogateescape")
        if len(text) > _LONGEST_PASSWORD:
            raise UsageError(f"the password is longer than {_LONGEST_PASSWORD} characters")
        password = text.removesuffix("\n").removesuffix("\r")
    elif not sys.stdin.isatty():
        raise UsageError("the password cannot be asked for without a terminal", remedy="use --password-stdin")
    else:
        username = username or str(click.prompt("User name", err=True))
        password = str(click.prompt("Password", hide_input=True, err=True))
    if not password:
        raise UsageError("the password is empty")
    return username, password
