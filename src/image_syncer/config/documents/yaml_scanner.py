"""The parts of ruamel.yaml that we replace: tabs as in YAML 1.2, and speed for files of many thousand rules.

YAML 1.2 allows a tab as white space between tokens, but not as indentation.
"""

import re
from functools import cached_property
from typing import Any, Final, cast

from ruamel.yaml.error import FileMark
from ruamel.yaml.parser import Parser
from ruamel.yaml.reader import Reader
from ruamel.yaml.scanner import Scanner
from ruamel.yaml.tokens import ScalarToken

from image_syncer.config.documents.node import DocumentError

_LINE_END: Final = "\0\r\n\x85\u2028\u2029"
_BREAKS: Final = "\r\n\x85\u2028\u2029"
_MARKERS: Final = ("---", "...")
_BYTE_ORDER_MARK: Final = "\ufeff"
_END: Final = r"\0\r\n\x85\u2028\u2029 \t"
_BLOCK_WORD: Final = re.compile(rf"(?:[^:{_END}]|:(?![{_END}]))+")
_FLOW_WORD: Final = re.compile(rf"(?:[^:,\[\]{{}}{_END}]|:(?![{_END}]))+")
_QUOTED_WORD: Final = re.compile(rf"[^'\"\\{_END}]+")


class PositionReader(Reader):
    """Reader whose marks keep the place and not the text around it, which messages never quote."""

    def get_mark(self) -> FileMark:
        """Return the present place."""
        reader: Any = self
        return FileMark(reader.name, reader.index, reader.line, reader.column)

    def skip_word(self, word: str) -> None:
        """Move behind *word*, which is next and has no line break."""
        reader, length = cast("Any", self), len(word)
        if _BYTE_ORDER_MARK in word:  # It takes no column.
            reader.forward(length)
            return
        reader.pointer += length
        reader.index += length
        reader.column += length


class CachedParser(Parser):
    """Parser that looks its scanner up once instead of for each token."""

    @cached_property
    def scanner(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] # a property there
        """The scanner."""
        return cast("Any", super()).scanner


class TabScanner(Scanner):
    """Scanner of ruamel.yaml, which otherwise refuses each tab outside quotes and flow collections."""

    _has_token = False
    """Whether the first of the scanned tokens is complete. It stays so until the parser takes it."""

    @cached_property
    def reader(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] # a property there
        """The reader."""
        return cast("Any", super()).reader

    def check_token(self, *choices: Any) -> bool:
        """Whether the next token is of one of the types *choices*; without choices, whether there is one."""
        this: Any = self
        if not self._has_token:
            while this.need_more_tokens():
                this.fetch_more_tokens()
            self._has_token = bool(this.tokens)
        return self._has_token and (not choices or isinstance(this.tokens[0], choices))

    def get_token(self) -> Any:
        """Return the next token and take it."""
        token = cast("Any", super()).get_token() if self.check_token() else None
        self._has_token = False
        return token

    def scan_plain(self) -> Any:
        """Return a token of the plain scalar that begins here. YAML 1.2, section 7.3.3."""
        this: Any = self
        if this.scanner_processing_version == (1, 1):
            return cast("Any", super()).scan_plain()
        reader = self.reader
        word_pattern = _FLOW_WORD if self.flow_level else _BLOCK_WORD
        start = end = reader.get_mark()
        indent: int = this.indent + 1
        parts: list[str] = []
        white_space: list[str] = []
        while reader.peek() != "#":
            word = word_pattern.match(reader.buffer, reader.pointer)
            if word is None:
                break
            self.allow_simple_key = False
            parts += [*white_space, word[0]]
            reader.skip_word(word[0])
            end = reader.get_mark()
            white_space = self.scan_plain_spaces(indent, start) or []
            if not white_space or (not self.flow_level and reader.column < indent):
                break
        return ScalarToken("".join(parts), plain=True, start_mark=start, end_mark=end)

    def scan_flow_scalar_non_spaces(self, double: Any, start_mark: Any) -> Any:
        """Return the parts of a quoted scalar until white space or the end of the quotes."""
        reader = self.reader
        word = _QUOTED_WORD.match(reader.buffer, reader.pointer)
        if word is None:
            return cast("Any", super()).scan_flow_scalar_non_spaces(double, start_mark)
        reader.skip_word(word[0])
        return [word[0], *cast("Any", super()).scan_flow_scalar_non_spaces(double, start_mark)]

    def scan_to_next_token(self) -> None:
        """Skip white space, comments and line breaks. YAML 1.2, section 6.2 and 6.7."""
        reader = self.reader
        if reader.index == 0 and reader.peek() == "\ufeff":
            reader.forward()
        while True:
            self._skip_white_space()
            if reader.peek() == "#":
                while reader.peek() not in _LINE_END:
                    reader.forward()
            if reader.peek() not in _BREAKS:
                return
            self._line_break()
            if not self.flow_level:
                self.allow_simple_key = True

    def scan_plain_spaces(self, indent: Any, start_mark: Any) -> list[str] | None:
        """Return the white space inside a plain scalar, with line breaks folded; None at a document marker."""
        del start_mark
        reader = self.reader
        length = 0
        while reader.peek(length) in " \t":
            length += 1
        white_space: str = reader.prefix(length)
        reader.forward(length)
        if reader.peek() not in _BREAKS:
            return [white_space] if white_space else []
        line_break = self._line_break()
        self.allow_simple_key = True
        breaks: list[str] = []
        while not self._at_marker():
            if reader.peek() == " " or (reader.peek() == "\t" and reader.column >= indent):
                reader.forward()
            elif reader.peek() in _BREAKS:
                breaks.append(self._line_break())
            else:
                first = [] if line_break == "\n" and breaks else [" " if line_break == "\n" else line_break]
                return [*first, *breaks]
        return None

    def _line_break(self) -> str:
        return cast("str", cast("Any", self).scan_line_break())

    def _skip_white_space(self) -> None:
        reader = self.reader
        if self.flow_level:
            while reader.peek() in " \t":
                reader.forward()
            return
        while reader.peek() == " ":
            reader.forward()
        if reader.peek() != "\t":
            return
        length = 0
        while reader.peek(length) in " \t":
            length += 1
        if reader.peek(length) not in f"#{_LINE_END}":
            if reader.column == 0:
                raise DocumentError("a tab as indentation", reader.line + 1, 1, remedy="indent with spaces")
            # What follows a tab has no indentation, so it cannot begin a block collection.
            self.allow_simple_key = False
        reader.forward(length)

    def _at_marker(self) -> bool:
        reader = self.reader
        return reader.column == 0 and reader.prefix(3) in _MARKERS and reader.peek(3) in f" \t{_LINE_END}"
