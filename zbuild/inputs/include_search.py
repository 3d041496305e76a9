"""The directories in which a compiler looks for a header, in its order.

Rules: GCC 12, The C Preprocessor manual, 2.3 "Search Path" and 2.7 "Wrapper Headers"; how duplicates
are dropped: gcc/incpath.cc, ``merge_include_chains``. Clang searches in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from zbuild.inputs.paths import absolute, crossed_directories
from zbuild.inputs.source_facts import NEXT, QUOTED
from zbuild.inputs.source_tree import SourceTree

Node = tuple[str, int]
"""A file and where it was found: an index into the chain, or one of the two below."""

OWN_DIRECTORY = -1
"""Found beside its includer; also every file whose includes do not depend on where it was found."""

MAIN_FILE = -2


class IncludeDirectories(NamedTuple):
    """The flags of one compile, absolute, in the order of the command line.

    ``builtin``: what the compiler searches by itself, after ``system`` and before ``after``.
    """

    quote: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    builtin: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


class IncludeSearch:
    """One search configuration with what was found under it.

    A file in a system directory ends a search and is not reported.

    Attributes:
        edges: what the includes of a file lead to, as far as it was asked for.
        crossings: the project directories that those includes pass and leave again by ``..``.
        directories: project directories given by flags that exist.
        system_directories: directories given by flags that belong to the system.
        shadows: project headers that a system header would get if it included the system's header of that name.
    """

    def __init__(self, tree: SourceTree, directories: IncludeDirectories, is_system: Callable[[str], bool]) -> None:
        self._tree = tree
        self._is_system = is_system
        self._builtin = directories.builtin
        quote, bracket = _chains(tree, directories)
        self._chain = [(path, is_system(path)) for path in [*quote, *bracket]]
        self._bracket_start = len(quote)
        self._found: dict[tuple[str, int], Node | None] = {}
        self._asked: dict[str, list[tuple[str, int]]] = {}
        self.edges: dict[Node, tuple[Node, ...]] = {}
        self.crossings: dict[Node, frozenset[str]] = {}
        self._mentions: dict[str, set[Node]] = {}
        given = [*directories.quote, *directories.include, *directories.system, *directories.after]
        existing = [path for path in given if tree.has_directory(path)]
        self.directories = {path for path in existing if not is_system(path)}
        self.system_directories = {path for path in existing if is_system(path)}
        self.shadows = self._find_shadows()

    def resolve(self, operand: str, flags: int, includer_directory: str, index: int) -> Node | None:
        """The file that ``#include`` opens, or None: absent, or in a system directory."""
        if operand.startswith("/"):
            return self._file(operand, OWN_DIRECTORY)
        if flags & NEXT and index != MAIN_FILE:
            return self._search(operand, index + 1)
        if not flags & QUOTED:
            return self._search(operand, self._bracket_start)
        return self._file(includer_directory + "/" + operand, OWN_DIRECTORY) or self._search(operand, 0)

    def crossed(self, operand: str, includer_directory: str, found: Node) -> list[str]:
        """The project directories that the spelling of an include passes on the way to what ``resolve`` has found."""
        if ".." not in operand:
            return []
        directory = includer_directory if found[1] < 0 else self._chain[found[1]][0]
        crossed = crossed_directories(operand, directory)
        return [path for path in crossed if not self._is_system(path)]

    def note_edge(self, node: Node, operands: list[str], nodes: tuple[Node, ...], crossed: list[str]) -> None:
        self.edges[node] = nodes
        self.crossings.pop(node, None)
        if crossed:
            self.crossings[node] = frozenset(crossed)
        for operand in operands:
            self._mentions.setdefault(operand.rpartition("/")[2], set()).add(node)

    def forget_file(self, path: str) -> None:
        """The content of ``path`` has changed."""
        for index in range(MAIN_FILE, len(self._chain)):
            self.edges.pop((path, index), None)

    def forget_name(self, name: str) -> None:
        """A file of this name has appeared somewhere: whatever was looked up by it is open again."""
        for key in self._asked.pop(name, ()):
            self._found.pop(key, None)
        for node in self._mentions.pop(name, ()):
            self.edges.pop(node, None)

    def is_shadow(self, path: str) -> bool:
        """Whether ``path`` belongs to ``shadows`` if it exists."""
        names = [path[len(directory) + 1 :] for directory, _ in self._chain if path.startswith(directory + "/")]
        return any(self._tree.has_file(f"{directory}/{name}") for name in names for directory in self._builtin)

    def _search(self, operand: str, start: int) -> Node | None:
        key = (operand, start)
        try:
            return self._found[key]
        except KeyError:
            self._asked.setdefault(operand.rpartition("/")[2], []).append(key)
        result = None
        for index in range(start, len(self._chain)):
            directory, is_system = self._chain[index]
            path = directory + "/" + operand
            if is_system:
                if self._exists(path):
                    break
            elif (result := self._file(path, index)) is not None:
                break
        self._found[key] = result
        return result

    def _file(self, spelled: str, index: int) -> Node | None:
        path = absolute(spelled, "/")
        return None if self._is_system(path) or not self._exists(spelled) else (path, index)

    def _exists(self, spelled: str) -> bool:
        """As the kernel sees it: a directory that is left by ``..`` must be there to be left."""
        has_ways = "/.." not in spelled or all(map(self._tree.has_directory, crossed_directories(spelled, "/")))
        return has_ways and self._tree.has_file(absolute(spelled, "/"))

    def _find_shadows(self) -> tuple[Node, ...]:
        found: list[Node] = []
        for index, (path, is_system) in enumerate(self._chain):
            if path in self._builtin:
                break
            if not is_system:
                self._add_shadows(path, index, list(self._builtin), found)
        return tuple(found)

    def _add_shadows(self, directory: str, index: int, shadowed: list[str], found: list[Node]) -> None:
        listing = self._tree.list(directory)
        if listing is None:
            return
        for other in shadowed:
            other_listing = self._tree.list(other)
            if other_listing is not None:
                found += [(f"{directory}/{name}", index) for name in listing.files & other_listing.files]
        for name in listing.directories:
            below = [f"{path}/{name}" for path in shadowed if name in self._subdirectories(path)]
            if below:
                self._add_shadows(f"{directory}/{name}", index, below, found)

    def _subdirectories(self, path: str) -> set[str]:
        listing = self._tree.list(path)
        return set() if listing is None else listing.directories


def _chains(tree: SourceTree, directories: IncludeDirectories) -> tuple[list[str], list[str]]:
    """The quote chain's own part, and the bracket chain, without the absent and duplicate ones that gcc drops."""
    seen: set[tuple[int, int]] = set()

    def kept(paths: tuple[str, ...]) -> list[str]:
        result = []
        for path in paths:
            listing = tree.list(path)
            if listing is not None and listing.identity not in seen:
                seen.add(listing.identity)
                result.append(path)
        return result

    system = kept((*directories.system, *directories.builtin, *directories.after))
    of_system = set(seen)
    include = kept(directories.include)
    seen = of_system
    quote = kept(directories.quote)
    bracket = include + system
    if quote and bracket and quote[-1] == directories.quote[-1] and _are_one(tree, quote[-1], bracket[0]):
        del quote[-1]
    return quote, bracket


def _are_one(tree: SourceTree, path: str, other: str) -> bool:
    listing, other_listing = tree.list(path), tree.list(other)
    return listing is not None and other_listing is not None and listing.identity == other_listing.identity
