"""The targets that a user names on the command line."""

from __future__ import annotations

from collections.abc import Iterable

from zbuild.errors import ManifestError
from zbuild.limits import SUGGESTION_EDITS
from zbuild.ninja.deps_log import DepsLog
from zbuild.ninja.graph import Graph
from zbuild.ninja.node import Node
from zbuild.ninja.path import canonicalize

_HINTS = {"clean": "ninja -t clean", "help": "ninja -h"}


def find_targets(graph: Graph, deps_log: DepsLog, names: Iterable[str]) -> list[Node]:
    """The nodes of the names, or the default targets when there is no name.

    Raises:
        ManifestError: a name is unknown, or there is no default.
    """
    return [find_target(graph, deps_log, name) for name in names] or graph.default_nodes()


def find_target(graph: Graph, deps_log: DepsLog, name: str) -> Node:
    """The node of a path; ``path^`` is the first output of the first edge that uses it.

    Raises:
        ManifestError: there is none; the text suggests the nearest one.
    """
    if not name:
        raise ManifestError("empty path")
    path = canonicalize(name)
    is_first_output = path.endswith("^")
    path = path.removesuffix("^")
    node = graph.nodes.get(path)
    if node is None:
        raise ManifestError(f"unknown target '{path}'{_suggestion(graph, path)}")
    if not is_first_output:
        return node
    if node.out_edges:
        return node.out_edges[0].outputs[0]
    user = deps_log.first_user(node)
    if user is None:
        raise ManifestError(f"'{path}' has no out edge")
    return user


def _suggestion(graph: Graph, path: str) -> str:
    hint = _HINTS.get(path) or nearest_path(path, graph.nodes)
    return f", did you mean '{hint}'?" if hint else ""


def nearest_path(path: str, candidates: Iterable[str]) -> str | None:
    """The candidate with the fewest edits from ``path``, if they are few enough."""
    nearest = None
    limit = SUGGESTION_EDITS
    for candidate in candidates:
        distance = _edit_distance(candidate, path, limit)
        if distance <= limit:
            nearest, limit = candidate, distance - 1
            if limit < 0:
                break
    return nearest


def _edit_distance(left: str, right: str, limit: int) -> int:
    """Levenshtein's distance, or ``limit + 1`` if it is more than ``limit``."""
    if abs(len(left) - len(right)) > limit:
        return limit + 1
    row = list(range(len(right) + 1))
    for index, character in enumerate(left, 1):
        diagonal = row[0]
        row[0] = index
        for column, other in enumerate(right, 1):
            above = row[column]
            row[column] = min(diagonal + (character != other), row[column - 1] + 1, above + 1)
            diagonal = above
        if min(row) > limit:
            return limit + 1
    return row[-1]
