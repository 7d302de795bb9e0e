import subprocess
import sys
from pathlib import Path

_TOOL = Path(__file__).parents[2] / "tools" / "check_sizes.py"


def _run(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, _TOOL, root], capture_output=True, text=True, check=False, timeout=60)


def _write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_files_within_the_limits_pass(tmp_path: Path) -> None:
    """A file of 400 lines and a function of 50 are within the limits."""
    _write(tmp_path, "src/a.py", "def f() -> None:\n" + "    f()\n" * 49 + "\n" * 350)
    result = _run(tmp_path)
    assert (result.returncode, result.stdout) == (0, "sizes: 0 over the limits\n")


def test_a_long_file_is_reported(tmp_path: Path) -> None:
    """The message has its name, its length and the limit."""
    _write(tmp_path, "src/pkg/a.py", "\n" * 401)
    result = _run(tmp_path)
    assert result.returncode == 1
    assert "src/pkg/a.py: 401 lines, at most 400" in result.stdout


def test_a_long_function_is_reported_with_its_line(tmp_path: Path) -> None:
    """Functions inside classes and functions count too."""
    _write(tmp_path, "tools/a.py", "class A:\n    async def long(self) -> None:\n" + "        await self\n" * 50)
    result = _run(tmp_path)
    assert result.returncode == 1
    assert "tools/a.py:2: long has 51 lines, at most 50" in result.stdout


def test_docstrings_do_not_count(tmp_path: Path) -> None:
    """The limits must not discourage explanations."""
    docstring = '    """One.\n\n' + "    More.\n" * 60 + '    """\n'
    _write(tmp_path, "src/a.py", "def f() -> None:\n" + docstring + "    f()\n" * 49)
    assert _run(tmp_path).returncode == 0


def test_test_files_may_be_longer(tmp_path: Path) -> None:
    """Up to 800 lines, for tables of cases."""
    _write(tmp_path, "tests/a.py", "\n" * 800)
    _write(tmp_path, "tests/b.py", "\n" * 801)
    result = _run(tmp_path)
    assert "tests/a.py" not in result.stdout
    assert "tests/b.py: 801 lines, at most 800" in result.stdout
