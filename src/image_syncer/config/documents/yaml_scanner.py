"""A YAML scanner that takes tabs where YAML 1.2 does: as white space between tokens, but not as indentation."""

from typing import Any, Final, cast

from ruamel.yaml.scanner import Scanner

from image_syncer.config.documents.node import DocumentError

_LINE_END: Final = "\0\r\n\x85\u2028\u2029"
_BREAKS: Final = "\r\n\x85\u2028\u2029"
_MARKERS: Final = ("---", "...")


class TabScanner(Scanner):
    """Scanner of ruamel.yaml, which otherwise refuses each tab outside quotes and flow collections."""

    def scan_to_next_token(self) -> None:
        """Skip white space, comments and line breaks. YAML 1.2, section 6.2 and 6.7."""
        reader = cast("Any", self.reader)
        if reader.index == 0 and reader.peek() == "\ufeff":
            reader.forward()
        while True:
            self._skip_white_space()
            if reader.peek() == "#":
                while reader.peek() not in _LINE_END:
                    reader.forward()
            if not self._line_break():
                return
            if not self.flow_level:
                self.allow_simple_key = True

    def scan_plain_spaces(self, indent: Any, start_mark: Any) -> list[str] | None:
        """Return the white space inside a plain scalar, with line breaks folded; None at a document marker."""
        del start_mark
        reader = cast("Any", self.reader)
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
        reader = cast("Any", self.reader)
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
                raise DocumentError("a tab as indentation", reader.line + 1, remedy="indent with spaces")
            # What follows a tab has no indentation, so it cannot begin a block collection.
            self.allow_simple_key = False
        reader.forward(length)

    def _at_marker(self) -> bool:
        reader = cast("Any", self.reader)
        return reader.column == 0 and reader.prefix(3) in _MARKERS and reader.peek(3) in f" \t{_LINE_END}"
