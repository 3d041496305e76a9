"""Tokens of ninja's languages (manifest and dyndep), and errors that point at a place in them.

Grammar: ninja's ``src/lexer.in.cc``. Text is decoded with ``surrogateescape``, so that any bytes
survive; columns are counted in bytes, as ninja counts them.
"""

from __future__ import annotations

import re

from zbuild.errors import ManifestError
from zbuild.ninja.eval_string import EMPTY, EvalString

BUILD = "'build'"
COLON = "':'"
DEFAULT = "'default'"
EQUALS = "'='"
ERROR = "lexing error"
IDENTIFIER = "identifier"
INCLUDE = "'include'"
INDENT = "indent"
NEWLINE = "newline"
PIPE = "'|'"
PIPE2 = "'||'"
PIPE_AT = "'|@'"
POOL = "'pool'"
RULE = "'rule'"
SUBNINJA = "'subninja'"
END_OF_FILE = "eof"

_WORDS = {
    "build": BUILD,
    "default": DEFAULT,
    "include": INCLUDE,
    "pool": POOL,
    "rule": RULE,
    "subninja": SUBNINJA,
    "=": EQUALS,
    ":": COLON,
    "|": PIPE,
    "||": PIPE2,
    "|@": PIPE_AT,
}
_HINTS = {COLON: " ($ also escapes ':')"}

_CONTEXT_BYTES = 72
"""How much of a source line ninja shows: ``kTruncateColumn`` of ``Lexer::Error``."""

_COMMENTS = re.compile(r"(?: *#[^\0\n]*\n)+")
_TOKEN = re.compile(r"( *\r?\n)|( +)|([A-Za-z0-9_.\-]+|[=:]|\|[|@]?)|(\0)")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.\-]+")
_WHITESPACE = re.compile(r"(?: +|\$\r?\n)*")
_ESCAPES = r"|\$([A-Za-z0-9_\-]+)|\$\{([A-Za-z0-9_.\-]+)\}|\$([$ :])|(\$\r?\n *)"
_VALUE_PIECE = re.compile(r"([^$\r\n\0]+)|(\r?\n)" + _ESCAPES)
_PATH_PIECE = re.compile(r"([^$ :\r\n|\0]+)|(\r\n|[ :|\n])" + _ESCAPES)
_TEXT, _STOP, _VARIABLE, _BRACED_VARIABLE, _ESCAPED = 1, 2, 3, 4, 5


class SyntaxFault(ManifestError):
    """An error at a place in a file, worded and drawn as ninja does.

    ``line`` counts from 1, ``column`` from 0 and in bytes, as the caret is drawn.
    """

    def __init__(self, message: str, file_name: str, line: int, column: int, context: str) -> None:
        super().__init__(f"{file_name}:{line}: {message}{context}")
        self.file_name = file_name
        self.line = line
        self.column = column


def decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class Lexer:
    """A cursor over one file. ``last`` is where the token that was read last began."""

    __slots__ = ("file_name", "last", "position", "text")

    def __init__(self, file_name: str, text: str) -> None:
        self.file_name = file_name
        end = text.find("\0")
        self.text = (text if end < 0 else text[:end]) + "\0"
        self.position = 0
        self.last = 0

    def fault(self, message: str) -> SyntaxFault:
        """The error to raise about the last token."""
        line_start = self.text.rfind("\n", 0, self.last) + 1
        line_end = self.text.find("\n", line_start)
        source = encode(self.text[line_start : line_end if line_end >= 0 else len(self.text) - 1])
        column = len(encode(self.text[line_start : self.last]))
        context = ""
        if 0 < column < _CONTEXT_BYTES:
            shown = decode(source[:_CONTEXT_BYTES])
            ellipsis = "..." if len(source) >= _CONTEXT_BYTES else ""
            context = f"\n{shown}{ellipsis}\n{' ' * column}^ near here"
        line = self.text.count("\n", 0, self.last) + 1
        return SyntaxFault(message, self.file_name, line, column, context)

    def lexing_fault(self) -> SyntaxFault:
        """The error about a character that begins no token."""
        if self.text[self.last] == "\t":
            return self.fault("tabs are not allowed, use spaces")
        return self.fault("lexing error")

    def read(self) -> str:
        """The next token, comments skipped. White space behind it is skipped as well."""
        text = self.text
        comments = _COMMENTS.match(text, self.position)
        start = comments.end() if comments else self.position
        self.last = start
        match = _TOKEN.match(text, start)
        if match is None:
            self.position = _WHITESPACE.match(text, start + 1).end()  # type: ignore[union-attr]  # matches ""
            return ERROR
        end = match.end()
        kind = match.lastindex
        if kind == 1:
            self.position = end
            return NEWLINE
        if kind == 4:
            self.position = end
            return END_OF_FILE
        self.position = _WHITESPACE.match(text, end).end()  # type: ignore[union-attr]  # matches ""
        if kind == 2:
            return INDENT
        return _WORDS.get(match[0], IDENTIFIER)

    def unread(self) -> None:
        self.position = self.last

    def accept(self, token: str) -> bool:
        """Consume the next token if it is ``token``."""
        if self.read() == token:
            return True
        self.unread()
        return False

    def expect(self, token: str) -> None:
        """
        Raises:
            SyntaxFault: the next token is another one.
        """
        found = self.read()
        if found != token:
            raise self.fault(f"expected {token}, got {found}{_HINTS.get(token, '')}")

    def identifier(self) -> str | None:
        """The next identifier, keywords included, or None when something else comes next."""
        match = _IDENTIFIER.match(self.text, self.position)
        self.last = self.position
        if match is None:
            return None
        self.position = _WHITESPACE.match(self.text, match.end()).end()  # type: ignore[union-attr]  # matches ""
        return match[0]

    def binding(self) -> tuple[str, EvalString]:
        """``name = value`` up to the end of the line.

        Raises:
            SyntaxFault: something else is there.
        """
        name = self.identifier()
        if name is None:
            raise self.fault("expected variable name")
        self.expect(EQUALS)
        return name, self.value()

    def value(self) -> EvalString:
        """The text to the end of the line, which is consumed."""
        return self._pieces(_VALUE_PIECE, is_path=False)

    def path(self) -> EvalString:
        """One path, or ``EMPTY`` when no path comes next. White space behind it is skipped."""
        parts = self._pieces(_PATH_PIECE, is_path=True)
        self.position = _WHITESPACE.match(self.text, self.position).end()  # type: ignore[union-attr]  # matches ""
        return parts

    def paths(self) -> list[EvalString]:
        """All paths up to something that is not one."""
        paths = []
        while (path := self.path()) != EMPTY:
            paths.append(path)
        return paths

    def _pieces(self, pattern: re.Pattern[str], is_path: bool) -> EvalString:
        text = self.text
        position = self.position
        parts = [""]
        while True:
            match = pattern.match(text, position)
            if match is None:
                self.last = position
                raise self._piece_fault()
            kind = match.lastindex
            if kind == _STOP:
                self.last = position
                self.position = position if is_path else match.end()
                return tuple(parts)
            if kind in (_TEXT, _ESCAPED):
                parts[-1] += match[kind]
            elif kind in (_VARIABLE, _BRACED_VARIABLE):
                parts += (match[kind], "")
            position = match.end()

    def _piece_fault(self) -> SyntaxFault:
        character = self.text[self.last]
        if character == "$":
            return self.fault("bad $-escape (literal $ must be written as $$)")
        if character == "\0":
            return self.fault("unexpected EOF")
        return self.lexing_fault()
