"""The words and operators of a /bin/sh command line, with quotes removed and variables expanded.

Grammar: POSIX.1-2017, Shell Command Language, sections 2.2 (quoting), 2.3 (token recognition) and 2.6 (expansions).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple


class NotAnalysable(Exception):
    """The command line has a construct whose effect on files cannot be predicted; the message names it."""


class Token(NamedTuple):
    """``operator``: of an operator, its text; of a word, ``""``.

    ``value``: the word. ``is_dynamic``: part of it is known only when it runs; then ``value`` is empty.
    ``has_glob``: it holds an unquoted ``*``, ``?`` or ``[``. ``nested``: the texts of its command substitutions.
    """

    operator: str
    value: str
    start: int
    end: int
    is_dynamic: bool = False
    has_glob: bool = False
    nested: tuple[str, ...] = ()


_BLANK = re.compile(r"(?:[ \t]|\\\n)+")
_PLAIN_WORD = re.compile(r"[^\s\"'\\$`;&|<>()*?\[#~]+(?=[ \t\n]|\Z)")
_QUOTED_WORD = re.compile(r"""(?:[^\s"'\\$`;&|<>()*?\[~]++|\\[^\n]|'[^']*'|"(?:[^"\\$`]|\\["\\])*+")++(?=[ \t\n]|\Z)""")
"""Possessive, or ``a_word_of_forty_letters;`` would be split in all 2**40 ways before it is found to be none."""
_QUOTES = re.compile(r"""\\(.)|'([^']*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)
_DOUBLE_ESCAPE = re.compile(r'\\(["\\])')
_OPERATOR = re.compile(r"[0-9]*(?:<<<|<<-?|<>|[<>]&|>>|>\||<|>)|&&|\|\||;;|&>|[;&|()\n]")
_PIECE = re.compile(r"[^\s\"'\\$`;&|<>()*?\[]+")
_SINGLE_QUOTED = re.compile(r"'([^']*)'")
_DOUBLE_PIECE = re.compile(r'[^"\\$`]+')
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
_SPECIAL_VARIABLE = re.compile(r"\$[0-9@*#?$!-]|\$\{[^}\"'`$]*\}")


def tokens(text: str, variables: Mapping[str, str]) -> Iterator[Token]:
    """Yields as it goes, so that assignments seen by the consumer expand later words.

    Raises:
        NotAnalysable: an unterminated quote, arithmetic, a here-document.
    """
    position, length = 0, len(text)
    while position < length:
        if blank := _BLANK.match(text, position):
            position = blank.end()
        elif plain := _PLAIN_WORD.match(text, position):
            yield Token("", plain[0], position, plain.end())
            position = plain.end()
        elif text[position] != "#" and (quoted := _QUOTED_WORD.match(text, position)):
            yield Token("", _QUOTES.sub(_unquoted, quoted[0]), position, quoted.end())
            position = quoted.end()
        elif operator := _OPERATOR.match(text, position):
            if "<<" in operator[0]:
                raise NotAnalysable("here-document")
            yield Token(operator[0], "", position, operator.end())
            position = operator.end()
        elif text[position] == "#":
            newline = text.find("\n", position)
            position = length if newline < 0 else newline
        else:
            word = _Word(text, position, variables)
            yield word.token()
            position = word.position


def _unquoted(match: re.Match[str]) -> str:
    escaped, single, double = match.groups()
    if double is not None:
        return _DOUBLE_ESCAPE.sub(r"\1", double)
    return escaped if single is None else single


class _Word:
    """Reads one word that has quotes, expansions or globs in it."""

    def __init__(self, text: str, position: int, variables: Mapping[str, str]) -> None:
        self.position = position
        self._start = position
        self._text = text
        self._variables = variables
        self._pieces: list[str] = []
        self._is_dynamic = False
        self._has_glob = False
        self._nested: list[str] = []

    def token(self) -> Token:
        text = self._text
        if text[self.position] == "~":
            self._is_dynamic = True
        while self.position < len(text) and text[self.position] not in " \t\n;&|<>()":
            self._read_piece(text[self.position])
        value = "" if self._is_dynamic else "".join(self._pieces)
        return Token("", value, self._start, self.position, self._is_dynamic, self._has_glob, tuple(self._nested))

    def _read_piece(self, character: str) -> None:
        text = self._text
        if piece := _PIECE.match(text, self.position):
            self._take(piece[0], piece.end())
        elif character == "'":
            quoted = _SINGLE_QUOTED.match(text, self.position)
            if quoted is None:
                raise NotAnalysable("unterminated quote")
            self._take(quoted[1], quoted.end())
        elif character == '"':
            self._read_double_quoted()
        elif character == "\\":
            escaped = text[self.position + 1 : self.position + 2]
            self._take("" if escaped == "\n" else escaped, self.position + 2)
        elif character in "*?[":
            self._has_glob = True
            self._take(character, self.position + 1)
        else:
            self._read_expansion()

    def _read_double_quoted(self) -> None:
        text = self._text
        self.position += 1
        while self.position < len(text):
            character = text[self.position]
            if character == '"':
                self.position += 1
                return
            if piece := _DOUBLE_PIECE.match(text, self.position):
                self._take(piece[0], piece.end())
            elif character == "\\":
                escaped = text[self.position + 1 : self.position + 2]
                kept = {"\n": "", '"': '"', "\\": "\\", "$": "$", "`": "`"}.get(escaped, "\\" + escaped)
                self._take(kept, self.position + 2)
            else:
                self._read_expansion()
        raise NotAnalysable("unterminated quote")

    def _read_expansion(self) -> None:
        text, position = self._text, self.position
        if text[position] == "`":
            end = text.find("`", position + 1)
            if end < 0:
                raise NotAnalysable("unterminated quote")
            self._nest(text[position + 1 : end].replace("\\`", "`"), end + 1)
        elif text.startswith("$((", position):
            raise NotAnalysable("arithmetic expansion")
        elif text.startswith("$(", position):
            end = _closing_parenthesis(text, position + 2)
            self._nest(text[position + 2 : end], end + 1)
        elif variable := _VARIABLE.match(text, position):
            self._take(self._variables.get(variable[1] or variable[2], ""), variable.end())
        elif special := _SPECIAL_VARIABLE.match(text, position):
            self._is_dynamic = True
            self.position = special.end()
        elif text.startswith("${", position):
            raise NotAnalysable("parameter expansion")
        else:
            self._take("$", position + 1)

    def _nest(self, text: str, position: int) -> None:
        self._nested.append(text)
        self._is_dynamic = True
        self.position = position

    def _take(self, value: str, position: int) -> None:
        self._pieces.append(value)
        self.position = position


def _closing_parenthesis(text: str, position: int) -> int:
    depth = 1
    quote = ""
    while position < len(text):
        character = text[position]
        if character == "\\" and quote != "'":
            position += 1
        elif quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    raise NotAnalysable("unterminated command substitution")
