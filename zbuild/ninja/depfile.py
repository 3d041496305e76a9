"""Depfiles as gcc and clang write them: a small part of the language of makefiles.

``target: input input \\`` with backslashes that escape a space, a ``#`` or a ``:``, and ``$$`` for a
dollar. Grammar: ninja's ``src/depfile_parser.in.cc``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from zbuild.errors import ManifestError

_SPECIAL = r"\0-\x09\x0b-\x1f#$*;<>\\^`|\x7f"
"""All but the grammar's plain characters, space and newline. The class of the plain ones, up to U+10FFFF, takes
forty times as long to compile."""
_NOT_SIMPLE = re.compile(rf"[{_SPECIAL}]")
_PIECE = re.compile(
    r"((?:\\\\)*\\ )"  # 1: 2N+1 backslashes and a space: N backslashes and a space
    r"|((?:\\\\)+ )"  # 2: 2N backslashes and a space: all of them, and the end of the name
    r"|(\\+#)"  # 3: an escaped hash sign
    r"|(\\+:(?:[\0 \r\n\t]|\Z))"  # 4: a colon that ends the targets, behind a backslash of the name
    r"|(\\+:)"  # 5: an escaped colon
    r"|(\$\$)"  # 6: a dollar
    rf"|(\\+[^\0\r\n]|[^{_SPECIAL} \n]+)"  # 7: text
    r"|(\r?\n)"  # 8: the end of the rule
    r"|(\\\r?\n|(?s:.))"  # 9: the end of the name
)
_ESCAPED_SPACE, _SPACE, _ESCAPED_HASH, _COLON, _ESCAPED_COLON, _DOLLARS, _TEXT, _END_OF_RULE, _END_OF_NAME = range(
    1, 10
)
_ENDS_OF_NAME = (_SPACE, _COLON, _END_OF_RULE, _END_OF_NAME)


class Depfile(NamedTuple):
    """``targets`` and ``inputs`` as spelled, each once, in order."""

    targets: list[str]
    inputs: list[str]


def parse_depfile(data: bytes) -> Depfile:
    """
    Raises:
        ManifestError: there are names but no target, or an input is a target with inputs of its own.
    """
    text = data.decode("utf-8", "surrogateescape")
    unfolded = text.replace("\\\n", " ")
    if not _NOT_SIMPLE.search(unfolded):
        rules = [[name for name in line.split(" ") if name] for line in unfolded.split("\n")]
    else:
        rules = _split(text)
    targets: dict[str, None] = {}
    inputs: dict[str, None] = {}
    has_target = False
    for rule in rules:
        is_reading_targets = True
        is_poisoned = False
        for word in rule:
            is_input = not is_reading_targets
            name = word.removesuffix(":")
            if name != word:
                is_reading_targets = False
                has_target = True
            if not name:
                continue
            if name in inputs:
                # A target that is an input is what gcc's -MP writes: fine as long as it has no inputs.
                is_poisoned = is_poisoned or not is_input
            elif not is_input:
                targets[name] = None
            elif is_poisoned:
                raise ManifestError("inputs may not also have inputs")
            else:
                inputs[name] = None
    if not has_target and (targets or inputs):
        raise ManifestError("expected ':' in depfile")
    return Depfile(list(targets), list(inputs))


def _split(text: str) -> list[list[str]]:
    """The names of each rule, unescaped; the colon of a target is still there."""
    rules: list[list[str]] = [[]]
    name = ""
    for match in _PIECE.finditer(text):
        kind = match.lastindex or 0
        name += _unescaped(kind, match[0])
        if kind in _ENDS_OF_NAME:
            if name:
                rules[-1].append(name)
            name = ""
            if kind != _END_OF_NAME and match[0].endswith("\n"):
                rules.append([])
    if name:
        rules[-1].append(name)
    return rules


def _unescaped(kind: int, piece: str) -> str:
    """What a piece adds to the name that it is part of or ends."""
    if kind == _ESCAPED_SPACE:
        return "\\" * (len(piece) // 2 - 1) + " "
    if kind in (_ESCAPED_HASH, _ESCAPED_COLON):
        return piece[:-2] + piece[-1]
    if kind == _DOLLARS:
        return "$"
    if kind == _TEXT:
        return piece
    return piece.rstrip("\0 \r\n\t") if kind in (_SPACE, _COLON) else ""
