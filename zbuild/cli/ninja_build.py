"""One ``zbuild build`` from reading the manifest to the last log record."""

from __future__ import annotations

import argparse
import itertools
import os
from typing import TYPE_CHECKING

from zbuild.cli.graph_loading import leaf_inputs, load_graph
from zbuild.client.console import Console
from zbuild.client.summary import Summary
from zbuild.config import ClientConfig
from zbuild.errors import ExitCode
from zbuild.limits import IN_FLIGHT_EDGES, IN_FLIGHT_PER_JOB, TOOLS_GUESSED_EDGES
from zbuild.ninja import build_log
from zbuild.ninja.dirty import DirtyScan
from zbuild.ninja.disk import RealDisk
from zbuild.ninja.execution import remove_lock
from zbuild.ninja.graph import Graph
from zbuild.ninja.node import Node
from zbuild.ninja.plan import Plan
from zbuild.ninja.regenerate import check_tries, is_manifest_remade, plan_manifest
from zbuild.ninja.status import DEFAULT_FORMAT, Progress
from zbuild.ninja.target import find_targets

if TYPE_CHECKING:
    from zbuild.cli.farm_choice import FarmChoice
    from zbuild.client.farm_session import FarmSession
    from zbuild.client.trace import Trace


class NinjaBuild:
    """Reads the manifest, plans, and has the plan carried out, by the rules of ninja's ``real_main``."""

    def __init__(
        self, flags: argparse.Namespace, config: ClientConfig, console: Console, summary: Summary, began_s: float
    ) -> None:
        self._flags = flags
        self._config = config
        self._console = console
        self._summary = summary
        self._began_s = began_s
        self._disk = RealDisk()
        self._choice: FarmChoice | None = None
        self._session: FarmSession | None = None
        self._trace: Trace | None = None

    def run(self) -> int:
        """Build the targets; the exit code.

        Raises:
            ZbuildError: the manifest is malformed, a target is unknown, or the farm cannot be had.
        """
        try:
            return self._run()
        finally:
            if self._choice is not None:
                for problem in self._choice.close():
                    self._warn(f"not kept for the next build: {problem}")
            if self._trace is not None:
                self._trace.close()

    def _run(self) -> int:
        for tries in itertools.count():
            check_tries(self._flags.file, tries)
            graph, scan = self._load()
            plan = plan_manifest(scan, self._flags.file)
            if plan is None:
                break
            if self._flags.is_dry_run:
                return self._show(plan)
            code = self._carry_out(plan, graph)
            if code:
                return self._stopped(code, plan)
            if not is_manifest_remade(scan, self._flags.file):
                break
        plan = Plan(scan)
        for node in find_targets(graph, scan.deps_log, self._flags.targets):
            plan.add_target(node)
        if not plan.has_more_to_do:
            self._console.remark("zbuild: no work to do.")
            return int(ExitCode.OK)
        if self._flags.is_dry_run:
            return self._show(plan)
        code = self._carry_out(plan, graph)
        if code:
            return self._stopped(code, plan)
        return int(ExitCode.OK)

    def _load(self) -> tuple[Graph, DirtyScan]:
        explain = self._explain if "explain" in self._flags.debug else None
        refuses = self._flags.warnings[-1:] == ["phonycycle=err"]
        return load_graph(self._disk, self._flags.file, self._warn, explain, refuses_phony_cycle=refuses)

    def _warn(self, text: str) -> None:
        self._console.message(f"zbuild: warning: {text}")

    def _explain(self, _node: Node, text: str) -> None:
        self._console.message(f"zbuild explain: {text}")

    def _carry_out(self, plan: Plan, graph: Graph) -> int:
        from zbuild.cli.farm_choice import FarmChoice

        jobs = self._flags.jobs if self._flags.jobs is not None else self._config.parallelism or None
        parallelism = jobs if jobs else _default_parallelism() if jobs is None else 1_000_000
        if self._choice is None:
            self._choice = FarmChoice(self._flags, self._config, parallelism)
        if not all(edge.is_phony or edge.is_generator or edge.is_console for edge in plan.wanted_edges()):
            self._choice.begin()
            if self._session is None:
                self._choice.check_tools(_first_programs(plan))
        from zbuild.client.build import Build
        from zbuild.client.build_options import BuildOptions

        if self._flags.trace and self._trace is None:
            from zbuild.client.trace import Trace

            self._trace = Trace(self._flags.trace, self._began_s)
        scan = plan.scan
        self._disk.make_dirs(graph.log_path(build_log.FILE_NAME))
        scan.build_log.create()
        scan.deps_log.create()
        if self._session is None:
            self._session = self._open_session(self._choice, graph, falls_back=self._config.local_fallback)
        options = BuildOptions(
            parallelism=parallelism,
            in_flight=_in_flight(jobs, is_own_farm=self._choice.is_embedded),
            failures_allowed=max(self._flags.failures, 0),
            is_verbose=self._flags.is_verbose,
            keeps_depfile="keepdepfile" in self._flags.debug,
            keeps_rspfile="keeprsp" in self._flags.debug,
            is_explained="explain" in self._flags.debug,
            manifest=self._flags.file,
            max_load=self._flags.max_load,
            falls_back=self._config.local_fallback,
            trace=self._trace,
        )
        progress = Progress(os.environ.get("NINJA_STATUS", DEFAULT_FORMAT), parallelism)
        build = Build(
            plan,
            graph,
            self._disk,
            options,
            self._session,
            self._console,
            progress,
            self._summary,
            self._choice.signals.descriptor,
            self._began_s,
        )
        try:
            return build.run()
        finally:
            remove_lock(graph, self._disk)

    @staticmethod
    def _open_session(choice: FarmChoice, graph: Graph, *, falls_back: bool) -> FarmSession:
        from zbuild.inputs.source_root import find_source_root

        leaves = leaf_inputs(graph)
        keeps_relative_paths = any(path.startswith("../") for path in leaves)
        source_root = find_source_root(os.getcwd(), leaves)
        return choice.open(source_root, keeps_relative_paths=keeps_relative_paths, falls_back=falls_back)

    def _stopped(self, code: int, plan: Plan) -> int:
        if code == int(ExitCode.INTERRUPTED):
            reason = "interrupted by user"
        elif plan.has_more_to_do and self._flags.failures != 1:
            reason = "cannot make progress due to previous errors"
        else:
            reason = "subcommand failed"
        self._console.message(f"zbuild: build stopped: {reason}.")
        return code

    def _show(self, plan: Plan) -> int:
        """-n: go through the plan as if every command succeeded."""
        progress = Progress(os.environ.get("NINJA_STATUS", DEFAULT_FORMAT), 1)
        for _ in range(plan.command_edge_count):
            progress.edge_added(None)
        while plan.has_more_to_do and (edge := plan.find_work()) is not None:
            progress.edge_started(0)
            progress.edge_finished(0, 0, None)
            title = edge.command() if self._flags.is_verbose else edge.description or edge.command()
            self._console.progress(progress.text() + title, progress.finished, progress.total)
            progress.edge_left()
            plan.edge_finished(edge, is_success=True)
        return int(ExitCode.OK)


def _first_programs(plan: Plan) -> set[str]:
    """The first words of some commands: as a rule the compilers that the build needs first."""
    edges = itertools.islice((edge for edge in plan.wanted_edges() if not edge.is_phony), TOOLS_GUESSED_EDGES)
    return {edge.command().partition(" ")[0] for edge in edges}


def _default_parallelism() -> int:
    """ninja's guess (GuessParallelism in src/ninja.cc)."""
    processors = len(os.sched_getaffinity(0))
    return {1: 2, 2: 3}.get(processors, processors + 2)


def _in_flight(jobs: int | None, *, is_own_farm: bool) -> int:
    """Edges under way at once. A farm of our own has as many slots as -j says, so its slots are the bound.

    -j1 is one after the other everywhere: people give it to read what is printed in order, and to see nothing
    after a failure.
    """
    if jobs == 1:
        return 1
    return min(IN_FLIGHT_EDGES, IN_FLIGHT_PER_JOB * jobs) if jobs and not is_own_farm else IN_FLIGHT_EDGES
