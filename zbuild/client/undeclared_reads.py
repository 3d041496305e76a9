"""Which of the files that a command was found to need its edge does not declare."""

from __future__ import annotations

import os

from zbuild.client.edge_description import describe
from zbuild.client.undeclared_read import UndeclaredRead, remedy
from zbuild.ninja.deps_log import DepsLog
from zbuild.ninja.edge import Edge
from zbuild.ninja.generator import HEAD_BYTES, generator_of
from zbuild.ninja.graph import Graph


class UndeclaredReads:
    """Looks at one graph. The working directory is the build directory.

    Args:
        manifest: the file that the graph was read from.
        source_root: the directory that holds the sources.
    """

    def __init__(self, graph: Graph, deps_log: DepsLog, manifest: str, source_root: str) -> None:
        self._graph = graph
        self._deps_log = deps_log
        with open(manifest, "rb") as file:
            self._generator = generator_of(file.read(HEAD_BYTES))
        self._source_root = source_root
        self._build_dir = os.getcwd()

    def found(self, edge: Edge, paths: tuple[str, ...], *, ran_here: bool) -> UndeclaredRead | None:
        """What is to be said of an edge that needed ``paths``, absolute user paths; None when nothing is.

        A depfile declares afterwards what was read, so ninja builds rightly with it, unless the file is one that
        another edge makes, and nothing says that this comes first (ninja's ``-t missingdeps``).
        """
        declared = {
            os.path.normpath(os.path.join(self._build_dir, path))
            for path in describe(edge, self._deps_log, self._build_dir).inputs
        }
        undeclared = [path for path in paths if path not in declared]
        unordered = [path for path in undeclared if self._is_unordered(edge, path)]
        if edge.depfile or edge.deps_type:
            undeclared = unordered
        if not undeclared:
            return None
        return UndeclaredRead(
            output=edge.outputs[0].path,
            files=tuple(map(os.path.relpath, undeclared)),
            unordered=tuple(map(os.path.relpath, unordered)),
            ran_here=ran_here,
            remedy=remedy(edge, undeclared, self._generator, self._source_root, self._build_dir),
        )

    def _is_unordered(self, edge: Edge, path: str) -> bool:
        """Whether another edge makes the file, and may do so after this one has run."""
        node = self._graph.nodes.get(os.path.relpath(path)) or self._graph.nodes.get(path)
        if node is None or node.in_edge is None:
            return False
        seen: set[Edge] = set()
        pending = [edge]
        while pending:
            for each in pending.pop().inputs:
                above = each.in_edge
                if above is node.in_edge:
                    return False
                if above is not None and above not in seen:
                    seen.add(above)
                    pending.append(above)
        return True
