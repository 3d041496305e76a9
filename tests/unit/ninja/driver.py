"""A small local builder on top of zbuild.ninja, and a disk in memory, for the tests of that package."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from zbuild.errors import ManifestError
from zbuild.ninja import build_log, deps_log
from zbuild.ninja.build_log import BuildLog
from zbuild.ninja.deps_log import DepsLog
from zbuild.ninja.dirty import DirtyScan
from zbuild.ninja.disk import Disk, RealDisk
from zbuild.ninja.edge import Edge
from zbuild.ninja.execution import begin_edge, extract_deps, finish_edge, remove_lock
from zbuild.ninja.graph import Graph
from zbuild.ninja.manifest import load_manifest
from zbuild.ninja.node import Node
from zbuild.ninja.plan import Plan
from zbuild.ninja.target import find_targets

Runner = Callable[[Edge], tuple[bool, bytes]]
"""Runs a command; whether it succeeded, and its output."""


class MemoryDisk:
    """Files in a dictionary and a clock that the test moves."""

    def __init__(self, files: dict[str, str] | None = None) -> None:
        self.now_ns = 1
        self.files: dict[str, bytes] = {}
        self.mtimes_ns: dict[str, int] = {}
        self.stat_calls: list[str] = []
        for path, text in (files or {}).items():
            self.write(path, text.encode())

    def tick(self) -> int:
        self.now_ns += 1
        return self.now_ns

    def put(self, path: str, text: str = "") -> None:
        """Write a file at a later time than all before."""
        self.tick()
        self.write(path, text.encode())

    def stat(self, path: str) -> int:
        self.stat_calls.append(path)
        return self.mtimes_ns.get(path, 0)

    def read(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self.files[path]

    def write(self, path: str, data: bytes) -> None:
        self.files[path] = data
        self.mtimes_ns[path] = self.now_ns

    def append(self, path: str, data: bytes) -> None:
        self.write(path, self.files.get(path, b"") + data)

    def truncate(self, path: str, size_bytes: int) -> None:
        self.write(path, self.files[path][:size_bytes])

    def replace(self, source: str, target: str) -> None:
        self.write(target, self.files.pop(source))
        del self.mtimes_ns[source]

    def remove(self, path: str) -> None:
        self.files.pop(path, None)
        self.mtimes_ns.pop(path, None)

    def make_dirs(self, path: str) -> None:
        return


@dataclass
class Build:
    """One build: what is loaded, what ran, and why."""

    disk: Disk
    graph: Graph
    build_log: BuildLog
    deps_log: DepsLog
    plan: Plan
    scan: DirtyScan
    explanations: list[str]
    warnings: list[str]
    ran: list[Edge] = field(default_factory=list)
    failed: list[Edge] = field(default_factory=list)
    output: bytes = b""

    @property
    def ran_outputs(self) -> list[str]:
        return [edge.outputs[0].path for edge in self.ran]

    def run(self, runner: Runner) -> None:
        """Carry the plan out, one command at a time, as long as anything can run."""
        started = time.monotonic()
        while self.plan.has_more_to_do:
            edge = self.plan.find_work()
            if edge is None:
                break
            begin_ms = int(1000 * (time.monotonic() - started))
            begin_mtime_ns = begin_edge(edge, self.graph, self.disk)
            if edge.rspfile:
                self.disk.write(edge.rspfile, edge.rspfile_content.encode())
            self.ran.append(edge)
            is_success, output = runner(edge)
            inputs: list[Node] = []
            try:
                output, inputs = extract_deps(edge, output, self.graph, self.disk)
            except ManifestError as error:
                is_success, output = False, output + str(error).encode()
            self.output += output
            if not is_success:
                self.failed.append(edge)
                self.plan.edge_finished(edge, is_success=False)
                continue
            if edge.rspfile:
                self.disk.remove(edge.rspfile)
            end_ms = int(1000 * (time.monotonic() - started))
            finish_edge(edge, self.plan, self.disk, inputs, begin_ms, end_ms, begin_mtime_ns)
        remove_lock(self.graph, self.disk)


def prepare(
    disk: Disk | None = None,
    targets: tuple[str, ...] = (),
    new_log_version: int = 5,
    file_name: str = "build.ninja",
    warn: Callable[[str], None] | None = None,
) -> Build:
    """Load manifest and logs and plan the targets."""
    disk = disk or RealDisk()
    warnings: list[str] = []
    explanations: list[str] = []
    graph = load_manifest(disk, file_name, warn or warnings.append)
    log = BuildLog(disk, graph.log_path(build_log.FILE_NAME), new_log_version)
    deps = DepsLog(disk, graph.log_path(deps_log.FILE_NAME), graph)
    scan = DirtyScan(graph, disk, log, deps, lambda node, reason: explanations.append(reason))
    plan = Plan(scan)
    build = Build(disk, graph, log, deps, plan, scan, explanations, warnings)
    for node in find_targets(graph, deps, targets):
        plan.add_target(node)
    return build


def run_command(edge: Edge) -> tuple[bool, bytes]:
    """Run the edge's command in the current directory."""
    result = subprocess.run(
        ["/bin/sh", "-c", edge.command()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return result.returncode == 0, result.stdout
