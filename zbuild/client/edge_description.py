"""What the analysis of inputs wants to know of an edge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zbuild.inputs.analysis import CommandDescription
from zbuild.ninja.deps_log import DepsLog
from zbuild.ninja.edge import Edge
from zbuild.ninja.node import Node


def describe(edge: Edge, deps_log: DepsLog, build_dir: str) -> CommandDescription:
    """The edge as a command with declared inputs.

    A compile edge's order-only inputs say when it may run, not what it reads: the include scan
    finds those generated headers that it does read. What the deps log has added to the implicit
    inputs is history, and is passed apart from what the manifest declares.
    """
    outputs = [node.path for node in edge.outputs]
    logged = deps_log.deps(edge.outputs[0])
    known = set(logged) if logged is not None else set()
    declared = list(edge.explicit_inputs)
    declared += [node for node in edge.implicit_inputs if node not in known or node.in_edge is not None]
    depfile = edge.depfile
    if not (depfile or edge.deps_type):
        declared += edge.order_only_inputs
    rspfile = edge.rspfile
    return CommandDescription(
        command=edge.command(),
        working_directory=build_dir,
        inputs=tuple(_files(declared)),
        outputs=tuple(outputs),
        depfile=depfile or None,
        deps=edge.deps_type,
        rspfile=rspfile or None,
        rspfile_content=edge.rspfile_content if rspfile else None,
        known_deps=tuple(node.path for node in known) if known else None,
    )


def _files(nodes: Iterable[Node]) -> Iterator[str]:
    """The paths of real files, with those behind phony names in their place."""
    seen: set[Node] = set()
    stack = list(nodes)[::-1]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.in_edge is not None and node.in_edge.is_phony:
            stack.extend(reversed(node.in_edge.inputs))
        else:
            yield node.path
