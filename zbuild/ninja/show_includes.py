"""What ``cl /showIncludes`` prints among the diagnostics: ``deps = msvc``.

Rules: ninja's ``src/clparser.cc`` as built for systems other than Windows.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from zbuild.ninja.path import canonicalize

_ENGLISH_PREFIX = "Note: including file: "
_SOURCE_SUFFIXES = (".c", ".cc", ".cxx", ".cpp", ".c++")
_SYSTEM_DIRECTORIES = ("program files", "microsoft visual studio")
_LINE = re.compile(r"([^\r\n]*)(\r\n?|\n|\Z)")


class ShowIncludes(NamedTuple):
    """``includes``: canonical paths, sorted, those of the compiler itself left out.
    ``output``: the lines that are none of ours, each ended by a newline."""

    includes: list[str]
    output: str


def parse_show_includes(output: str, prefix: str) -> ShowIncludes:
    """Split a compiler's output. ``prefix``: the rule's ``msvc_deps_prefix``; empty for the English one."""
    prefix = prefix or _ENGLISH_PREFIX
    includes: set[str] = set()
    kept: list[str] = []
    has_include = False
    position = 0
    while position < len(output):
        match = _LINE.match(output, position)
        if match is None:
            break
        position = match.end()
        line = match[1]
        include = line[len(prefix) :].lstrip(" ") if line.startswith(prefix) else ""
        if include:
            has_include = True
            path = canonicalize(include)
            if not any(directory in path.lower() for directory in _SYSTEM_DIRECTORIES):
                includes.add(path)
        elif has_include or not line.lower().endswith(_SOURCE_SUFFIXES):
            # Before the first include, cl echoes the name of the source it compiles; that is dropped.
            kept.append(line + "\n")
    return ShowIncludes(sorted(includes), "".join(kept))
