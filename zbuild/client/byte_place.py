"""What stands at an offset of a file, as far as its format says so: an archive's member, an ELF file's section.

The formats are those of ar(5) and elf(5). Bytes that are not well-formed have no places: the files of a comparison
were made by an arbitrary command.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_ARCHIVE_MAGIC = b"!<arch>\n"
_MEMBER_HEADER_BYTES = 60
_ELF_MAGIC = b"\x7fELF\x02\x01"
"""64 bits, little-endian: all that zbuild's workers are."""

_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
_NO_BITS = 8
"""SHT_NOBITS: a section that takes no room in the file."""


def place_of(data: bytes | memoryview, offset: int) -> str:
    """``member c1.o, section .debug_info``; empty where the format is another, or tells nothing.

    Args:
        offset: within ``data``.
    """
    view = memoryview(data)
    if bytes(view[: len(_ARCHIVE_MAGIC)]) == _ARCHIVE_MAGIC:
        for name, start, end in _members(view):
            if start - _MEMBER_HEADER_BYTES <= offset < start:
                return f"header of member {name}"
            if start <= offset < end:
                inner = place_of(view[start:end], offset - start)
                return f"member {name}, {inner}" if inner else f"member {name}"
        return ""
    if bytes(view[: len(_ELF_MAGIC)]) == _ELF_MAGIC:
        return next((f"section {name}" for name, start, end in _sections(view) if start <= offset < end), "")
    return ""


def _members(view: memoryview) -> Iterator[tuple[str, int, int]]:
    """(name, start, end) of each member's content."""
    position = len(_ARCHIVE_MAGIC)
    long_names = b""
    while position + _MEMBER_HEADER_BYTES <= len(view):
        header = bytes(view[position : position + _MEMBER_HEADER_BYTES])
        name, size = header[:16].rstrip(b" "), header[48:58].strip()
        if not size.isdigit():
            return
        start = position + _MEMBER_HEADER_BYTES
        end = start + int(size)
        if name == b"//":
            long_names = bytes(view[start:end])
        elif name[:1] == b"/" and name[1:].isdigit():
            name = long_names[int(name[1:]) :].partition(b"\n")[0]
        shown = {b"/": "(symbol table)", b"//": "(long names)"}.get(name) or name.rstrip(b"/").decode(errors="replace")
        yield shown, start, end
        position = end + end % 2


def _sections(view: memoryview) -> Iterator[tuple[str, int, int]]:
    """(name, start, end) of each section's content in the file."""
    try:
        (table,) = struct.unpack_from("<Q", view, 0x28)
        entry_bytes, count, names_index = struct.unpack_from("<HHH", view, 0x3A)
        if entry_bytes != _SECTION_HEADER.size:
            return
        headers = [_SECTION_HEADER.unpack_from(view, table + number * entry_bytes) for number in range(count)]
        names = bytes(view[headers[names_index][4] :][: headers[names_index][5]])
    except (struct.error, IndexError):
        return
    for name, kind, _, _, start, size_bytes, *_ in headers:
        if kind != _NO_BITS:
            yield names[name:].partition(b"\0")[0].decode(errors="replace"), start, start + size_bytes
