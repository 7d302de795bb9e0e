"""The directories of the development tools, and their environment."""

import os
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
TOOLS: Final = ROOT / "tools"
TOOL_PATH: Final = os.pathsep.join((str(ROOT / "tests"), str(TOOLS)))
"""PYTHONPATH of a tool: the tools share their servers with the tests."""
