"""Durations in files and options: `90s`, `10m`, `1h30m`."""

import re
from datetime import timedelta
from typing import Final

_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_MOST_YEARS: Final = 30
_AMOUNT: Final = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)"
_DURATION: Final = re.compile(rf"(?:{_AMOUNT})+")


def format_duration(duration: timedelta) -> str:
    """Return *duration* as `parse_duration` reads it: `1h30m`."""
    milliseconds = duration / timedelta(milliseconds=1)
    texts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, milliseconds = divmod(milliseconds, _UNITS[unit] * 1000)
        if count:
            texts.append(f"{count:.0f}{unit}")
    if milliseconds:
        texts.append(f"{milliseconds:.3f}".rstrip("0").rstrip(".") + "ms")
    return "".join(texts) or "0s"


def parse_duration(text: object) -> timedelta:
    """Return the duration of `90s`, `10m` or `1h30m`, of a year at most; `ValueError` for other text."""
    return _parse(text, 1)


def parse_long_duration(text: object) -> timedelta:
    """Return a duration as `parse_duration` does, of 30 years at most."""
    return _parse(text, _MOST_YEARS)


def _parse(text: object, most_years: int) -> timedelta:
    if isinstance(text, timedelta):
        return text
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        raise ValueError("expected a duration with its unit, such as 90s, 10m, 1h30m or 7d")
    seconds = sum(float(amount) * _UNITS[unit] for amount, unit in re.findall(_AMOUNT, text))
    if seconds > _UNITS["d"] * 366 * most_years:
        raise ValueError("longer than a year" if most_years == 1 else f"longer than {most_years} years")
    return timedelta(seconds=seconds)
