"""The members of a thin archive: files that the archive names and does not hold.

Format: ``ar`` of GNU binutils: magic ``!<thin>``, 60-byte headers, a ``//`` member that holds the long names.
"""

from __future__ import annotations

import os
import re

from zbuild import limits

THIN_MAGIC = b"!<thin>\n"
_HEADER_BYTES = 60
_REFERENCE = re.compile(rb"/(\d+)")
"""``/12``: an offset into the long names. Some versions of ar put another ``/`` into the last column of the field."""
_SYMBOL_TABLES = (b"/", b"/SYM64/")


def thin_members(path: str) -> list[str]:
    """The paths of the members as the archive spells them, relative to its directory; [] for any other file.

    Raises:
        OSError: the file cannot be read.
    """
    members: list[str] = []
    names = b""
    with open(path, "rb") as stream:
        if stream.read(len(THIN_MAGIC)) != THIN_MAGIC:
            return []
        while len(members) < limits.ARCHIVE_MEMBERS:
            header = stream.read(_HEADER_BYTES)
            if len(header) < _HEADER_BYTES:
                break
            name = header[:16].rstrip()
            try:
                size_bytes = int(header[48:58])
            except ValueError:
                break
            if name == b"//":
                names = stream.read(size_bytes)
            elif name in _SYMBOL_TABLES:
                stream.seek(size_bytes, os.SEEK_CUR)
            else:
                members.append(_member_name(name, names))
                continue
            stream.seek(size_bytes % 2, os.SEEK_CUR)
    return [member for member in members if member]


def _member_name(name: bytes, names: bytes) -> str:
    reference = _REFERENCE.match(name)
    if reference is not None:
        start = int(reference[1])
        end = names.find(b"\n", start)
        return os.fsdecode(names[start : end if end >= 0 else len(names)].removesuffix(b"/"))
    return os.fsdecode(name.removesuffix(b"/"))
