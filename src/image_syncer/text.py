"""Foreign text made harmless, in one place: for terminals, logs, reports, pages and databases alike."""

from typing import Final

SHOWN_LIMIT: Final = 2_000
"""Characters of a foreign text that are shown."""


def printable(text: str) -> str:
    r"""Return *text* so that it cannot steer a terminal: what is no visible character stands as `\x1b` or `\u202e`.

    That is every control and format character (the marks that turn the writing direction among them), every separator
    but the blank, and halves of characters. Line breaks are escaped too, so that nobody else's text can pretend to be
    a line of ours. Cut at 2 000 characters.
    """
    return visible(text if len(text) <= SHOWN_LIMIT else f"{text[:SHOWN_LIMIT]} ...")


def visible(text: str) -> str:
    """Return *text* made harmless as `printable` does, and whole."""
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if code <= 0xFF:  # noqa: PLR2004 - two hex digits
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - four hex digits
