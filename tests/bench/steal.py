"""Work stealing: what a steal costs beside a bare echo of the same size, and what a skewed build gains by it.

All processes are real: broker, store, workers, client. The workers wait instead of computing.
"""

from __future__ import annotations

import argparse

from tests.bench.report import Report
from tests.bench.skew import measure_skew
from tests.bench.steal_latency import measure_latency
from tests.bench.workspace import Workspace

_SKEW_FARMS = 1000
"""The number of the first farm of the second part; the first part has fewer."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of stealing, for each size, transport and round")
    parser.add_argument("--echoes", type=int, default=200, help="round trips of each flavour, size and round")
    parser.add_argument("--actions", type=int, default=512, help="of the skewed workload")
    parser.add_argument("--only", choices=("latency", "skew"), help="one of the two parts")


def run(arguments: argparse.Namespace, workspace: Workspace) -> Report:
    report = Report("steal")
    if arguments.only != "skew":
        measure_latency(
            report,
            workspace,
            rounds=arguments.rounds,
            seconds=arguments.seconds,
            echoes=arguments.echoes,
            first_farm=0,
        )
    if arguments.only != "latency":
        measure_skew(report, workspace, rounds=arguments.rounds, actions=arguments.actions, first_farm=_SKEW_FARMS)
    return report
