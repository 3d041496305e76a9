"""The short way to read the build statements that generators write.

A statement without ``$`` is split by one regular expression, and its bindings stay unsplit until
something asks for one. Whatever this way cannot take, or finds wrong, is left to be read token by
token; only that reports errors.
"""

from __future__ import annotations

import re

from zbuild.ninja.edge import Edge
from zbuild.ninja.graph import Graph
from zbuild.ninja.lexer import Lexer
from zbuild.ninja.node import Node
from zbuild.ninja.path import canonicalize
from zbuild.ninja.scope import Rule, Scope

_PATHS = r"([^$:|\n]*)"
_PLAIN_BUILD = re.compile(
    rf"build +{_PATHS}(?:\|(?![|@]){_PATHS})?: *([A-Za-z0-9_.\-]+)(?: +{_PATHS})?"
    rf"(?:\|(?![|@]){_PATHS})?(?:\|\|{_PATHS})?(?:\|@{_PATHS})?\n"
    r"((?: +[A-Za-z0-9_.\-]+ *=.*\n)*+)(?![ #])"
)
"""Groups: outputs, implicit outputs, rule, inputs, implicit, order-only, validations, bindings.

A line with leading space or a comment behind it could go on with the bindings, so neither may follow.
"""


def read_plain_build(graph: Graph, lexer: Lexer, scope: Scope) -> Edge | None:
    """Take in the build statement whose keyword was read last, in a text without carriage returns.

    None, and nothing has changed but that nodes may exist, if it must be read token by token.
    """
    match = _PLAIN_BUILD.match(lexer.text, lexer.last)
    if match is None:
        return None
    outs, implicit_outs, rule_name, ins, implicit_ins, order_only_ins, validations, block = match.groups()
    rule = scope.lookup_rule(rule_name)
    if rule is None or _needs_evaluation(rule, block):
        return None
    outputs = _nodes(graph, outs)
    implicit_outputs = _nodes(graph, implicit_outs) if implicit_outs else []
    outputs += implicit_outputs
    if not outputs or (len(outputs) > 1 and len(set(outputs)) != len(outputs)):
        return None
    for node in outputs:
        if node.in_edge is not None:
            return None

    edge = graph.add_edge(rule, scope, None)
    edge.set_block(block)
    edge.outputs = outputs
    edge.implicit_output_count = len(implicit_outputs)
    for node in outputs:
        node.in_edge = edge
        node.is_discovered = False
    inputs = _nodes(graph, ins) if ins else []
    if implicit_ins:
        implicit = _nodes(graph, implicit_ins)
        edge.implicit_count = len(implicit)
        inputs += implicit
    if order_only_ins:
        order_only = _nodes(graph, order_only_ins)
        edge.order_only_count = len(order_only)
        inputs += order_only
    edge.inputs = inputs
    for node in inputs:
        node.is_discovered = False
        node.out_edges.append(edge)
    if validations:
        edge.validations = _nodes(graph, validations)
        for node in edge.validations:
            node.is_discovered = False
    lexer.position = match.end()
    return edge


def _needs_evaluation(rule: Rule, block: str) -> bool:
    """Whether the statement has variables to expand now, or may set its pool or dyndep file."""
    bindings = rule.bindings
    return "$" in block or "pool" in block or "dyndep" in block or "pool" in bindings or "dyndep" in bindings


def _nodes(graph: Graph, paths: str) -> list[Node]:
    """The nodes of paths separated by spaces."""
    nodes = graph.nodes
    found = []
    for path in paths.split(" "):
        node = nodes.get(path)
        if node is None:
            if not path:
                continue
            # A path that is in the table is canonical, so that only new ones need the work.
            node = graph.node(canonicalize(path))
        found.append(node)
    return found
