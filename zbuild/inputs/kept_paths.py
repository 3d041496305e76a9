"""Words of a command whose paths become part of what it makes, and so stay the user's own.

``-DDATA_DIR="/home/u/p/data"`` ends up in the program, and so does an RPATH: with a canonical path in
their place the program would look for its data and its libraries where nothing is. The action then
has the user's path in its key, and is shared only between users of equal paths.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

_WORD = r"""(?:\\.|"(?:\\.|[^"\\])*"|'[^']*'|[^\s"'\\])*"""

_KEPT = re.compile(rf"""(?<!\S)(?:'-D[^']*'|"-D(?:\\.|[^"\\])*"|-D{_WORD}|-Wl,-rpath[,=](?P<run_path>{_WORD}))""")

_HEADER = re.compile(r"\.(?:h|hh|hpp|hxx|h\+\+|inc|inl|ipp|tcc|def)\Z", re.IGNORECASE)

_VALUE = re.compile(r"[=\s\"'\\<>]+")


def map_words(text: str, respell: Callable[[str], str]) -> str:
    """``respell`` applied to all of a command but definitions and run paths.

    A definition that names a header is no exception: ``#include MACRO`` must find it in the sandbox.
    The linker also looks for the libraries of libraries along the run path, so it gets the
    canonical one as ``-rpath-link``, which leaves no trace in its output.
    """
    mapped = respell(text)
    if mapped == text or ("-D" not in text and "-rpath" not in text):
        return mapped
    pieces: list[str] = []
    position = 0
    for match in _KEPT.finditer(text):
        word = match[0]
        there = respell(word)
        if there == word or _names_header(word):
            continue
        pieces += [respell(text[position : match.start()]), word]
        run_path = match["run_path"]
        if run_path is not None:
            pieces.append(f" -Wl,-rpath-link,{respell(run_path.rstrip(':'))}")
        position = match.end()
    pieces.append(respell(text[position:]))
    return "".join(pieces)


def _names_header(definition: str) -> bool:
    return any(_HEADER.search(value) and os.path.isfile(value) for value in _VALUE.split(definition))
