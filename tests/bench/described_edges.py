"""The compile edges of a configured build directory, and what the client's analysis needs to look at them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zbuild.client.edge_description import describe
from zbuild.inputs.analysis import AnalysisContext, CommandDescription
from zbuild.inputs.file_digests import FileDigests
from zbuild.inputs.roots import Roots
from zbuild.inputs.source_root import find_source_root
from zbuild.inputs.toolchain import Toolchain
from zbuild.ninja import deps_log
from zbuild.ninja.deps_log import DepsLog
from zbuild.ninja.disk import RealDisk
from zbuild.ninja.manifest import load_manifest


@dataclass(frozen=True)
class DescribedEdges:
    """``commands``: the compile edges, as the client describes them to the analysis."""

    source_root: str
    build: str
    commands: list[CommandDescription]

    def context(self, cache: Path) -> AnalysisContext:
        """A new context, as of a client that has just started; ``cache`` is its cache directory."""
        cache.mkdir(exist_ok=True)
        return AnalysisContext(
            Roots(self.source_root, self.build),
            Toolchain(str(cache / "toolchain")),
            FileDigests(str(cache / "file_digests")),
            environment=os.environ,
            facts_path=str(cache / "include_facts"),
        )


def compile_edges(build: Path) -> DescribedEdges:
    """Must be called inside ``build``: see ``inside``."""
    disk = RealDisk()
    graph = load_manifest(disk, "build.ninja", _ignore)
    log = DepsLog(disk, deps_log.FILE_NAME, graph)
    leaves = [node.path for node in graph.nodes.values() if node.in_edge is None]
    commands = [
        describe(edge, log, str(build)) for edge in graph.edges if not edge.is_phony and edge.deps_type == "gcc"
    ]
    return DescribedEdges(find_source_root(str(build), leaves), str(build), commands)


@contextlib.contextmanager
def inside(directory: Path) -> Iterator[None]:
    """With ``directory`` as the working directory, as a client has it."""
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


def _ignore(_warning: str) -> None:
    """What the manifest warns of is of no interest here."""
