"""Reading build.ninja and the files it includes into a graph.

Statements are read token by token, but for the plain build statements that a generated manifest
mainly consists of: see ``plain_build``.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable

from zbuild import limits
from zbuild.errors import ManifestError
from zbuild.ninja import lexer as tokens
from zbuild.ninja.disk import Disk
from zbuild.ninja.edge import Edge
from zbuild.ninja.eval_string import EMPTY, EvalString, evaluate
from zbuild.ninja.graph import Graph
from zbuild.ninja.lexer import Lexer
from zbuild.ninja.node import Node
from zbuild.ninja.path import canonicalize
from zbuild.ninja.plain_build import read_plain_build
from zbuild.ninja.pool import Pool
from zbuild.ninja.scope import RESERVED_BINDINGS, Rule, Scope
from zbuild.ninja.version import check_required_version


def load_manifest(
    disk: Disk, file_name: str, warn: Callable[[str], None], *, refuses_phony_cycle: bool = False
) -> Graph:
    """Read a manifest. ``warn`` receives the text of each warning. ``refuses_phony_cycle``: -w phonycycle=err.

    Raises:
        ManifestError: a file cannot be read, or ninja would refuse it. Mostly a
            ``lexer.SyntaxFault``, which says where.
    """
    graph = Graph()
    # The collector would walk a growing graph of live objects again and again.
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        ManifestParser(graph, disk, warn, refuses_phony_cycle).load(file_name, graph.scope, 0)
    finally:
        if was_collecting:
            gc.enable()
    return graph


class ManifestParser:
    """Adds what files say to a graph."""

    def __init__(self, graph: Graph, disk: Disk, warn: Callable[[str], None], refuses_phony_cycle: bool) -> None:
        self._graph = graph
        self._disk = disk
        self._warn = warn
        self._refuses_phony_cycle = refuses_phony_cycle
        self._has_dyndep_for_all = False

    def load(self, file_name: str, scope: Scope, depth: int) -> None:
        """Read one file into ``scope``; ``depth`` counts the files that include it.

        Raises:
            ManifestError: as ``load_manifest``.
        """
        try:
            data = self._disk.read(file_name)
        except OSError as error:
            raise ManifestError(f"loading '{file_name}': {error.strerror}") from error
        self._parse(Lexer(file_name, tokens.decode(data)), scope, depth)

    def _parse(self, lexer: Lexer, scope: Scope, depth: int) -> None:
        # A carriage return ends a line too; only the token-wise way knows that.
        parse_build = self._parse_build if "\r" in lexer.text else self._parse_any_build
        statements: dict[str, Callable[[Lexer, Scope], None]] = {
            tokens.BUILD: parse_build,
            tokens.RULE: self._parse_rule,
            tokens.POOL: self._parse_pool,
            tokens.DEFAULT: self._parse_default,
            tokens.IDENTIFIER: self._parse_let,
        }
        while (token := lexer.read()) != tokens.END_OF_FILE:
            parse = statements.get(token)
            if parse is not None:
                parse(lexer, scope)
            elif token == tokens.INCLUDE:
                self._parse_include(lexer, scope, scope, depth)
            elif token == tokens.SUBNINJA:
                self._parse_include(lexer, scope, Scope(scope), depth)
            elif token == tokens.ERROR:
                raise lexer.lexing_fault()
            elif token != tokens.NEWLINE:
                raise lexer.fault(f"unexpected {token}")

    def _parse_any_build(self, lexer: Lexer, scope: Scope) -> None:
        edge = None if self._has_dyndep_for_all else read_plain_build(self._graph, lexer, scope)
        if edge is None:
            self._parse_build(lexer, scope)
        else:
            self._drop_phony_cycle(edge)

    def _parse_let(self, lexer: Lexer, scope: Scope) -> None:
        lexer.unread()
        name, parts = lexer.binding()
        value = evaluate(parts, scope.lookup)
        if name == "ninja_required_version":
            check_required_version(value, self._warn)
        if name == "dyndep":
            self._has_dyndep_for_all = True
        scope.bindings[name] = value

    def _parse_pool(self, lexer: Lexer, scope: Scope) -> None:
        name = lexer.identifier()
        if name is None:
            raise lexer.fault("expected pool name")
        lexer.expect(tokens.NEWLINE)
        if name in self._graph.pools:
            raise lexer.fault(f"duplicate pool '{name}'")
        depth = -1
        while lexer.accept(tokens.INDENT):
            key, parts = lexer.binding()
            if key != "depth":
                raise lexer.fault(f"unexpected variable '{key}'")
            depth = _leading_integer(evaluate(parts, scope.lookup))
            if depth < 0:
                raise lexer.fault("invalid pool depth")
        if depth < 0:
            raise lexer.fault("expected 'depth =' line")
        self._graph.pools[name] = Pool(name, depth)

    def _parse_rule(self, lexer: Lexer, scope: Scope) -> None:
        name = lexer.identifier()
        if name is None:
            raise lexer.fault("expected rule name")
        lexer.expect(tokens.NEWLINE)
        if name in scope.rules:
            raise lexer.fault(f"duplicate rule '{name}'")
        # A rule that does not set these still hides the file's variables of these names.
        bindings: dict[str, EvalString] = {"command": EMPTY, "rspfile": EMPTY, "rspfile_content": EMPTY}
        while lexer.accept(tokens.INDENT):
            key, parts = lexer.binding()
            if key not in RESERVED_BINDINGS:
                raise lexer.fault(f"unexpected variable '{key}'")
            bindings[key] = parts
        if (bindings["rspfile"] == EMPTY) != (bindings["rspfile_content"] == EMPTY):
            raise lexer.fault("rspfile and rspfile_content need to be both specified")
        if bindings["command"] == EMPTY:
            raise lexer.fault("expected 'command =' line")
        scope.rules[name] = Rule(name, bindings)

    def _parse_default(self, lexer: Lexer, scope: Scope) -> None:
        parts = lexer.path()
        if parts == EMPTY:
            raise lexer.fault("expected target name")
        while parts != EMPTY:
            path = self._path(lexer, parts, scope.lookup)
            node = self._graph.nodes.get(path)
            if node is None:
                raise lexer.fault(f"unknown target '{path}'")
            self._graph.defaults.append(node)
            parts = lexer.path()
        lexer.expect(tokens.NEWLINE)

    def _parse_include(self, lexer: Lexer, scope: Scope, inner: Scope, depth: int) -> None:
        file_name = evaluate(lexer.path(), scope.lookup)
        if depth >= limits.NINJA_INCLUDE_DEPTH:
            raise lexer.fault(f"loading '{file_name}': files include each other {depth} deep")
        try:
            data = self._disk.read(file_name)
        except OSError as error:
            raise lexer.fault(f"loading '{file_name}': {error.strerror}") from error
        self._parse(Lexer(file_name, tokens.decode(data)), inner, depth + 1)
        lexer.expect(tokens.NEWLINE)

    def _parse_build(self, lexer: Lexer, scope: Scope) -> None:
        outputs = lexer.paths()
        implicit_outputs = lexer.paths() if lexer.accept(tokens.PIPE) else []
        outputs += implicit_outputs
        if not outputs:
            raise lexer.fault("expected path")
        lexer.expect(tokens.COLON)
        rule_name = lexer.identifier()
        if rule_name is None:
            raise lexer.fault("expected build command name")
        rule = scope.lookup_rule(rule_name)
        if rule is None:
            raise lexer.fault(f"unknown build rule '{rule_name}'")
        inputs = lexer.paths()
        implicit = lexer.paths() if lexer.accept(tokens.PIPE) else []
        order_only = lexer.paths() if lexer.accept(tokens.PIPE2) else []
        validations = lexer.paths() if lexer.accept(tokens.PIPE_AT) else []
        lexer.expect(tokens.NEWLINE)
        own: dict[str, str] | None = None
        while lexer.accept(tokens.INDENT):
            key, parts = lexer.binding()
            own = {} if own is None else own
            own[key] = evaluate(parts, scope.lookup)

        edge = self._graph.add_edge(rule, scope, own)
        self._set_pool(lexer, edge)
        lookup = scope.lookup if own is None else _lookup_in(own, scope)
        edge.implicit_output_count = len(implicit_outputs)
        for parts in outputs:
            self._add_output(lexer, edge, self._path(lexer, parts, lookup))
        edge.implicit_count = len(implicit)
        edge.order_only_count = len(order_only)
        for parts in inputs + implicit + order_only:
            self._add_input(edge, self._graph.node(self._path(lexer, parts, lookup)))
        if validations:
            edge.validations = [self._validation(self._path(lexer, parts, lookup)) for parts in validations]
        self._drop_phony_cycle(edge)
        self._set_dyndep(lexer, edge)

    def _path(self, lexer: Lexer, parts: EvalString, lookup: Callable[[str], str]) -> str:
        path = evaluate(parts, lookup)
        if not path:
            raise lexer.fault("empty path")
        return canonicalize(path)

    def _set_pool(self, lexer: Lexer, edge: Edge) -> None:
        name = edge.binding("pool")
        if name:
            pool = self._graph.pools.get(name)
            if pool is None:
                raise lexer.fault(f"unknown pool name '{name}'")
            edge.pool = pool

    def _add_output(self, lexer: Lexer, edge: Edge, path: str) -> None:
        node = self._graph.node(path)
        if node.in_edge is edge:
            raise lexer.fault(f"{path} is defined as an output multiple times")
        if node.in_edge is not None:
            raise lexer.fault(f"multiple rules generate {path}")
        node.in_edge = edge
        node.is_discovered = False
        edge.outputs.append(node)

    def _add_input(self, edge: Edge, node: Node) -> None:
        node.is_discovered = False
        node.out_edges.append(edge)
        edge.inputs.append(node)

    def _validation(self, path: str) -> Node:
        node = self._graph.node(path)
        node.is_discovered = False
        return node

    def _drop_phony_cycle(self, edge: Edge) -> None:
        """Forgive ``build a: phony a``, which CMake before 3.1 wrote (ninja's ``-w phonycycle=warn``)."""
        if self._refuses_phony_cycle or not edge.may_be_phony_cycle or edge.outputs[0] not in edge.inputs:
            return
        output = edge.outputs[0]
        order_only = [node for node in edge.order_only_inputs if node is not output]
        edge.inputs = [node for node in edge.explicit_inputs if node is not output] + order_only
        edge.order_only_count = len(order_only)
        self._warn(f"phony target '{output.path}' names itself as an input; ignoring [-w phonycycle=warn]")

    def _set_dyndep(self, lexer: Lexer, edge: Edge) -> None:
        path = canonicalize(edge.unescaped_binding("dyndep"))
        if path:
            node = self._graph.node(path)
            if node not in edge.inputs:
                raise lexer.fault(f"dyndep '{path}' is not an input")
            node.is_dyndep_pending = True
            edge.dyndep = node


def _lookup_in(own: dict[str, str], scope: Scope) -> Callable[[str], str]:
    def lookup(name: str) -> str:
        value = own.get(name)
        return scope.lookup(name) if value is None else value

    return lookup


def _leading_integer(text: str) -> int:
    """What C's ``atol`` makes of a text: 0 when it begins with no number."""
    match = re.match(r"\s*[+-]?[0-9]{1,9}", text)
    return int(match[0]) if match else 0
