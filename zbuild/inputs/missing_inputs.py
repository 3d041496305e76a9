"""Which files a failed command was looking for, as its messages tell.

Each pattern is a message of a program: gcc and clang, GNU as and ld, lld, nasm, cmake, python, perl, sh, sed, ninja,
make, flex, protoc, flatc, glib-compile-resources and xsltproc.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from zbuild import limits
from zbuild.inputs.paths import absolute

_PATH = r"(?P<path>[^\s:'\"`<>|]+)"
_SPACED = r"(?P<path>[^\s:'\"`<>|](?:[^:'\"`<>|\n]*[^\s:'\"`<>|])?)"
"""A path with spaces in it, where only the punctuation around tells its ends."""
_QUOTED = r"['\"`\u2018\u201c](?P<path>[^'\"`\u2018\u2019\u201c\u201d\n]+)['\"`\u2019\u201d]"

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
"""CSI sequences of ECMA-48: gcc colours the names when it is told to."""

_PATTERNS = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        rf"fatal error: {_SPACED}: No such file or directory",
        rf"fatal error: {_QUOTED} file not found",
        rf"compiled module file is {_QUOTED}",
        rf"\berror: {_PATH}: No such file or directory",
        rf"\bno such file or directory: {_QUOTED}",
        rf"file not found: {_SPACED}$",
        rf"could not find file {_QUOTED}",
        rf"can't open {_PATH} for reading",
        rf"can't open file {_QUOTED}",
        rf"Can't open {_PATH}(?: for reading)?: No such file",
        rf"Can't open perl script {_QUOTED}",
        rf"Can't locate {_PATH} in @INC",
        rf"cannot find {_PATH}(?::|$| )",
        rf"cannot find {_SPACED}: No such file",
        rf"cannot open (?:linker script file |version script |file )?{_PATH}(?::|$)",
        rf"(?:cannot|could not|unable to) open (?:file |input file |include file |linker script )?{_QUOTED}",
        rf"[Uu]nable to open {_PATH}",
        rf"unable to load include file: {_PATH}",
        rf"(?:cannot|can't) (?:access|stat|read|load) {_QUOTED}",
        rf"FileNotFoundError: .*?: {_QUOTED}",
        rf"No such file or directory: (?:b|PosixPath\()?{_QUOTED}",
        rf"{_QUOTED}: No such file or directory",
        rf"(?:^|[\s:]){_PATH}: No such file or directory",
        rf"^[^\s:]+: (?:can't read )?{_SPACED}: No such file or directory",
        rf"^(?:[^\s:]+: )?\d+: (?:\.: |Can't open |cannot open ){_PATH}",
        rf"cannot open {_PATH}: No such file",
        rf"(?:^|: ){_PATH}: not found",
        rf"No rule to make target {_QUOTED}",
        rf"needed by {_QUOTED}",
        rf"(?:Could not find|cannot find|does not exist)[^\n]*?{_QUOTED}",
        rf"File {_QUOTED} does not exist",
        r"^\s+(?P<path>/[^:'\"\n]*[^\s:'\"])\s*$",
        rf"^{_PATH}: File not found",
        rf"can't open {_PATH}$",
        rf"[Ff]ailed to (?:locate|load external entity) {_QUOTED}",
        rf"error while loading shared libraries: {_PATH}: cannot open",
        rf"library {_PATH} not found",
        rf"{_PATH}, needed by [^,\s]+, not found",
    )
)
_MISSING = re.compile(
    rb"No such file or directory|\bfile not found|\bcannot find |\bcould not find file", re.IGNORECASE
)
_MODULE = re.compile(r"(?:ModuleNotFoundError|ImportError): No module named ['\"]([\w.]+)['\"]")
_LIBRARY = re.compile(r"(?:cannot find|unable to find library) -l(:?)([\w.+-]+)")
_CMAKE_LIST = re.compile(
    r"(?:file|include|configure_file)[^\n]*(?:failed|could not find)[^\n]*:\s*\n\s*\n?\s+(\S(?:[^\n]*\S)?)"
)


def names_full_disk(output: bytes) -> bool:
    """Whether a command gave up for want of space (ENOSPC)."""
    return b"No space left on device" in output[-limits.MISSING_OUTPUT_BYTES :]


def names_missing_file(output: bytes) -> bool:
    """Whether a compiler or a linker gave up for want of a file."""
    return _MISSING.search(output[-limits.MISSING_OUTPUT_BYTES :]) is not None


def missing_paths(output: bytes, working_directory: str, search_directories: Iterable[str]) -> list[str]:
    """Absolute paths that may have been looked for, in the order of the messages.

    ``output`` and all paths are in one spelling, the sandbox's or the user's. A relative name is looked for in
    ``working_directory`` and in each of ``search_directories``: those of -I and -L, and of the scripts and files that a
    tool is given.
    """
    directories = [working_directory, *search_directories]
    found: dict[str, None] = {}
    for name in missing_names(output):
        for directory in directories if name[:1] != "/" else ["/"]:
            path = absolute(name, directory)
            if path != directory and name not in ("", ".", ".."):
                found[path] = None
    return list(found)[: limits.MISSING_PATHS]


def missing_names(output: bytes) -> list[str]:
    """Names of files, absolute or relative to nobody knows what, in the order of the messages that complain of them."""
    text = _COLOUR.sub("", output[-limits.MISSING_OUTPUT_BYTES :].decode("utf-8", "replace"))
    names: dict[str, int] = {}
    for pattern in _PATTERNS:
        for match in pattern.finditer(text):
            names.setdefault(match["path"].rstrip(".,;)"), match.start())
    for match in _CMAKE_LIST.finditer(text):
        names.setdefault(match[1], match.start())
    for match in _LIBRARY.finditer(text):
        spelled = [match[2]] if match[1] else [f"lib{match[2]}.so", f"lib{match[2]}.a"]
        names.update(dict.fromkeys(spelled, match.start()))
    for match in _MODULE.finditer(text):
        stem = match[1].replace(".", "/")
        names.update(dict.fromkeys([f"{stem}.py", f"{stem}/__init__.py"], match.start()))
    return sorted(names, key=lambda name: names[name])
