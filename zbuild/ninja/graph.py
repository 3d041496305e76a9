"""The whole build graph, as the manifest and the dyndep files describe it."""

from __future__ import annotations

from zbuild.errors import ManifestError
from zbuild.ninja.edge import Edge, Visit
from zbuild.ninja.node import Node
from zbuild.ninja.pool import Pool
from zbuild.ninja.scope import PHONY, Rule, Scope


class Graph:
    """``nodes``: by canonical path. ``scope``: the variables of the top file.

    ``leaf_mtimes_ns``: by the node's ``log_id``, the time of a file that no edge makes and that is
    there; -1 for all others and for what was not scanned yet. One look at the table spares the scan
    the same look at each of dozens of headers per edge.
    """

    __slots__ = ("default_pool", "defaults", "edges", "leaf_mtimes_ns", "nodes", "pools", "scope")

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []
        self.defaults: list[Node] = []
        self.leaf_mtimes_ns: list[int] = []
        self.scope = Scope()
        self.scope.rules[PHONY.name] = PHONY
        self.default_pool = Pool("", 0)
        self.pools = {"": self.default_pool, "console": Pool("console", 1)}

    def node(self, path: str) -> Node:
        """The node of a canonical path, made if need be."""
        node = self.nodes.get(path)
        if node is None:
            node = self.nodes[path] = Node(path)
        return node

    def makes(self, path: str) -> bool:
        """Whether an edge declares the file of that canonical path as an output."""
        node = self.nodes.get(path)
        return node is not None and node.in_edge is not None

    def add_edge(self, rule: Rule, scope: Scope, bindings: dict[str, str] | None) -> Edge:
        """A new edge without inputs and outputs."""
        edge = Edge(len(self.edges), rule, scope, self.default_pool, bindings)
        self.edges.append(edge)
        return edge

    def root_nodes(self) -> list[Node]:
        """The outputs that no edge uses.

        Raises:
            ManifestError: there are edges, but every output is used by another edge.
        """
        roots = [node for edge in self.edges for node in edge.outputs if not node.out_edges]
        if self.edges and not roots:
            raise ManifestError("could not determine root nodes of build graph")
        return roots

    def default_nodes(self) -> list[Node]:
        """What to build when no target is named."""
        return self.defaults or self.root_nodes()

    @property
    def build_directory(self) -> str:
        """The variable ``builddir``: where the logs are; empty for the current directory."""
        return self.scope.lookup("builddir")

    def log_path(self, name: str) -> str:
        """Where ``.ninja_log``, ``.ninja_deps`` or ``.ninja_lock`` is."""
        return f"{self.build_directory}/{name}" if self.build_directory else name

    def reset(self) -> None:
        """Forget all that was read from the disk, to scan again."""
        self.leaf_mtimes_ns[:] = [-1] * len(self.leaf_mtimes_ns)
        for node in self.nodes.values():
            node.reset()
        for edge in self.edges:
            edge.discovered = ()
            edge.are_deps_loaded = False
            edge.are_outputs_ready = False
            edge.visit = Visit.NONE
            edge.unready_from = 0
        for pool in self.pools.values():
            pool.reset()
