"""Fail if a file or a function is too long to be read at once.

python tools/check_sizes.py [ROOT]
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

_FILE_LINES = {"src": 400, "tools": 400, "tests": 800}
_FUNCTION_LINES = 50


def main() -> int:
    """Return 0 if everything is within the limits; print what is not."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent
    problems = [problem for folder in _FILE_LINES for problem in _problems_below(root, folder)]
    for problem in problems:
        print(problem)
    print(f"sizes: {len(problems)} over the limits")
    return 1 if problems else 0


def _problems_below(root: Path, folder: str) -> Iterator[str]:
    for path in sorted((root / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(root)
        length = len(text.splitlines())
        if length > _FILE_LINES[folder]:
            yield f"{name}: {length} lines, at most {_FILE_LINES[folder]}"
        for node in ast.walk(ast.parse(text, filename=str(name))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _length(node) > _FUNCTION_LINES:
                yield f"{name}:{node.lineno}: {node.name} has {_length(node)} lines, at most {_FUNCTION_LINES}"


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of *function* from `def` to its end, without its docstring."""
    last = function.end_lineno or function.lineno
    docstring = function.body[0] if ast.get_docstring(function, clean=False) is not None else None
    documented = 0 if docstring is None else (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return last - function.lineno + 1 - documented


if __name__ == "__main__":
    sys.exit(main())
