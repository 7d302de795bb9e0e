"""The import contracts in pyproject.toml catch violations, cover every package, and match the documents."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from support.tools import ROOT

_PACKAGE: Final = ROOT / "src" / "image_syncer"
_LINTER: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
_CONTRACTS: Final[dict[str, dict[str, Any]]] = {contract["name"]: contract for contract in _LINTER["contracts"]}
_LAYERS: Final[list[str]] = _CONTRACTS["Layers point one way"]["layers"]
_KIT_CONTRACT: Final = "Shipped code does not use the test kit"

_VIOLATIONS: Final = [
    ("Layers point one way", "text.py", "import image_syncer.cli"),
    ("Layers point one way", "unplaced.py", "import image_syncer.text"),
    ("Planner and copier do not know each other", "sync/planner.py", "import image_syncer.sync.copier"),
    ("Only one path of the transport knows the HTTP library", "config/load.py", "import aiohttp"),
    ("Values and decisions do no I/O", "oci/digest.py", "import os"),
    (_KIT_CONTRACT, "server/api.py", "import image_syncer.testing"),
]


def _lint(package: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the import linter with the contracts of pyproject.toml on *package*."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", ROOT / "pyproject.toml"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(package.parent), "COLUMNS": "200"},
        timeout=60,
    )


@pytest.mark.parametrize(("contract", "file", "statement"), _VIOLATIONS)
def test_a_forbidden_import_breaks_its_contract(contract: str, file: str, statement: str, tmp_path: Path) -> None:
    """One import in a copy of the package breaks this contract."""
    package = tmp_path / "src" / "image_syncer"
    shutil.copytree(_PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    with (package / file).open("a") as module:
        module.write(f"\n{statement}\n")
    result = _lint(package, tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert any(line.startswith(contract) and " BROKEN" in line for line in result.stdout.splitlines()), result.stdout


def test_every_contract_is_broken_once() -> None:
    """A new contract needs a violation in this file."""
    assert {contract for contract, _, _ in _VIOLATIONS} == set(_CONTRACTS)


def test_the_contract_on_the_test_kit_covers_every_package() -> None:
    """All packages and modules of the package, except for the kit itself and the entry point."""
    found = {path.stem for path in _PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    shipped = found - {"__init__", "__main__", "testing"}
    assert set(_CONTRACTS[_KIT_CONTRACT]["source_modules"]) == {f"image_syncer.{name}" for name in shipped}


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/adr/0001-layers-and-contracts.md"])
def test_the_documents_show_the_layers(document: str) -> None:
    """The chain in the document is that of the contract."""
    assert " > ".join(_LAYERS) in (ROOT / document).read_text()
