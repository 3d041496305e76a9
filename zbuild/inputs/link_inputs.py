"""What a link reads beyond the files it names: libraries found by -l, members of thin archives, what libraries need."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from zbuild import limits
from zbuild.inputs.elf import expanded_search, find_library, read_elf
from zbuild.inputs.paths import absolute
from zbuild.inputs.thin_archive import THIN_MAGIC, thin_members

_SCRIPT_FILE = re.compile(r"[^\s()\",]+")
_SCRIPT_GROUP = re.compile(r"\b(?:INPUT|GROUP|AS_NEEDED|INCLUDE)\b")
LINKER_SCRIPT_BYTES = 64 * 1024


class LinkInputs(NamedTuple):
    """``files``: project files. ``system``: files of the system that the linker reads because of -l or a script."""

    files: set[str]
    system: set[str]


def find_link_inputs(
    named: Iterable[str],
    libraries: Sequence[str],
    library_directories: Sequence[str],
    system_directories: Sequence[str],
    is_system: Callable[[str], bool],
) -> LinkInputs:
    """All absolute. ``named``: files on the command line. ``library_directories``: -L, -rpath, -rpath-link."""
    search = _LinkSearch(list(library_directories), list(system_directories), is_system)
    for path in named:
        search.add(path)
    for library in libraries:
        search.add_library(library)
    return LinkInputs(search.files, search.system)


class _LinkSearch:
    def __init__(self, directories: list[str], system: list[str], is_system: Callable[[str], bool]) -> None:
        self.files: set[str] = set()
        self.system: set[str] = set()
        self._directories = directories
        self._system_directories = system
        self._is_system = is_system

    def add(self, path: str) -> None:
        if path in self.files or path in self.system or not os.path.isfile(path):
            return
        if self._is_system(path):
            self.system.add(path)
        else:
            self.files.add(path)
        try:
            self._add_what_it_names(path)
        except OSError:
            return

    def add_library(self, name: str) -> None:
        """Shared and static both: which one is taken depends on -static, -Bstatic and the order of the words."""
        names = [name[1:]] if name.startswith(":") else [f"lib{name}.so", f"lib{name}.a"]
        for directory in [*self._directories, *self._system_directories]:
            found = [path for path in (f"{directory}/{name}" for name in names) if os.path.isfile(path)]
            for path in found:
                self.add(path)
            if found and len(found) == len(names):
                return

    def _add_what_it_names(self, path: str) -> None:
        with open(path, "rb") as stream:
            head = stream.read(len(THIN_MAGIC))
        if head == THIN_MAGIC:
            directory = os.path.dirname(path)
            for member in thin_members(path):
                self.add(absolute(member, directory))
        elif head.startswith(b"\x7fELF"):
            if not self._is_system(path) and path.rpartition("/")[2].find(".so") >= 0:
                self._add_needed(path)
        elif not head.startswith(b"!<arch>") and os.path.getsize(path) <= LINKER_SCRIPT_BYTES:
            self._add_script(path)

    def _add_needed(self, path: str) -> None:
        """The linker opens what a shared library needs, to see that all symbols are there."""
        elf = read_elf(path)
        if elf is None:
            return
        directories = [*self._directories, *expanded_search(elf, path), os.path.dirname(path)]
        for name in elf.needed:
            found = find_library(name, directories)
            if found is not None and len(self.files) < limits.ACTION_INPUTS:
                self.add(found)

    def _add_script(self, path: str) -> None:
        """A text in the place of a library is a linker script: GNU ld manual, 3.4.2."""
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
        if _SCRIPT_GROUP.search(text) is None:
            return
        for word in _SCRIPT_FILE.findall(text):
            if word.startswith("-l"):
                self.add_library(word[2:])
            elif "/" in word or "." in word:
                for directory in [os.path.dirname(path), *self._directories, *self._system_directories]:
                    candidate = absolute(word, directory)
                    if os.path.isfile(candidate):
                        self.add(candidate)
                        break
