"""What zbuild costs beside plain ninja and beside distcc, on one machine with the same slots.

The contenders take turns, so that the machine's moods hit all alike, and each figure is the median of its
rounds. A cold build starts from a fresh build directory and an empty cache, on a farm that knows the
machine's toolchain (it has built before); in a warm one the outputs are gone and every action is a hit. The
very first build, with no cache of any kind, is reported apart. CPU is user and system time of everything
involved, daemons included.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

from tests.bench import noop_tree
from tests.bench.distcc_farm import DistccFarm
from tests.bench.processor_time import Measured, measure
from tests.bench.report import Aim, Report, ratio, spread
from tests.bench.source_trees import TINY, ConfiguredTree, configured
from tests.bench.standing_farm import StandingFarm
from tests.bench.workspace import Workspace, module
from tests.projects import PROJECTS, Unobtainable

NINJA = "ninja"
DISTCC = "distcc"
STANDING_COLD = "zbuild, standing farm, cold"
STANDING_WARM = "zbuild, standing farm, warm"
EMBEDDED_COLD = "zbuild, embedded farm, cold"
EMBEDDED_WARM = "zbuild, embedded farm, warm"
FIRST = "zbuild, embedded farm, very first"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="-j and slots of every farm")
    parser.add_argument("--files", type=int, default=60, help="C files of the tiny tree")
    parser.add_argument("--project", default="ninja", choices=["none", *PROJECTS], help="the real project")
    parser.add_argument("--edges", type=int, default=2000, help="edges of the no-op build")


def run(arguments: argparse.Namespace, workspace: Workspace) -> Report:
    report = Report("overhead")
    tiny = _Race(workspace, TINY, arguments, report)
    tiny.run(arguments.rounds)
    aims = [
        Aim("tiny files, cold, wall against ninja", tiny.wall_ratio(STANDING_COLD), "<=", 1.6),
        Aim("tiny files, cold, wall against distcc", tiny.wall_ratio(STANDING_COLD, DISTCC), "<=", 1.0),
    ]
    if arguments.project != "none":
        real = _Race(workspace, arguments.project, arguments, report)
        try:
            real.run(arguments.rounds)
        except Unobtainable as error:
            report.notes.append(f"SKIPPED {arguments.project}: {error}")
        aims += [
            Aim(f"{arguments.project}, cold, wall against ninja", real.wall_ratio(STANDING_COLD), "<=", 1.1),
            Aim(f"{arguments.project}, warm, wall against ninja's cold", real.wall_ratio(STANDING_WARM), "<=", 0.15),
        ]
    aims.append(_no_op(workspace, arguments.edges, report))
    report.aims = aims
    report.notes.append("ratios are medians of each round's quotient; the aims are those of the standing farm")
    return report


class _Race:
    """One tree, built by all contenders in turn."""

    def __init__(self, workspace: Workspace, name: str, arguments: argparse.Namespace, report: Report) -> None:
        self._workspace = workspace
        self._name = name
        self._jobs: int = arguments.jobs
        self._files: int = arguments.files
        self._report = report
        self._runs: dict[str, list[Measured]] = {}
        self._client_cache = workspace.path / f"client-{name}"
        self._embedded_cache = workspace.path / f"embedded-{name}"

    def run(self, rounds: int) -> None:
        """
        Raises:
            Unobtainable: the project cannot be had.
            CommandFailed: a build fails.
        """
        tree = configured(self._workspace, self._name, self._files)
        contenders: dict[str, Callable[[], Measured]] = {}
        farm = StandingFarm(self._workspace, self._jobs)
        distcc = DistccFarm(self._workspace, self._jobs)
        if absence := DistccFarm.absence():
            self._report.notes.append(f"SKIPPED distcc: {absence}")
        else:
            distcc_tree = configured(self._workspace, self._name, self._files, launcher="distcc")
            contenders[DISTCC] = lambda: self._distcc(distcc_tree, distcc)
        contenders |= {
            NINJA: lambda: self._ninja(tree),
            STANDING_COLD: lambda: self._standing_cold(tree, farm),
            STANDING_WARM: lambda: self._standing(tree, farm, hits=True),
            EMBEDDED_COLD: lambda: self._embedded_cold(tree),
            EMBEDDED_WARM: lambda: self._embedded(tree, hits=True),
        }
        self._ninja(tree)
        first = self._embedded(tree, hits=False)
        with farm:
            self._standing(tree, farm, hits=False)
        for _ in range(rounds):
            for contender, build in contenders.items():
                self._runs.setdefault(contender, []).append(build())
        farm.stop()
        self._add_tables(first)

    def wall_ratio(self, contender: str, to: str = NINJA) -> float | None:
        if contender not in self._runs or to not in self._runs:
            return None
        return ratio(self._walls(contender), self._walls(to))

    def _walls(self, contender: str) -> list[float]:
        return [run.wall_s for run in self._runs[contender]]

    def _add_tables(self, first: Measured) -> None:
        ninja_cpus = [run.cpu_s for run in self._runs[NINJA]]
        rows = []
        for contender, runs in self._runs.items():
            cpus = [run.cpu_s for run in runs]
            rows.append(
                {
                    "build": contender,
                    **spread(self._walls(contender)),
                    "wall_to_ninja": self.wall_ratio(contender),
                    "cpu_s": spread(cpus)["median_s"],
                    "cpu_to_ninja": ratio(cpus, ninja_cpus),
                }
            )
        once = round(first.wall_s, 4)
        ninja_wall = float(str(spread(self._walls(NINJA))["median_s"]))
        rows.append(
            {
                "build": FIRST,
                "median_s": once,
                "min_s": once,
                "max_s": once,
                "wall_to_ninja": round(once / ninja_wall, 3),
                "cpu_s": round(first.cpu_s, 4),
                "cpu_to_ninja": round(first.cpu_s / float(str(spread(ninja_cpus)["median_s"])), 3),
            }
        )
        title = f"{self._files} tiny C files" if self._name == TINY else f"{self._name}: {PROJECTS[self._name].package}"
        self._report.tables[f"{title}, -j{self._jobs}"] = rows
        cold = self._runs[STANDING_COLD][-1]
        self._report.tables[f"{title}: CPU of the last cold build on the standing farm, by process"] = [
            {"process": name, "cpu_s": round(seconds, 3)} for name, seconds in cold.by_process.items() if seconds
        ]

    def _ninja(self, tree: ConfiguredTree) -> Measured:
        tree.reset()
        return measure(["ninja", f"-j{self._jobs}"], cwd=tree.build)

    def _distcc(self, tree: ConfiguredTree, farm: DistccFarm) -> Measured:
        tree.reset()
        with farm:
            command = ["ninja", f"-j{self._jobs}"]
            return measure(command, cwd=tree.build, environment=farm.environment(), daemons=farm.pids)

    def _standing_cold(self, tree: ConfiguredTree, farm: StandingFarm) -> Measured:
        """Leaves the farm running, for the warm build that comes next."""
        farm.forget_results()
        farm.start()
        self._forget_files(self._client_cache)
        return self._standing(tree, farm, hits=False)

    def _standing(self, tree: ConfiguredTree, farm: StandingFarm, *, hits: bool) -> Measured:
        flags = ["--cache-dir", str(self._client_cache), "--coordinator", farm.endpoint]
        measured = self._zbuild(tree, flags, farm.pids, hits=hits)
        if hits:
            farm.stop()
        return measured

    def _embedded_cold(self, tree: ConfiguredTree) -> Measured:
        self._workspace.set_aside(*self._embedded_cache.rglob("results.sqlite*"), *self._embedded_cache.rglob("blobs"))
        self._forget_files(self._embedded_cache)
        return self._embedded(tree, hits=False)

    def _embedded(self, tree: ConfiguredTree, *, hits: bool) -> Measured:
        return self._zbuild(tree, ["--cache-dir", str(self._embedded_cache)], [], hits=hits)

    def _forget_files(self, cache: Path) -> None:
        """What the client knows of sources; what it knows of the toolchain stays."""
        self._workspace.set_aside(cache / "file_digests", cache / "include_facts")

    def _zbuild(self, tree: ConfiguredTree, flags: list[str], daemons: list[int], *, hits: bool) -> Measured:
        tree.reset(keeps_logs=hits)
        command = module("zbuild.cli.main", "build", f"-j{self._jobs}", "--json", *flags)
        measured = measure(command, cwd=tree.build, environment=self._workspace.environment(), daemons=daemons)
        summary = json.loads(measured.stdout.strip().splitlines()[-1])
        if hits and summary["cache_hits"] < summary["remote"]:
            self._report.notes.append(f"{self._name}: a warm build had to run {summary['executed']} actions")
        if not hits and summary["cache_hits"]:
            self._report.notes.append(f"{self._name}: {summary['cache_hits']} equal actions within a cold build")
        if summary["local"]:
            self._report.notes.append(f"{self._name}: edges run locally: {summary['local_reasons']}")
        return measured


def _no_op(workspace: Workspace, edges: int, report: Report) -> Aim:
    directory = workspace.path / "noop"
    noop_tree.make_tree(directory, edge_count=edges)
    build = directory / "build"
    environment = workspace.environment()
    commands = {
        NINJA: ["ninja"],
        "zbuild": module("zbuild.cli.main", "build"),
    }
    walls: dict[str, list[float]] = {name: [] for name in commands}
    cpus: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(21):
        for name, command in commands.items():
            measured = measure(command, cwd=build, environment=environment)
            said = measured.stdout + measured.stderr
            if "no work to do" not in said:
                report.notes.append(f"the no-op build did something: {said[-200:]}")
            if number:
                walls[name].append(measured.wall_s)
                cpus[name].append(measured.cpu_s)
    report.tables[f"no-op build of {edges} edges"] = [
        {"build": name, **spread(walls[name]), "cpu_s": spread(cpus[name])["median_s"]} for name in commands
    ]
    return Aim(f"no-op build of {edges} edges, seconds", float(str(spread(walls["zbuild"])["median_s"])), "<=", 0.5)
