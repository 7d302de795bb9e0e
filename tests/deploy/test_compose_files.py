"""The Compose files: each service starts a command that exists, with a configuration that is valid."""

import re
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from image_syncer.config.documents.document import parse_document
from image_syncer.config.load import load_document
from image_syncer.oci import PlatformFilter
from support.command_parameters import command_parameters
from support.tools import ROOT

FOLDER: Final = ROOT / "deploy" / "compose"


def services(name: str) -> dict[str, Any]:
    """Return the services of the file *name*."""
    reader: Any = YAML(typ="safe", pure=True)
    return reader.load(FOLDER / name)["services"]


def variables() -> dict[str, str]:
    """Return the variables that the example of the secrets names."""
    lines = (FOLDER / "secrets.env.example").read_text().splitlines()
    return {line.partition("=")[0]: "secret" for line in lines if not line.startswith("#")}


def test_each_service_starts_a_command() -> None:
    """Compose starts the database as its image says."""
    everything = [*services("compose.yaml").values(), *services("fleet.yaml").values()]
    commands = [service["command"] for service in everything if "command" in service]
    assert [command[0] for command in commands] == ["serve", "worker"]
    for command in commands:
        assert str(command_parameters(command)["config"]) == "/etc/image-syncer/mirror.yaml"


@pytest.mark.parametrize("fleet", [False, True], ids=["daemon", "fleet"])
def test_the_configuration_is_valid(fleet: bool) -> None:
    """The fleet needs the line that its file names."""
    text = (FOLDER / "mirror.yaml").read_text()
    if fleet:
        [line] = re.findall(r"^#   (state: .+)$", (FOLDER / "fleet.yaml").read_text(), re.MULTILINE)
        text += line + "\n"
    document = parse_document(text.encode(), Path("mirror.yaml"), remedy_if_empty="")
    loaded = load_document(document, "mirror.yaml", platforms=PlatformFilter(), environment=variables())
    assert loaded.server is not None
    assert len(loaded.rules) == 1


def test_the_drain_fits_into_the_grace_period() -> None:
    """The default of `server: drain:` is 30 s; a process that is killed earlier leaves its copies half done."""
    for name, service in {**services("compose.yaml"), **services("fleet.yaml")}.items():
        if name != "database":
            assert service.get("stop_grace_period", "60s") == "60s"
