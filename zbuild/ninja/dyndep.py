"""Dyndep files: inputs and outputs of edges that are found out while building.

https://ninja-build.org/manual.html#ref_dyndep. CMake uses them for Fortran and C++ modules.
"""

from __future__ import annotations

from zbuild.errors import ManifestError
from zbuild.ninja import lexer as tokens
from zbuild.ninja.disk import Disk
from zbuild.ninja.edge import Edge
from zbuild.ninja.eval_string import EMPTY, EvalString, evaluate
from zbuild.ninja.graph import Graph
from zbuild.ninja.lexer import Lexer
from zbuild.ninja.node import Node
from zbuild.ninja.path import canonicalize
from zbuild.ninja.scope import Scope
from zbuild.ninja.version import parse_version

_SUPPORTED_VERSION = (1, 0)


class Dyndep:
    """What a dyndep file says of one edge."""

    __slots__ = ("implicit_inputs", "implicit_outputs", "is_restat")

    def __init__(self) -> None:
        self.implicit_inputs: list[Node] = []
        self.implicit_outputs: list[Node] = []
        self.is_restat = False


def load_dyndep(graph: Graph, disk: Disk, file: Node) -> list[tuple[Edge, Dyndep]]:
    """Read a dyndep file and add what it says to the edges that are bound to it.

    Raises:
        ManifestError: the file cannot be read, ninja would refuse it, or it does not speak of exactly
            the edges that are bound to it.
    """
    file.is_dyndep_pending = False
    try:
        data = disk.read(file.path)
    except OSError as error:
        raise ManifestError(f"loading '{file.path}': {error.strerror}") from error
    dyndeps = _DyndepParser(graph, Lexer(file.path, tokens.decode(data))).parse()
    bound = list(dict.fromkeys(edge for edge in file.out_edges if edge.dyndep is file))
    for edge in bound:
        dyndep = dyndeps.get(edge)
        if dyndep is None:
            raise ManifestError(f"'{edge.outputs[0].path}' not mentioned in its dyndep file '{file.path}'")
        _update_edge(graph, edge, dyndep)
    for edge in dyndeps:
        if edge not in bound:
            raise ManifestError(
                f"dyndep file '{file.path}' mentions output '{edge.outputs[0].path}' "
                "whose build statement does not have a dyndep binding for the file"
            )
    return list(dyndeps.items())


def _update_edge(graph: Graph, edge: Edge, dyndep: Dyndep) -> None:
    edge.has_dyndep_restat = edge.has_dyndep_restat or dyndep.is_restat
    for node in dyndep.implicit_outputs:
        if node.in_edge is not None:
            raise ManifestError(f"multiple rules generate {node.path}")
        node.in_edge = edge
        if node.log_id >= 0:
            graph.leaf_mtimes_ns[node.log_id] = -1
        edge.outputs.append(node)
        edge.implicit_output_count += 1
    edge.add_implicit_inputs(dyndep.implicit_inputs)


class _DyndepParser:
    """Reads one file. Its variables have a scope of their own, in which nothing is set."""

    def __init__(self, graph: Graph, lexer: Lexer) -> None:
        self._graph = graph
        self._lexer = lexer
        self._scope = Scope()
        self._dyndeps: dict[Edge, Dyndep] = {}

    def parse(self) -> dict[Edge, Dyndep]:
        lexer = self._lexer
        has_version = False
        while True:
            token = lexer.read()
            if token == tokens.BUILD:
                if not has_version:
                    raise lexer.fault("expected 'ninja_dyndep_version = ...'")
                self._parse_edge()
            elif token == tokens.IDENTIFIER:
                lexer.unread()
                if has_version:
                    raise lexer.fault(f"unexpected {token}")
                self._parse_version()
                has_version = True
            elif token == tokens.ERROR:
                raise lexer.lexing_fault()
            elif token == tokens.END_OF_FILE:
                if not has_version:
                    raise lexer.fault("expected 'ninja_dyndep_version = ...'")
                return self._dyndeps
            elif token != tokens.NEWLINE:
                raise lexer.fault(f"unexpected {token}")

    def _parse_version(self) -> None:
        name, parts = self._lexer.binding()
        if name != "ninja_dyndep_version":
            raise self._lexer.fault("expected 'ninja_dyndep_version = ...'")
        version = evaluate(parts, self._scope.lookup)
        if parse_version(version) != _SUPPORTED_VERSION:
            raise self._lexer.fault(f"unsupported 'ninja_dyndep_version = {version}'")

    def _parse_edge(self) -> None:
        lexer = self._lexer
        dyndep = self._dyndep_of(lexer.path())
        if lexer.path() != EMPTY:
            raise lexer.fault("explicit outputs not supported")
        outputs = lexer.paths() if lexer.accept(tokens.PIPE) else []
        lexer.expect(tokens.COLON)
        if lexer.identifier() != "dyndep":
            raise lexer.fault("expected build command name 'dyndep'")
        if lexer.path() != EMPTY:
            raise lexer.fault("explicit inputs not supported")
        inputs = lexer.paths() if lexer.accept(tokens.PIPE) else []
        if lexer.accept(tokens.PIPE2):
            raise lexer.fault("order-only inputs not supported")
        lexer.expect(tokens.NEWLINE)
        if lexer.accept(tokens.INDENT):
            key, parts = lexer.binding()
            if key != "restat":
                raise lexer.fault("binding is not 'restat'")
            dyndep.is_restat = evaluate(parts, self._scope.lookup) != ""
        dyndep.implicit_inputs = [self._graph.node(self._path(parts)) for parts in inputs]
        dyndep.implicit_outputs = [self._graph.node(self._path(parts)) for parts in outputs]

    def _dyndep_of(self, parts: EvalString) -> Dyndep:
        if parts == EMPTY:
            raise self._lexer.fault("expected path")
        path = self._path(parts)
        node = self._graph.nodes.get(path)
        if node is None or node.in_edge is None:
            raise self._lexer.fault(f"no build statement exists for '{path}'")
        if node.in_edge in self._dyndeps:
            raise self._lexer.fault(f"multiple statements for '{path}'")
        dyndep = self._dyndeps[node.in_edge] = Dyndep()
        return dyndep

    def _path(self, parts: EvalString) -> str:
        path = evaluate(parts, self._scope.lookup)
        if not path:
            raise self._lexer.fault("empty path")
        return canonicalize(path)
