"""How a first build finds headers: the include scan against the compiler's own -M, CPU time per compile edge.

The scan finds a superset of what -M names, over all branches of #if, without running anything.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import time

from tests.bench.described_edges import compile_edges, inside
from tests.bench.report import Report, ratio
from tests.bench.source_trees import TINY, configured
from tests.bench.workspace import Workspace
from tests.projects import PROJECTS
from zbuild.inputs.analysis import CommandDescription, Local, analyse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=60, help="C files of the tiny tree")
    parser.add_argument("--project", default="c-ares", choices=[TINY, *PROJECTS])


def run(arguments: argparse.Namespace, workspace: Workspace) -> Report:
    report = Report("header_search")
    tree = configured(workspace, arguments.project, arguments.files)
    cache = workspace.path / "client"
    per_edge: dict[str, list[float]] = {}
    with inside(tree.build):
        edges = compile_edges(tree.build)
        count = len(edges.commands)
        # The toolchain's fingerprint is no part of the search: it is made once for a machine.
        fingerprints = edges.context(cache)
        analyse(edges.commands[0], fingerprints)
        fingerprints.toolchain.save()
        for _ in range(arguments.rounds):
            workspace.set_aside(cache / "include_facts")
            for name in ("include scan, first build", "include scan, facts known"):
                context = edges.context(cache)
                began_s = time.process_time()
                outcomes = [analyse(command, context) for command in edges.commands]
                per_edge.setdefault(name, []).append((time.process_time() - began_s) / count)
                context.save()
                local = [outcome.reason.value for outcome in outcomes if isinstance(outcome, Local)]
                if local:
                    report.notes.append(f"analysed as local: {sorted(set(local))}")
            before_s = _children_s()
            failures = sum(_dependencies(command) for command in edges.commands)
            per_edge.setdefault("the compiler with -M", []).append((_children_s() - before_s) / count)
    if failures:
        report.notes.append(f"-M failed for {failures} edges: headers that the build generates are not there yet")
    base = per_edge["the compiler with -M"]
    report.tables[f"{arguments.project}, {count} compile edges: CPU per edge"] = [
        {"search": name, "median_ms": round(1000 * statistics.median(values), 3), "to_M": ratio(values, base)}
        for name, values in per_edge.items()
    ]
    return report


def _dependencies(command: CommandDescription) -> int:
    """Run the compiler with -M for one edge; 1 when it fails."""
    words = [word for word in command.command.split() if word not in ("-MD", "-MMD", "-c")]
    for flag in ("-MF", "-MT", "-MQ", "-o"):
        while flag in words:
            position = words.index(flag)
            del words[position : position + 2]
    done = subprocess.run([*words, "-M"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return int(done.returncode != 0)


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
