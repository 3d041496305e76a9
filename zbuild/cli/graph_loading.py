"""From a manifest and ninja's logs to a graph that can be asked what is to be done."""

from __future__ import annotations

import os
from collections.abc import Callable

from zbuild.cli.real_ninja import STAND_IN_VERSION, ninja_version
from zbuild.errors import ManifestError
from zbuild.ninja import build_log, deps_log
from zbuild.ninja.build_log import BuildLog
from zbuild.ninja.deps_log import DepsLog
from zbuild.ninja.dirty import DirtyScan
from zbuild.ninja.disk import Disk
from zbuild.ninja.graph import Graph
from zbuild.ninja.manifest import load_manifest
from zbuild.ninja.node import Node
from zbuild.ninja.version import build_log_version


def load_graph(
    disk: Disk,
    file: str,
    warn: Callable[[str], None],
    explain: Callable[[Node, str], None] | None = None,
    *,
    refuses_phony_cycle: bool = False,
) -> tuple[Graph, DirtyScan]:
    """The graph of the manifest ``file``, and the scan that knows what of it is out of date.

    ``refuses_phony_cycle``: -w phonycycle=err.

    Raises:
        ManifestError: ninja would refuse the manifest or a log, too.
    """
    graph = load_manifest(disk, file, warn, refuses_phony_cycle=refuses_phony_cycle)
    log_path = graph.log_path(build_log.FILE_NAME)
    log = BuildLog(disk, log_path, _new_log_version(log_path))
    deps = DepsLog(disk, graph.log_path(deps_log.FILE_NAME), graph)
    for warning in (log.warning, deps.warning):
        if warning:
            warn(warning)
    return graph, DirtyScan(graph, disk, log, deps, explain)


def leaf_inputs(graph: Graph) -> list[str]:
    """The files that no edge makes: the sources."""
    return [node.path for node in graph.nodes.values() if node.in_edge is None]


def _new_log_version(path: str) -> int:
    """The version of a log that does not exist yet: what the ninja on PATH writes. One that exists keeps its own."""
    try:
        return build_log_version(STAND_IN_VERSION if os.path.exists(path) else ninja_version())
    except (ManifestError, ValueError):
        return build_log_version(STAND_IN_VERSION)
