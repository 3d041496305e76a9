"""What surrounds a command on the disk: before it starts, and after it succeeded.

Source: ``StartEdge``, ``ExtractDeps`` and ``FinishCommand`` in ninja's ``src/build.cc``.
"""

from __future__ import annotations

from typing import NamedTuple

from zbuild.errors import ManifestError
from zbuild.ninja.depfile import parse_depfile
from zbuild.ninja.disk import Disk
from zbuild.ninja.edge import Edge
from zbuild.ninja.graph import Graph
from zbuild.ninja.node import Node
from zbuild.ninja.path import canonicalize
from zbuild.ninja.plan import Plan
from zbuild.ninja.show_includes import parse_show_includes

LOCK_NAME = ".ninja_lock"


class Extracted(NamedTuple):
    """``output``: what the command printed, less the lines about includes. ``inputs``: those it reported."""

    output: bytes
    inputs: list[Node]


def begin_edge(edge: Edge, graph: Graph, disk: Disk) -> int:
    """Make the directories of the outputs and the depfile; the time by the disk's clock, in ns.

    That time goes to ``finish_edge``: an input that is changed from now on is newer than it.

    Raises:
        OSError: a directory or the file that the time is taken from cannot be made.
        ManifestError: the disk does not tell the time.
    """
    for node in edge.outputs:
        disk.make_dirs(node.path)
    depfile = edge.depfile
    if depfile:
        disk.make_dirs(depfile)
    lock = graph.log_path(LOCK_NAME)
    disk.make_dirs(lock)
    disk.write(lock, b"")
    return disk.stat(lock)


def remove_lock(graph: Graph, disk: Disk) -> None:
    """Remove the file that ``begin_edge`` takes the time from, at the end of a build.

    Raises:
        OSError: it cannot be removed.
    """
    disk.remove(graph.log_path(LOCK_NAME))


def extract_deps(
    edge: Edge,
    output: bytes,
    graph: Graph,
    disk: Disk,
    is_keeping_depfile: bool = False,
    depfile_data: bytes | None = None,
) -> Extracted:
    """Take from a command's depfile (``deps = gcc``) or output (``msvc``) what inputs it had.

    To be called also for a command that failed, to have its output filtered. The depfile is removed.

    Args:
        depfile_data: what the depfile holds, where it is not on the disk.

    Raises:
        ManifestError: the depfile is malformed or the edge asks for the impossible. The edge has failed
            then, even if its command succeeded; the message belongs behind the command's output.
        OSError: the depfile cannot be read or removed.
    """
    deps_type = edge.deps_type
    if not deps_type:
        return Extracted(output, [])
    if deps_type == "msvc":
        found = parse_show_includes(output.decode("utf-8", "surrogateescape"), edge.msvc_deps_prefix)
        inputs = [graph.node(path) for path in found.includes]
        return Extracted(found.output.encode("utf-8", "surrogateescape"), inputs)
    if deps_type != "gcc":
        raise ManifestError(f"unknown deps type '{deps_type}'")
    depfile = edge.depfile
    if not depfile:
        raise ManifestError("edge with deps=gcc but no depfile makes no sense")
    data = depfile_data
    if data is None:
        try:
            data = disk.read(depfile)
        except FileNotFoundError:
            data = b""
    if not data:
        return Extracted(output, [])
    names = parse_depfile(data).inputs
    if not is_keeping_depfile:
        disk.remove(depfile)
    return Extracted(output, [graph.node(canonicalize(name)) for name in names])


def finish_edge(
    edge: Edge, plan: Plan, disk: Disk, inputs: list[Node], start_ms: int, end_ms: int, begin_mtime_ns: int
) -> None:
    """Record an edge whose command succeeded and whose outputs are on the disk, and tell the plan.

    Args:
        inputs: from ``extract_deps``.
        start_ms: when it started, in ms since the build began; ``end_ms``: when it ended.
        begin_mtime_ns: from ``begin_edge``.

    Raises:
        ManifestError: a dyndep file among the outputs is malformed, or the disk failed.
        OSError: a log cannot be written.
    """
    is_restat = edge.is_restat
    recorded_mtime_ns = begin_mtime_ns
    if is_restat or edge.is_generator:
        is_cleaned = False
        for node in edge.outputs:
            mtime_ns = disk.stat(node.path)
            recorded_mtime_ns = max(recorded_mtime_ns, mtime_ns)
            if is_restat and node.mtime_ns == mtime_ns:
                # Unchanged, or still missing: what only this made dirty is clean after all.
                plan.clean_node(node)
                is_cleaned = True
        if is_cleaned:
            recorded_mtime_ns = begin_mtime_ns
    plan.edge_finished(edge, is_success=True)
    plan.scan.build_log.record(edge, start_ms, end_ms, recorded_mtime_ns)
    if edge.deps_type:
        for node in edge.outputs:
            plan.scan.deps_log.record(node, disk.stat(node.path), inputs)
