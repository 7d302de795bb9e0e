"""Lists of images as text: one reference a line, `#` begins a comment."""

import re
from typing import Final

from image_syncer.errors import Refused
from image_syncer.image_sources.image_collector import ImageCollector

LINES_LIMIT: Final = 200_000
_COMMENT: Final = re.compile(r"(?:^|\s)#.*")


def collect_list(text: str, name: str, collector: ImageCollector) -> None:
    """Add the images of the lines of *text*, the content of the file *name*; `Refused` for too many lines."""
    lines = text.splitlines()
    if len(lines) > LINES_LIMIT:
        raise Refused(f"{name}: more than {LINES_LIMIT} lines", remedy="split the list")
    for number, line in enumerate(lines, 1):
        reference = _COMMENT.sub("", line).strip()
        if reference:
            collector.add(reference, f"{name}:{number}")
