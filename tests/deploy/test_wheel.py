"""The wheel: what an index shows of it, and that one line installs and runs it."""

import os
import shutil
import subprocess
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import pytest

from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import single
from support.tools import ROOT

EXTRAS: Final = frozenset(
    {"daemon", "queues", "aws", "gcp", "azure", "aliyun", "tencent", "volcengine", "pubsub", "trust", "kubernetes"}
)


@pytest.fixture(scope="module")
def uv() -> str:
    """Return the path of uv; `uv run`, which runs the tests, tells it."""
    program = os.environ.get("UV") or shutil.which("uv")
    if program is None:
        pytest.skip("uv is not installed")
    return program


@pytest.fixture(scope="module")
def wheel(uv: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run((uv, "build", "--wheel", "--quiet", "--out-dir", str(folder), str(ROOT)), check=True, timeout=120)
    [wheel] = folder.glob("*.whl")
    return wheel


def metadata(wheel: Path) -> Message:
    """Return the metadata that an index shows."""
    with ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def test_an_index_shows_what_people_look_for(wheel: Path) -> None:
    """The links of the README lead nowhere on a page of an index, unless they are absolute."""
    shown = metadata(wheel)
    assert set(shown.get_all("Provides-Extra", [])) == EXTRAS
    classifiers = set(shown.get_all("Classifier", []))
    assert {"Topic :: System :: Archiving :: Mirroring", "Programming Language :: Python :: 3.14"} <= classifiers
    assert shown["Description-Content-Type"] == "text/markdown"


def test_it_has_what_is_no_python(wheel: Path) -> None:
    """The pages, the schema of the state and the marker of types are files beside the modules."""
    with ZipFile(wheel) as archive:
        names = {name.removeprefix("image_syncer/") for name in archive.namelist()}
    package = ROOT / "src" / "image_syncer"
    wanted = {
        str(path.relative_to(package))
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in {".pyc", ".py"}
    }
    assert {"py.typed", "state/schema.sql"} <= wanted <= names
    assert any(name.endswith(".data/data/share/man/man1/image-syncer.1") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]


@pytest.mark.slow
def test_one_line_copies_an_image(uv: str, wheel: Path, tmp_path: Path) -> None:
    """`uvx --from WHEEL image-syncer copy ...` in a fresh home. The locked versions are at hand already."""
    locked = (uv, "export", "--frozen", "--no-dev", "--no-emit-project", "--no-hashes", "--quiet")
    subprocess.run((*locked, "--project", str(ROOT), "--output-file", str(tmp_path / "locked.txt")), check=True)
    with FakeRegistry.in_thread() as source, FakeRegistry.in_thread() as target:
        source.load("team/app", single("wheel"), "v1")
        line = (uv, "tool", "run", "--quiet", "--constraints", str(tmp_path / "locked.txt"), "--from", str(wheel))
        copy = ("image-syncer", "copy", f"{source.host}/team/app:v1", f"{target.host}/mirror/app")
        environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
        done = subprocess.run((*line, *copy), env=environment, capture_output=True, text=True, timeout=200, check=False)
        assert (done.returncode, target.manifest("mirror/app", "v1")) == (0, source.manifest("team/app", "v1")), done
