"""The manual page: it is up to date, and man shows it without a complaint."""

import shutil
import subprocess
from typing import Final

import pytest

import man_page
from support.tools import ROOT

PAGE: Final = ROOT / "docs" / "image-syncer.1"


def test_the_page_is_up_to_date() -> None:
    """Otherwise: python tools/man_page.py > docs/image-syncer.1."""
    assert PAGE.read_text() == man_page.page()


def test_man_shows_the_page() -> None:
    """Every command has a section; a macro that man does not know would lose text."""
    man = shutil.which("man")
    if man is None:
        pytest.skip("man is not installed")
    done = subprocess.run(
        [man, "--warnings", "--local-file", str(PAGE)],
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "200", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"   {command} " in done.stdout for command in ("copy", "sync", "serve", "jobs list", "config convert"))
