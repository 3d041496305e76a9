"""What one source file says about other files, whatever branch of its ``#if``s is taken.

It is a superset on purpose: directives in comments, strings and dead branches count. A file too many in an
action costs a little; one too few is a wrong result.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgpack

from zbuild import limits
from zbuild.inputs import cache_file

FORMAT = "zbuild-source-facts-2"

QUOTED = 1
"""``"name"``: the includer's directory is searched first."""
NEXT = 2
"""``#include_next``: the search goes on behind the directory the includer was found in."""
COMPUTED = 4
"""The operand is a macro's name."""
CALLED = 8
"""The operand is a macro with arguments."""
EMBEDDED = 16
"""``#embed``: the file is data and holds no directives; -I is not searched but --embed-dir is."""
ASSEMBLED = 32
"""``.include``: searched in the working directory and -I. With EMBEDDED it is ``.incbin``."""

RARE = COMPUTED | CALLED | EMBEDDED | ASSEMBLED
"""Operands that are not simply looked up along the search path."""


class SourceFacts(NamedTuple):
    """Attributes:
    includes: (operand, flags).
    defines: (macro, value) where the value is ``"file"`` or ``<file>``, delimiters included.
    time_macros: those of ``__DATE__`` and ``__TIME__`` that occur outside comments and strings. ``__TIMESTAMP__`` is
        the time of the file, which is the same for every action.
    unsure: what was seen and not understood.
    """

    includes: tuple[tuple[str, int], ...] = ()
    defines: tuple[tuple[str, str], ...] = ()
    time_macros: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()

    @property
    def has_next(self) -> bool:
        return any(flags & NEXT for _, flags in self.includes)

    @property
    def is_special(self) -> bool:
        """Whether there is more to the file than includes by relative name."""
        is_rare = any(flags & RARE or operand.startswith("/") for operand, flags in self.includes)
        return is_rare or bool(self.defines or self.time_macros or self.unsure)


_GAP = rb"(?:[ \t\v\f]|(?s:/\*.*?\*/))*"
_OPERAND = rb"(\"[^\"\n]+\"|<[^>\n]+>|[A-Za-z_]\w*(?:[ \t]*\()?)"
_INCLUDE = rb"(include_next|include|import|embed)" + _GAP + _OPERAND
_DEFINE = rb"define[ \t]+([A-Za-z_]\w*)[ \t]+(\"[^\"\s]+\"|<[^>\s]+>)"
_DIRECTIVE = re.compile(rb"#" + _GAP + rb"(?:" + _INCLUDE + rb"|" + _DEFINE + rb")")
_HAS_INCLUDE = re.compile(rb"__has_(include_next|include|embed)(?:__)?\s*\(\s*" + _OPERAND)
_SPLICE = re.compile(rb"\\\r?\n")
_ASSEMBLED = re.compile(rb"\.(include|incbin)[ \t]*(?:\\?\"([^\"\\\n]+)\\?\"|(\S))")
_TIME = re.compile(rb"\b__(?:DATE|TIME)__\b")
_COMMENTS_AND_STRINGS = re.compile(rb"//[^\n]*|/\*.*?\*/|\"(?:[^\"\\\n]|\\.)*\"", re.DOTALL)


def facts_of(data: bytes) -> SourceFacts:
    if b"\\\n" in data or b"\\\r" in data:
        data = _SPLICE.sub(b"", data)
    if b"%:" in data or b"??=" in data:
        data = data.replace(b"%:", b"#").replace(b"??=", b"#")
    includes: dict[tuple[str, int], None] = {}
    defines: dict[tuple[str, str], None] = {}
    for match in _DIRECTIVE.finditer(data):
        directive, operand, name, value = match.groups()
        if not directive:
            defines[_text(name), _text(value)] = None
        elif operand[:1] in b'"<' or _starts_line(data, match.start()):
            includes[_include(directive, operand)] = None
    if b"__has_" in data:
        for directive, operand in _HAS_INCLUDE.findall(data):
            includes[_include(directive, operand)] = None
    unsure: list[str] = []
    if b".inc" in data:
        for directive, operand, other in _ASSEMBLED.findall(data):
            if operand:
                includes[_text(operand), ASSEMBLED | (EMBEDDED if directive == b"incbin" else 0)] = None
            elif other in b'\\"%&':
                unsure.append(f".{_text(directive)} of a name put together by macros")
    time_macros: tuple[str, ...] = ()
    if _TIME.search(data):
        found = _TIME.findall(_COMMENTS_AND_STRINGS.sub(b" ", data))
        time_macros = tuple(sorted({_text(macro) for macro in found}))
    return SourceFacts(tuple(includes), tuple(defines), time_macros, tuple(dict.fromkeys(unsure)))


def _starts_line(data: bytes, position: int) -> bool:
    """Whether a directive may begin here. Prose in comments has ``#include`` followed by any word."""
    before = data[data.rfind(b"\n", 0, position) + 1 : position].strip()
    return not before or before.endswith(b"*/")


def aliases_in(data: bytes, macro: str) -> list[str]:
    """The values of ``#define macro value`` where the value is one word."""
    pattern = rb"#" + _GAP + rb"define[ \t]+" + macro.encode() + rb"[ \t]+(\"[^\"\s]+\"|<[^>\s]+>|[A-Za-z_]\w*)"
    return [_text(value) for value in re.findall(pattern, _SPLICE.sub(b"", data))]


def _include(directive: bytes, operand: bytes) -> tuple[str, int]:
    flags = NEXT if directive == b"include_next" else EMBEDDED if directive == b"embed" else 0
    if operand[:1] == b'"':
        return _text(operand[1:-1]), flags | QUOTED
    if operand[:1] == b"<":
        return _text(operand[1:-1]), flags
    if operand[-1:] == b"(":
        return _text(operand[:-1].rstrip()), flags | CALLED
    return _text(operand), flags | COMPUTED


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


class SourceFactsStore:
    """Facts by the hash of the content, on disk: a header is scanned once, whatever path or checkout it is in.

    Entries stay packed until they are asked for, so that loading does not grow with what they hold.
    """

    def __init__(self, cache_path: str | None = None) -> None:
        self._cache_path = cache_path
        self._packed: dict[bytes, bytes] = {}
        self._used: set[bytes] = set()
        self._is_changed = False
        if cache_path is not None:
            self._packed = _checked(cache_file.read(cache_path, FORMAT))

    def get(self, content_hash: bytes) -> SourceFacts | None:
        packed = self._packed.get(content_hash)
        if packed is None:
            return None
        self._used.add(content_hash)
        return SourceFacts(*msgpack.unpackb(packed, use_list=False, unicode_errors="surrogateescape"))

    def put(self, content_hash: bytes, facts: SourceFacts) -> None:
        self._packed[content_hash] = msgpack.packb(tuple(facts), unicode_errors="surrogateescape")
        self._used.add(content_hash)
        self._is_changed = True

    def save(self) -> None:
        """Raises OSError when the disk refuses."""
        if self._cache_path is None or not self._is_changed:
            return
        surplus = len(self._packed) - limits.MAX_SOURCE_FACTS
        if surplus > 0:
            unused = [key for key in self._packed if key not in self._used]
            for key in unused[:surplus]:
                del self._packed[key]
        cache_file.write(self._cache_path, FORMAT, self._packed)
        self._is_changed = False


def _checked(value: Any) -> dict[bytes, bytes]:
    is_sound = isinstance(value, dict) and all(
        type(key) is bytes and type(packed) is bytes for key, packed in value.items()
    )
    return value if is_sound else {}
