"""Sizes, durations and counts as text; untrusted text made printable (`image_syncer.text`)."""

from typing import Final

from image_syncer.text import printable

__all__ = ["duration", "number", "printable", "rough_duration", "size", "whole_duration"]

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB")


def size(size_bytes: float) -> str:
    """Return a number of bytes in binary units: `512 B`, `12.3 MiB`."""
    if size_bytes < 1024:  # noqa: PLR2004 - the step between binary units
        return f"{size_bytes:.0f} B"
    power = 1
    while size_bytes >= 1023.95 * 1024**power and power < len(_UNITS):  # 1023.95 would be shown as 1024.0
        power += 1
    return f"{size_bytes / 1024**power:.1f} {_UNITS[power - 1]}"


def duration(seconds: float) -> str:
    """Return a duration: `2.3 s`, `4 min 05 s`, `1 h 02 min`."""
    return f"{seconds:.1f} s" if seconds < 59.95 else whole_duration(seconds)  # noqa: PLR2004 - shown as 60.0


def whole_duration(seconds: float) -> str:
    """Return a duration in whole seconds, for text that changes: `2 s`."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def rough_duration(seconds: float) -> str:
    """Return a duration in its largest unit, for a column: `12 s`, `4 min`, `3 h`, `5 d`; at least 0 s."""
    whole = max(0, int(seconds))
    for unit, length, limit in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 2 * 86400)):
        if whole < limit:
            return f"{whole // length} {unit}"
    return f"{whole // 86400} d"


def number(count: int, noun: str) -> str:
    """Return *count* with its noun: `1 image`, `7 images`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
