"""The compiled modules that a C++ source has gcc read and write, which no flag and no depfile names.

Without a module mapper gcc keeps them below its working directory, by module: GCC 12 manual, 3.23 "C++ Modules".
"""

from __future__ import annotations

import re
from typing import NamedTuple

_DIRECTORY = "gcm.cache"

_NAME = rb"[\w.]+"
_DECLARATION = re.compile(
    rb"^[ \t]*(export[ \t]+)?module[ \t]+(" + _NAME + rb")(?:[ \t]*:[ \t]*(" + _NAME + rb"))?[^;\n]*;", re.MULTILINE
)
_IMPORT = re.compile(
    rb"^[ \t]*(?:export[ \t]+)?import\b[ \t]*(" + _NAME + rb"|:[ \t]*" + _NAME + rb")[^;\n]*;", re.MULTILINE
)


class CompiledModules(NamedTuple):
    """Paths as seen from the compiler's working directory.

    Attributes:
        written: of the module or partition that the source is the interface of; none for other sources.
        read: of what it imports itself. What these import in turn is found from the compiler's error.
    """

    written: tuple[str, ...]
    read: tuple[str, ...]


def compiled_modules(data: bytes) -> CompiledModules:
    """Those of one source. Imports in dead branches count, as with headers."""
    declaration = _DECLARATION.search(data)
    module, written, read = b"", [], []
    if declaration is not None:
        is_exported, module, partition = declaration.groups()
        if is_exported or partition:
            written.append(_file(module, partition))
        else:
            read.append(_file(module))
    for name in _IMPORT.findall(data):
        read.append(_file(module, name[1:].strip()) if name.startswith(b":") else _file(name))
    return CompiledModules(tuple(written), tuple(dict.fromkeys(read)))


def _file(module: bytes, partition: bytes | None = None) -> str:
    name = module + b"-" + partition if partition else module
    return f"{_DIRECTORY}/{name.decode('utf-8', 'surrogateescape')}.gcm"
