"""Where the time and the CPU of one remote action go.

A project is built on a standing farm. The client's share is measured on its own code, the worker's from the
resources that each result reports, each daemon's CPU from /proc; and a plain spawn stands beside the sandbox.
"""

from __future__ import annotations

import argparse
import os
import select
import sqlite3
import statistics
import time
from collections.abc import Callable

from tests.bench.described_edges import compile_edges, inside
from tests.bench.processor_time import measure, used_by
from tests.bench.report import Report, Row
from tests.bench.source_trees import TINY, ConfiguredTree, configured
from tests.bench.standing_farm import StandingFarm
from tests.bench.workspace import Workspace, module
from tests.projects import PROJECTS
from zbuild.client.action_builder import ActionBuilder
from zbuild.inputs.analysis import Remote, analyse
from zbuild.model.action import ResourceUsage, decode_result
from zbuild.model.capabilities import DEFAULT, Capabilities
from zbuild.sandbox.launch import to_spawn
from zbuild.sandbox.spawn_protocol import Exited, Spawn
from zbuild.sandbox.spawner import Spawner, start_spawner
from zbuild.sandbox.spec import SandboxLevel, SandboxSpec
from zbuild.sandbox.system import SystemTree

_PHASES = ("fetch_s", "stage_s", "run_s", "collect_s", "upload_s", "user_s", "system_s")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="-j and slots of the farm")
    parser.add_argument("--files", type=int, default=60, help="C files of the tiny tree")
    parser.add_argument("--project", default="c-ares", choices=[TINY, *PROJECTS])
    parser.add_argument("--spawns", type=int, default=200)


def run(arguments: argparse.Namespace, workspace: Workspace) -> Report:
    report = Report("action")
    tree = configured(workspace, arguments.project, arguments.files)
    report.tables["the client, CPU ms per compile edge"] = _client(workspace, tree)
    _farm(workspace, tree, arguments, report)
    report.tables["/usr/bin/true, ms per spawn"] = _spawns(workspace, arguments.spawns)
    return report


def _client(workspace: Workspace, tree: ConfiguredTree) -> list[Row]:
    """Twice: with nothing known of the sources, and with the caches of the first time."""
    cache = workspace.path / "client"
    rows: list[Row] = []
    with inside(tree.build):
        edges = compile_edges(tree.build)
        warmed = edges.context(cache)
        analyse(edges.commands[0], warmed)
        warmed.toolchain.save()
        for name in ("sources new", "sources known"):
            context = edges.context(cache)
            analyse(edges.commands[0], context)
            builder = ActionBuilder(context.digests, context.toolchain, "hermetic", DEFAULT, joins_stderr=True)
            began_s = time.process_time()
            analyses = [analyse(command, context) for command in edges.commands]
            analysed_s = time.process_time()
            for analysis in analyses:
                if isinstance(analysis, Remote):
                    builder.build(analysis)
            ended_s = time.process_time()
            context.save()
            context.digests.save()
            scale = 1000 / len(edges.commands)
            rows.append(
                {
                    "caches": name,
                    "analyse_ms": round((analysed_s - began_s) * scale, 3),
                    "digest_and_encode_ms": round((ended_s - analysed_s) * scale, 3),
                }
            )
    return rows


def _farm(workspace: Workspace, tree: ConfiguredTree, arguments: argparse.Namespace, report: Report) -> None:
    command = module("zbuild.cli.main", "build", f"-j{arguments.jobs}", "--json")
    command += ["--cache-dir", str(workspace.path / "client")]
    with StandingFarm(workspace, arguments.jobs) as farm:
        command += ["--coordinator", farm.endpoint]
        environment = workspace.environment()
        # The first build on a farm finds out what toolchain each side has.
        measure(command, cwd=tree.build, environment=environment, daemons=farm.pids)
        farm.forget_results()
        tree.reset()
        cold = measure(command, cwd=tree.build, environment=environment, daemons=farm.pids)
        resources = _resources(farm)
    actions = len(resources)
    report.tables[f"{arguments.project}: CPU of {actions} actions, by process"] = [
        {"process": name, "cpu_s": round(seconds, 3), "ms_per_action": round(1000 * seconds / actions, 2)}
        for name, seconds in cold.by_process.items()
        if seconds
    ]
    report.tables["the worker, as results report it, ms per action"] = [
        {
            "phase": phase,
            "median_ms": round(1000 * statistics.median(getattr(usage, phase) for usage in resources), 2),
            "mean_ms": round(1000 * statistics.fmean(getattr(usage, phase) for usage in resources), 2),
        }
        for phase in _PHASES
    ]
    busy = sum(usage.run_s for usage in resources) / (arguments.jobs * cold.wall_s)
    report.notes.append(f"wall {cold.wall_s:.2f} s; of that the slots ran commands {100 * busy:.0f}%")


def _resources(farm: StandingFarm) -> list[ResourceUsage]:
    farm.stop()
    with sqlite3.connect(farm.results_path) as connection:
        rows = connection.execute("SELECT value FROM result").fetchall()
    connection.close()
    return [decode_result(value).resources for (value,) in rows]


def _spawns(workspace: Workspace, count: int) -> list[Row]:
    stage = workspace.path / "stage"
    (stage / "zb/src").mkdir(parents=True)
    system = SystemTree(workspace.path / "system").paths()

    def spec(level: SandboxLevel) -> SandboxSpec:
        return SandboxSpec(
            level=level,
            stage_root=str(stage),
            read_only_paths=(),
            writable_root="/zb/src",
            working_directory="/zb/src",
            arguments=("/usr/bin/true",),
            environment=(),
            stdout_path=str(stage / "stdout"),
            stderr_path=None,
            capabilities=Capabilities(timeout_s=60.0),
            system=system,
        )

    spawner = start_spawner()
    try:
        return [
            _spawn_row("plain, through the spawner", spawner, count, lambda n: to_spawn(spec(SandboxLevel.NONE), n)),
            _spawn_row("in bubblewrap", spawner, count, lambda n: to_spawn(spec(SandboxLevel.HERMETIC), n + count)),
        ]
    finally:
        spawner.close()


def _spawn_row(name: str, spawner: Spawner, count: int, make: Callable[[int], Spawn]) -> Row:
    """One after the other."""
    _run_one(spawner, make(0))
    before = sum(used_by([spawner.pid]).values())
    began_s = time.perf_counter()
    for number in range(1, count):
        _run_one(spawner, make(number))
    wall_s = time.perf_counter() - began_s
    cpu_s = sum(used_by([spawner.pid]).values()) - before
    return {
        "spawn": name,
        "wall_ms": round(1000 * wall_s / (count - 1), 3),
        "cpu_ms": round(1000 * cpu_s / (count - 1), 3),
    }


def _run_one(spawner: Spawner, spawn: Spawn) -> Exited:
    spawner.send(spawn)
    while True:
        select.select([spawner], [], [])
        for exited in spawner.receive():
            if exited.error or exited.exit_code:
                raise SystemExit(f"the spawn did not work: {exited}")
            return exited
