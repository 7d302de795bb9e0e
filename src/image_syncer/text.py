"""Escapes untrusted text, for terminals, logs, reports, pages and databases alike."""

from typing import Final

SHOWN_LIMIT: Final = 2_000
"""Characters of an untrusted text that are shown."""


def printable(text: str) -> str:
    r"""Return *text* on one line, cut at 2 000 characters, with invisible characters escaped as `\x1b` or `\u202e`.

    These are all control and format characters (such as the marks that change the writing direction), all separators
    but the space, and unpaired surrogates. Line breaks are escaped too: untrusted text cannot steer a terminal, and
    cannot fake a line of our output.
    """
    return visible(text if len(text) <= SHOWN_LIMIT else f"{text[:SHOWN_LIMIT]} ...")


def visible(text: str) -> str:
    """Return *text* escaped as in `printable`, at its full length."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if code <= 0xFF:  # noqa: PLR2004 - two hex digits
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - four hex digits
