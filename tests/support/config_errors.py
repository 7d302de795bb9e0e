"""Errors of configuration files without their columns: most tables of problems check files and lines alone."""

import re

_COLUMN = re.compile(r"^(\s*(?:image-syncer: )?(?:[^ \n]*\.(?:ya?ml|json):)?\d+):\d+(?=: )", re.MULTILINE)


def without_columns(text: str) -> str:
    """Return *text*, lines that begin with `FILE:LINE:COLUMN: ` or `LINE:COLUMN: `, with `FILE:LINE: ` instead."""
    return _COLUMN.sub(r"\1", text)
