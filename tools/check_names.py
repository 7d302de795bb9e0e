"""Check names and words: file stems are unique in the package, and old metaphors do not return.

`tools/check_names.py [FILE ...]` checks the given files, by default all tracked code, tests, tools and documents. It
prints one line for each finding; exit 1 with any.
"""

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
PACKAGE: Final = "src/image_syncer/"

_SHARED_STEMS: Final = frozenset({"__init__", "__main__", "errors", "blobs", "manifests"})
"""Stems that may occur in several packages: words of the specifications, and each layer's own errors."""

_HISTORY: Final = ("docs/adr/", "CHANGELOG.md", "uv.lock", "tools/check_names.py")
"""Historical documents keep their wording."""

_LEFT: Final = re.compile(
    r"\b(?:nobody(?![\"@])|whoever|anew|of ours|is told|are told|was told|were told"
    r"|stands twice|turned away|place back|for all time|people rest)\b",
    re.IGNORECASE,
)
_READ: Final = frozenset({".py", ".md", ".sh", ".html", ".js", ".css", ".toml", ".yaml", ".json", ""})


def repeated_stems(files: Sequence[str]) -> Iterator[str]:
    """Yield a line for each stem that several modules of the package share."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        path = Path(file)
        if file.startswith(PACKAGE) and path.suffix == ".py" and path.stem not in _SHARED_STEMS:
            places[path.stem].append(file)
    for stem, found in sorted(places.items()):
        if len(found) > 1:
            yield f"{found[0]}: the name {stem} is taken by {', '.join(found[1:])}: name each after what it does"


def old_words(files: Sequence[str]) -> Iterator[str]:
    """Yield a line for each metaphor in *files*."""
    for file in files:
        path = ROOT / file
        if file.startswith(_HISTORY) or path.suffix not in _READ or not path.is_file():
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            for match in _LEFT.finditer(line):
                yield f"{file}:{number}: {match[0]!r}: say it in the field's words (docs/explanation/glossary.md)"


def main(arguments: Sequence[str]) -> int:
    """Check *arguments*, or every tracked file."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=True).stdout
    files = listed.splitlines()
    findings = [*repeated_stems(files), *old_words(list(arguments) or files)]
    for finding in findings:
        print(finding)
    print(f"names: {len(findings)} findings", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
