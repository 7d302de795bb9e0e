"""The parameters that image-syncer reads from a command line, without running the command."""

from collections.abc import Sequence
from typing import Any

from image_syncer.cli.console import PROGRAM
from image_syncer.cli.main import root


def command_parameters(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of the command that *arguments* begin with; `ClickException` for an unknown option."""
    parent = root.make_context(PROGRAM, [], resilient_parsing=True)
    name, *rest = arguments
    # Not resilient: that would ignore unknown options.
    return root.commands[name].make_context(name, rest, parent=parent).params
