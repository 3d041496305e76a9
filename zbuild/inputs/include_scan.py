"""Which project files a compile may read: a superset, found without running the compiler.

All branches of ``#if`` are taken; each operand is then looked for exactly as the compiler would, so a file that
is not found is one the compiler would not find either. Headers of the system are neither reported nor read:
they are part of the compiler's fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from zbuild.inputs.include_search import MAIN_FILE, OWN_DIRECTORY, IncludeDirectories, IncludeSearch, Node
from zbuild.inputs.paths import absolute
from zbuild.inputs.source_facts import (
    ASSEMBLED,
    CALLED,
    COMPUTED,
    EMBEDDED,
    QUOTED,
    RARE,
    SourceFacts,
    SourceFactsStore,
    aliases_in,
    facts_of,
)
from zbuild.inputs.source_tree import SourceTree


class ScanRequest(NamedTuple):
    """One compile. Paths are absolute and normalised, operands of ``forced_includes`` as spelled.

    Attributes:
        sources: the main files.
        working_directory: where -include and the assembler look first.
        forced_includes: operands of -include and -imacros.
        defines: macros of -D, for computed includes.
        embed_directories: --embed-dir.
    """

    sources: tuple[str, ...]
    working_directory: str
    directories: IncludeDirectories = IncludeDirectories()
    forced_includes: tuple[str, ...] = ()
    defines: Mapping[str, str] = {}
    embed_directories: tuple[str, ...] = ()


class ScanResult(NamedTuple):
    """Attributes:
    files: project files that exist and may be read, the sources among them.
    directories: project directories on the search path that exist; a compiler warns of those that do not.
    system_directories: directories on the command line's search path that belong to the system.
    unsure: ``path: what`` for each include that could not be predicted.
    time_macros: ``path uses __DATE__``: the result depends on the compiler's clock.
    absolute_includers: those of ``files`` that name a project file by its absolute path.
    """

    files: frozenset[str]
    directories: frozenset[str]
    system_directories: frozenset[str]
    unsure: tuple[str, ...]
    time_macros: tuple[str, ...]
    absolute_includers: tuple[str, ...]


class IncludeScanner:
    """Keeps what it has found for the length of a build, so it must be told of every file that an edge makes."""

    def __init__(self, tree: SourceTree, store: SourceFactsStore, is_system: Callable[[str], bool]) -> None:
        self.tree = tree
        self._store = store
        self.is_system = is_system
        self._searches: dict[IncludeDirectories, IncludeSearch] = {}
        self._facts: dict[str, SourceFacts] = {}
        self._special: set[str] = set()
        self._aliases: dict[str, dict[str, list[str]]] = {}

    def scan(self, request: ScanRequest) -> ScanResult:
        """Raises OSError when a file that exists cannot be read."""
        walk = _Walk(self, self._search(request.directories), request)
        walk.run()
        return walk.result()

    def invalidate(self, path: str) -> None:
        """An edge has made or changed the file ``path`` (absolute)."""
        was_known = self._facts.pop(path, None) is not None
        self._special.discard(path)
        self._aliases.pop(path, None)
        is_new, was_directory_absent = self.tree.note_made(path)
        if was_directory_absent:
            self._searches.clear()
        elif is_new:
            name = path.rpartition("/")[2]
            for directories, search in list(self._searches.items()):
                search.forget_name(name)
                if search.is_shadow(path):
                    del self._searches[directories]
        if was_known:
            for search in self._searches.values():
                search.forget_file(path)

    def facts(self, path: str) -> SourceFacts:
        facts = self._facts.get(path)
        if facts is None:
            content_hash = self.tree.content_hash(path)
            facts = self._store.get(content_hash)
            if facts is None:
                facts = facts_of(self.tree.read(path))
                self._store.put(content_hash, facts)
            self._facts[path] = facts
            if facts.is_special:
                self._special.add(path)
        return facts

    def edges(self, search: IncludeSearch, node: Node) -> tuple[Node, ...]:
        """What the plain includes of a file lead to; computed and assembler ones depend on the compile."""
        path, index = node
        facts = self.facts(path)
        directory = path.rpartition("/")[0]
        nodes: dict[Node, None] = {}
        operands = []
        crossed: list[str] = []
        for operand, flags in facts.includes:
            if flags & RARE:
                continue
            operands.append(operand)
            found = search.resolve(operand, flags, directory, index)
            if found is not None:
                nodes[self.settled(found)] = None
                crossed += search.crossed(operand, directory, found)
        result = tuple(nodes)
        search.note_edge(node, operands, result, crossed)
        return result

    def settled(self, node: Node) -> Node:
        """The same node for files whose includes do not depend on where they were found."""
        path, index = node
        return node if index == OWN_DIRECTORY or self.facts(path).has_next else (path, OWN_DIRECTORY)

    def special_files(self, paths: Iterable[str]) -> set[str]:
        """Those of ``paths`` that have more than plain includes."""
        return self._special.intersection(paths)

    def aliases(self, path: str, macro: str) -> list[str]:
        of_path = self._aliases.setdefault(path, {})
        found = of_path.get(macro)
        if found is None:
            found = of_path[macro] = aliases_in(self.tree.read(path), macro)
        return found

    def _search(self, directories: IncludeDirectories) -> IncludeSearch:
        search = self._searches.get(directories)
        if search is None:
            search = self._searches[directories] = IncludeSearch(self.tree, directories, self.is_system)
        return search


class _Walk:
    """One compile's way through the files."""

    def __init__(self, scanner: IncludeScanner, search: IncludeSearch, request: ScanRequest) -> None:
        self._scanner = scanner
        self._search = search
        self._request = request
        self._seen: set[Node] = set()
        self._files: set[str] = set()
        self._data_files: set[str] = set()
        self._crossed: set[str] = set()
        self._unsure: dict[str, None] = {}
        self._defined: dict[str, set[str]] = {name: {value} for name, value in request.defines.items()}
        self._tree = scanner.tree

    def run(self) -> None:
        scanner, request = self._scanner, self._request
        starts = [scanner.settled((path, MAIN_FILE)) for path in request.sources]
        for operand in request.forced_includes:
            self._add_precompiled(operand, QUOTED, request.working_directory)
            found = self._search.resolve(operand, QUOTED, request.working_directory, MAIN_FILE)
            if found is not None:
                self._crossed.update(self._search.crossed(operand, request.working_directory, found))
            starts += [] if found is None else [scanner.settled(found)]
        starts += [scanner.settled(shadow) for shadow in self._search.shadows]
        self._follow(starts)
        for path in request.sources:
            directory = path.rpartition("/")[0]
            for operand, flags in scanner.facts(path).includes[:1]:
                self._add_precompiled(operand, flags & QUOTED, directory)
        while special := scanner.special_files(self._files):
            starts = self._special_includes(special)
            if not starts:
                return
            self._follow(starts)

    def result(self) -> ScanResult:
        scanner = self._scanner
        time_macros: list[str] = []
        absolute_includers = []
        for path in sorted(scanner.special_files(self._files)):
            facts = scanner.facts(path)
            time_macros += [f"{path} uses {macro}" for macro in facts.time_macros]
            if any(operand.startswith("/") and not self._scanner.is_system(operand) for operand, _ in facts.includes):
                absolute_includers.append(path)
            for what in facts.unsure:
                self._unsure[f"{path}: {what}"] = None
        return ScanResult(
            frozenset(self._files | self._data_files),
            frozenset(self._search.directories | self._crossed),
            frozenset(self._search.system_directories),
            tuple(self._unsure),
            tuple(time_macros),
            tuple(absolute_includers),
        )

    def _follow(self, nodes: list[Node]) -> None:
        seen, files, known, search = self._seen, self._files, self._search.edges, self._search
        pending = [node for node in nodes if node not in seen]
        seen.update(pending)
        while pending:
            node = pending.pop()
            files.add(node[0])
            edges = known.get(node)
            if edges is None:
                edges = self._scanner.edges(search, node)
            if node in search.crossings:
                self._crossed |= search.crossings[node]
            for edge in edges:
                if edge not in seen:
                    seen.add(edge)
                    pending.append(edge)

    def _add_precompiled(self, operand: str, flags: int, directory: str) -> None:
        """``name.gch`` is taken instead of ``name``, even where there is no ``name``; clang has ``.pch`` too."""
        for suffix in (".gch", ".pch"):
            node = self._search.resolve(operand + suffix, flags, directory, MAIN_FILE)
            if node is not None:
                self._data_files.add(node[0])

    def _special_includes(self, paths: set[str]) -> list[Node]:
        """New nodes from computed includes, #embed and assembler directives."""
        self._unsure = {}
        nodes: list[Node] = []
        macros: list[tuple[str, str]] = []
        for path in sorted(paths):
            facts = self._scanner.facts(path)
            for name, value in facts.defines:
                self._defined.setdefault(name, set()).add(value)
            for operand, flags in facts.includes:
                if flags & COMPUTED:
                    macros.append((path, operand))
                elif flags & CALLED:
                    self._unsure[f"{path}: #include {operand}(...)"] = None
                elif flags & ASSEMBLED:
                    nodes += self._assembled(operand, flags)
                elif flags & EMBEDDED:
                    self._add_embedded(path, operand, flags)
        for path, macro in macros:
            values = self._values_of(macro, set())
            if not values:
                self._unsure[f"{path}: #include {macro}"] = None
            for value in values:
                directory = path.rpartition("/")[0]
                found = self._search.resolve(value[1:-1], QUOTED if value[0] == '"' else 0, directory, MAIN_FILE)
                if found is not None:
                    self._crossed.update(self._search.crossed(value[1:-1], directory, found))
                    nodes.append(self._scanner.settled(found))
        return [node for node in nodes if node not in self._seen]

    def _values_of(self, macro: str, visited: set[str]) -> set[str]:
        """Every ``"file"`` and ``<file>`` that the macro may stand for."""
        visited.add(macro)
        values = set(self._defined.get(macro, ()))
        for path in self._files:
            values.update(self._scanner.aliases(path, macro))
        found = {value for value in values if value[:1] in ('"', "<")}
        for value in values - found:
            if value not in visited:
                found |= self._values_of(value, visited)
        return found

    def _add_embedded(self, path: str, operand: str, flags: int) -> None:
        directories = list(self._request.embed_directories)
        if flags & QUOTED:
            directories.insert(0, path.rpartition("/")[0])
        found = self._first(operand, directories)
        if found is not None:
            self._data_files.add(found)

    def _assembled(self, operand: str, flags: int) -> list[Node]:
        found = self._first(operand, [self._request.working_directory, *self._request.directories.include])
        if found is not None and flags & EMBEDDED:
            self._data_files.add(found)
            return []
        return [] if found is None else [(found, OWN_DIRECTORY)]

    def _first(self, operand: str, directories: list[str]) -> str | None:
        paths = (absolute(operand, directory) for directory in directories)
        return next((path for path in paths if self._tree.has_file(path)), None)
