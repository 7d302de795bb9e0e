"""Sizes in files: `8MiB`, `10MB`, `512KiB`."""

import re
from typing import Final

_UNITS: Final = {
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_SIZE: Final = re.compile(rf"([0-9]{{1,9}}(?:\.[0-9]{{1,9}})?)({'|'.join(_UNITS)})")


def parse_size(text: object) -> int:
    """Return the bytes of a size such as `8MiB`; `ValueError` for other text."""
    found = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"expected a size with its unit ({', '.join(_UNITS)}), such as 8MiB or 10MB")
    return int(float(found[1]) * _UNITS[found[2]])


def checked_size(text: object) -> str:
    """Return *text* if it is a size; `ValueError` for other text."""
    parse_size(text)
    return str(text)
