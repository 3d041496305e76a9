"""What the dynamic linker would load for an ELF64 file.

Format: System V ABI, chapters 4 and 5 (``Elf64_Ehdr``, ``Elf64_Phdr``, ``Elf64_Dyn``). Search order: ld.so(8).
"""

from __future__ import annotations

import functools
import glob
import os
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from zbuild import limits
from zbuild.inputs.paths import absolute

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NEEDED, DT_STRTAB, DT_SONAME, DT_RPATH, DT_RUNPATH = 1, 5, 14, 15, 29
ET_EXEC, ET_DYN = 2, 3

DEFAULT_LIBRARY_DIRECTORIES = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")

_HEADER = struct.Struct("HHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("IIQQQQQQ")
_DYNAMIC = struct.Struct("qQ")


class ElfFile(NamedTuple):
    """``search``: RUNPATH, or RPATH where there is none, as spelled: ``$ORIGIN`` is not expanded."""

    interpreter: str
    needed: tuple[str, ...]
    search: tuple[str, ...]
    soname: str


def read_elf(path: str) -> ElfFile | None:
    """None: not an ELF64 executable or shared library of this machine's byte order, or a damaged one.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as stream:
        file_bytes = os.fstat(stream.fileno()).st_size
        head = stream.read(16 + _HEADER.size)
        if len(head) < 16 + _HEADER.size or head[:5] != b"\x7fELF\x02" or head[5] != (1 if _is_little() else 2):
            return None
        header = _HEADER.unpack_from(head, 16)
        kind, table_offset, entry_size, count = header[0], header[4], header[8], header[9]
        if kind not in (ET_EXEC, ET_DYN) or entry_size != _PROGRAM_HEADER.size:
            return None
        if table_offset > file_bytes:
            return None
        stream.seek(table_offset)
        table = stream.read(entry_size * count)
        if len(table) != entry_size * count:
            return None
        segments = [_PROGRAM_HEADER.unpack_from(table, index * entry_size) for index in range(count)]

        def read_at(offset: int, size: int) -> bytes:
            if offset > file_bytes:
                return b""
            stream.seek(offset)
            return stream.read(min(size, limits.ELF_SECTION_BYTES))

        interpreter = ""
        entries: list[tuple[int, int]] = []
        for segment in segments:
            if segment[0] == PT_INTERP:
                interpreter = _string(read_at(segment[2], segment[5]), 0)
            elif segment[0] == PT_DYNAMIC:
                data = read_at(segment[2], segment[5])
                entries = list(_DYNAMIC.iter_unpack(data[: len(data) - len(data) % _DYNAMIC.size]))
        strings = _string_table(segments, entries, read_at)
    search = _values(DT_RUNPATH, entries, strings) or _values(DT_RPATH, entries, strings)
    return ElfFile(
        interpreter,
        tuple(_values(DT_NEEDED, entries, strings)),
        tuple(directory for value in search for directory in value.split(":") if directory),
        "".join(_values(DT_SONAME, entries, strings)[:1]),
    )


def expanded_search(elf: ElfFile, path: str) -> list[str]:
    """The directories of ``elf.search`` for a file that lies at ``path``."""
    origin = os.path.dirname(path)
    spelled = [entry.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for entry in elf.search]
    return [absolute(entry, origin) for entry in spelled if "$" not in entry]


def closure(path: str, library_path: Sequence[str] = ()) -> list[str]:
    """An executable or library and all it loads at start: interpreter, NEEDED, and theirs.

    Under the paths that they are found by. ``library_path``: LD_LIBRARY_PATH.

    Raises:
        OSError: ``path`` cannot be read. A library that is not found is left out: the program would not start.
    """
    found: dict[str, None] = {}
    pending: list[tuple[str, tuple[str, ...]]] = [(path, ())]
    while pending and len(found) < limits.ELF_CLOSURE_FILES:
        current, inherited = pending.pop()
        if current in found:
            continue
        found[current] = None
        elf = read_elf(current)
        if elf is None:
            continue
        own = (*expanded_search(elf, current), *expanded_search(elf, os.path.realpath(current)), *inherited)
        if os.path.isfile(elf.interpreter):
            pending.append((elf.interpreter, own))
        for name in elf.needed:
            library = find_library(name, [*own, *library_path, *system_library_directories()])
            if library is not None:
                pending.append((library, own))
    return list(found)


def find_library(name: str, directories: list[str]) -> str | None:
    if "/" in name:
        return name if name.startswith("/") and os.path.isfile(name) else None
    for directory in directories:
        path = f"{directory}/{name}"
        if os.path.isfile(path):
            return path
    return None


@functools.cache
def system_library_directories() -> tuple[str, ...]:
    """What ldconfig was told (ld.so.conf(5)), then the defaults."""
    found: dict[str, None] = {}
    _read_configuration("/etc/ld.so.conf", found, 0)
    found.update(dict.fromkeys(DEFAULT_LIBRARY_DIRECTORIES))
    return tuple(directory for directory in found if os.path.isdir(directory))


def _read_configuration(path: str, found: dict[str, None], depth: int) -> None:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            lines = stream.read().splitlines()
    except OSError:
        return
    for line in lines:
        words = line.partition("#")[0].split()
        if words[:1] == ["include"] and depth < limits.LINKER_CONFIGURATION_NESTING:
            for pattern in words[1:]:
                for included in sorted(glob.glob(os.path.join("/etc", pattern))):
                    _read_configuration(included, found, depth + 1)
        elif words and words[0].startswith("/"):
            found[words[0]] = None


def _is_little() -> bool:
    return struct.pack("H", 1)[:1] == b"\1"


def _string_table(
    segments: list[tuple[int, ...]], entries: list[tuple[int, int]], read_at: Callable[[int, int], bytes]
) -> bytes:
    address = next((value for tag, value in entries if tag == DT_STRTAB), None)
    for segment in segments:
        if address is not None and segment[0] == PT_LOAD and segment[3] <= address < segment[3] + segment[5]:
            start = address - segment[3]
            return read_at(segment[2] + start, segment[5] - start)
    return b""


def _values(tag: int, entries: list[tuple[int, int]], strings: bytes) -> list[str]:
    return [text for entry, value in entries if entry == tag and (text := _string(strings, value))]


def _string(data: bytes, start: int) -> str:
    end = data.find(b"\0", start)
    return os.fsdecode(data[start:end]) if 0 <= start < end else ""
