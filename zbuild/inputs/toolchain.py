"""Platform properties: what a machine must have for an action to mean the same on it.

``os``            the kernel's name, lower case
``arch``          the machine's, as ``uname -m`` has it
``tool:<path>``   fingerprint of a tool and of all that decides what it does (see ``tool_parts``)
``file:<path>``   digest of a file of the system; of a directory, digest of the tree

Client and workers evaluate them with the same code and must come to the same value. When a change is noticed: every
value is kept until ``revalidate``; after that the first use of a tool compares what ``stat`` says of all its files and
of the directories of its trees with what it said when they were read. So a compiler, a cc1, a library or a system
header that is replaced or edited in place counts from the next ``revalidate`` on, and so does a header that is added
to a directory that the compiler searches.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from blake3 import blake3

from zbuild import limits
from zbuild.inputs import cache_file, compiler_probe
from zbuild.inputs.compiler_probe import Run, SearchDirectories, run_program
from zbuild.inputs.tree_check import TreeCheck
from zbuild.inputs.tree_digest import TreeDigest, digest_of_trees

FORMAT = "zbuild-toolchain-1"

FINGERPRINT_FORMAT = b"zbuild-tool-1"
"""Salt of every fingerprint. Changing what belongs to one changes this."""

_PRINT_MODULE_PATH = "import sys; print(*(p for p in sys.path if 'packages' in p and p.startswith('/')), sep='\\n')"


class ToolParts(NamedTuple):
    """Which files of the system decide what a tool does.

    ``files`` and ``trees``: existing or not; one that is absent now may appear and then changes the tool.
    """

    files: tuple[str, ...]
    trees: tuple[str, ...]


class Toolchain:
    """``cache_path`` None keeps everything in memory. ``run``: how compilers are asked; the default starts them."""

    def __init__(self, cache_path: str | None = None, run: Run = run_program) -> None:
        self._cache_path = cache_path
        self._run = run
        self._trees: dict[tuple[str, ...], TreeDigest] = {}
        self._tools: dict[str, tuple[ToolParts, bytes]] = {}
        self._searches: dict[tuple[str, ...], tuple[str, SearchDirectories]] = {}
        self._values: dict[str, str | None] = {}
        self._current: set[tuple[str, ...]] = set()
        self._check: TreeCheck | None = None
        self._native: dict[tuple[str, ...], tuple[str, ...] | None] = {}
        self._is_changed = False
        if cache_path is not None:
            self._load(cache_file.read(cache_path, FORMAT))

    def evaluate_property(self, name: str) -> str | None:
        """None: not a kind of property known here, or this machine has no such tool or file.

        The first look at a compiler reads all its headers (about a second); a later one costs about 25 ms.
        """
        if name not in self._values:
            if len(self._values) >= limits.EVALUATED_PROPERTIES:
                self._values.clear()
            self._values[name] = self._evaluate(name)
        return self._values[name]

    def check_ahead(self, programs: Collection[str]) -> None:
        """Begin to compare the known tools of these names or paths with the machine, in the background.

        It is as if each had been used now. A guess: any tool may be used afterwards, and none must.
        """
        names = {os.path.basename(program) for program in programs}
        tools = [parts for path, (parts, _) in self._tools.items() if os.path.basename(path) in names]
        roots = [roots for parts in tools for roots in _roots_of(parts) if roots in self._trees]
        if roots:
            # Without such a process each tool is compared when it is used.
            with contextlib.suppress(OSError):
                self._check = TreeCheck({each: self._trees[each] for each in roots})

    def known_properties(self) -> tuple[str, ...]:
        """The names of those that ``evaluate_property`` need not ask a tool for, while nothing has changed."""
        return tuple(f"tool:{path}" for path in self._tools)

    def revalidate(self) -> None:
        """From now on every value is compared with the machine again before it is given out."""
        self._values.clear()
        self._checked_ahead()
        self._current.clear()
        self._native.clear()

    def search_directories(
        self, compiler: str, language: str = "c++", flags: Sequence[str] = ()
    ) -> SearchDirectories | None:
        """What a compiler searches by itself. None: it does not answer, as when it has no such language."""
        fingerprint = self.evaluate_property(f"tool:{compiler}")
        if fingerprint is None:
            return None
        key = (compiler, language, *flags)
        known = self._searches.get(key)
        if known is not None and known[0] == fingerprint:
            return known[1]
        found = compiler_probe.search_directories(self._run, compiler, language, flags)
        if found is not None:
            self._searches[key] = (fingerprint, found)
            self._is_changed = True
        return found

    def native_flags(self, compiler: str, flags: Sequence[str]) -> tuple[str, ...] | None:
        """What ``-march=native`` and the like stand for here, spelled out; None when the compiler does not say."""
        key = (compiler, *flags)
        if key not in self._native:
            found = compiler_probe.native_flags(self._run, compiler, flags)
            self._native[key] = None if found is None else tuple(found)
        return self._native[key]

    def python_directories(self, interpreter: str) -> tuple[str, ...]:
        """Where a Python looks for modules that are not of its standard library."""
        fingerprint = self.evaluate_property(f"tool:{interpreter}")
        if fingerprint is None:
            return ()
        key = (interpreter, "python")
        known = self._searches.get(key)
        if known is None or known[0] != fingerprint:
            code, text, _ = self._run([interpreter, "-I", "-c", _PRINT_MODULE_PATH])
            found = tuple(text.splitlines()) if code == 0 else ()
            known = self._searches[key] = (fingerprint, SearchDirectories((), (), found))
            self._is_changed = True
        return known[1].library

    def save(self) -> None:
        """Raises OSError when the disk refuses."""
        if self._cache_path is None or not self._is_changed:
            return
        used: set[tuple[str, ...]] = {(tree,) for parts, _ in self._tools.values() for tree in parts.trees}
        used |= {parts.files for parts, _ in self._tools.values()}
        trees = [(key, tuple(tree)) for key, tree in self._trees.items() if key in used and not tree.is_racy]
        tools = [(path, tuple(parts), fingerprint) for path, (parts, fingerprint) in self._tools.items()]
        searches = [(key, fingerprint, tuple(found)) for key, (fingerprint, found) in self._searches.items()]
        cache_file.write(self._cache_path, FORMAT, (trees, tools, searches))
        self._is_changed = False

    def _evaluate(self, name: str) -> str | None:
        kind, _, path = name.partition(":")
        try:
            if name == "os":
                return os.uname().sysname.lower()
            if name == "arch":
                return os.uname().machine
            if kind == "tool" and path.startswith("/"):
                return self._fingerprint(path)
            if kind == "file" and path.startswith("/") and os.path.exists(path):
                tree = self._tree((path,))
                return None if tree is None else tree.digest.hex()
        except OSError:
            return None
        return None

    def _fingerprint(self, path: str) -> str | None:
        """Known parts are asked for again only if one of them has changed: else the tool says what it said."""
        known = self._tools.get(path)
        if known is not None:
            fingerprint = self._fingerprint_of(path, known[0])
            if fingerprint == known[1]:
                return fingerprint.hex()
        # Only for a tool that is new or has changed.
        from zbuild.inputs.tool_parts import parts_of

        parts = parts_of(path, self._run)
        if parts is None:
            self._tools.pop(path, None)
            return None
        fingerprint = self._fingerprint_of(path, parts)
        if fingerprint is None:
            return None
        self._tools[path] = (parts, fingerprint)
        self._is_changed = True
        return fingerprint.hex()

    def _fingerprint_of(self, path: str, parts: ToolParts) -> bytes | None:
        hasher = blake3(FINGERPRINT_FORMAT + b"\0" + os.fsencode(path))
        for roots in _roots_of(parts):
            tree = self._tree(roots)
            if tree is None:
                return None
            hasher.update(tree.digest)
        return hasher.digest()

    def _tree(self, roots: tuple[str, ...]) -> TreeDigest | None:
        self._checked_ahead()
        known = self._trees.get(roots)
        if known is not None and (roots in self._current or known.is_current()):
            self._current.add(roots)
            return known
        tree = digest_of_trees(roots)
        if tree is not None:
            self._trees[roots] = tree
            self._current.add(roots)
            self._is_changed = True
        return tree

    def _checked_ahead(self) -> None:
        check, self._check = self._check, None
        if check is not None:
            self._current |= check.current()

    def _load(self, value: Any) -> None:
        """A file of this format whose checksum holds was written by ``save``."""
        if value is None:
            return
        trees, tools, searches = value
        self._trees = {tuple(key): TreeDigest(*fields) for key, fields in trees}
        self._tools = {path: (ToolParts(*parts), fingerprint) for path, parts, fingerprint in tools}
        self._searches = {tuple(key): (fingerprint, SearchDirectories(*found)) for key, fingerprint, found in searches}


def _roots_of(parts: ToolParts) -> list[tuple[str, ...]]:
    """Of the trees that make up a tool's fingerprint, in order."""
    return [parts.files, *((tree,) for tree in parts.trees)]
