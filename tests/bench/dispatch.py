"""No-op actions through a real broker, two real worker processes and a real client process.

Only the execution is stubbed; all messages are real. Beside it, in turn: a bare ROUTER/DEALER loop of the
same processes that sends the same bytes, and dask.distributed with two worker processes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.bench.bare_loop import WORKER_COUNT
from tests.bench.dispatch_client import no_op
from tests.bench.report import Aim, Report, ratio, spread
from tests.bench.standing_farm import StandingFarm
from tests.bench.workspace import Workspace, module
from zbuild.config import user_cache_dir
from zbuild.model.action import ActionResult, ResultStatus, encode_action, encode_result

ZBUILD = "zbuild"
BARE = "bare ROUTER/DEALER"
DASK = "dask.distributed"
DASK_PACKAGE = "distributed==2026.8.0"
RUN_S = 120.0
"""A run takes 1 to 30 s."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--actions", type=int, default=20_000)
    parser.add_argument("--slots", type=int, default=8, help="slots of each of the two workers")
    parser.add_argument("--no-dask", dest="has_dask", action="store_false", help="leave dask out")


def run(arguments: argparse.Namespace, workspace: Workspace) -> Report:
    report = Report("dispatch")
    dask = _dask_python(report) if arguments.has_dask else None
    if not arguments.has_dask:
        report.notes.append("SKIPPED dask.distributed: --no-dask")
    seconds: dict[str, list[float]] = {}
    with _farm(workspace, arguments.slots) as farm:
        for number in range(arguments.rounds):
            seconds.setdefault(ZBUILD, []).append(_zbuild(workspace, farm, arguments.actions, number))
            seconds.setdefault(BARE, []).append(_bare(workspace, arguments.actions))
            if dask is not None:
                command = [
                    str(dask),
                    str(Path(__file__).with_name("dask_tasks.py")),
                    arguments.actions,
                    arguments.slots,
                ]
                seconds.setdefault(DASK, []).append(_seconds(workspace, list(map(str, command))))
    rates = {name: [arguments.actions / each for each in values] for name, values in seconds.items()}
    report.tables[f"{arguments.actions} no-op actions"] = [
        {
            "system": name,
            **spread(seconds[name]),
            "actions_per_s": round(arguments.actions / float(str(spread(seconds[name])["median_s"]))),
            "zbuild_to_it": ratio(rates[ZBUILD], rates[name]),
        }
        for name in seconds
    ]
    to_dask = ratio(rates[ZBUILD], rates[DASK]) if DASK in rates else None
    rate = arguments.actions / float(str(spread(seconds[ZBUILD])["median_s"]))
    report.aims = [
        Aim("actions per second", round(rate), ">=", 5000),
        Aim("times dask.distributed", to_dask, ">=", 10),
        Aim("share of the bare loop", ratio(rates[ZBUILD], rates[BARE]), ">=", 0.25),
    ]
    return report


def _farm(workspace: Workspace, slots: int) -> StandingFarm:
    workers = [
        module("tests.bench.stub_worker", f"ipc://{workspace.path}/s/control", workspace.path / f"stub{number}", slots)
        for number in range(2)
    ]
    return StandingFarm(workspace, slots, workers)


def _zbuild(workspace: Workspace, farm: StandingFarm, actions: int, number: int) -> float:
    return _seconds(workspace, module("tests.bench.dispatch_client", farm.endpoint, actions, f"round {number}"))


def _bare(workspace: Workspace, actions: int) -> float:
    """The same number of messages, each of the size of a submitted action or of a result."""
    clients, workers = (f"ipc://{workspace.path}/s/bare-{side}" for side in ("clients", "workers"))
    action_bytes = len(encode_action(no_op(actions, "round 0"))[1])
    result_bytes = len(encode_result(ActionResult(status=ResultStatus.SUCCESS)))
    commands = [module("tests.bench.bare_loop", "broker", clients, workers)]
    commands += [module("tests.bench.bare_loop", "worker", workers, result_bytes)] * WORKER_COUNT
    processes = [subprocess.Popen(command, env=workspace.environment()) for command in commands]
    try:
        return _seconds(workspace, module("tests.bench.bare_loop", "client", clients, actions, action_bytes))
    finally:
        for process in processes:
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _seconds(workspace: Workspace, command: list[str]) -> float:
    done = subprocess.run(
        command, env=workspace.environment(), stdout=subprocess.PIPE, text=True, check=True, timeout=RUN_S
    )
    return float(done.stdout.strip().splitlines()[-1])


def _dask_python(report: Report) -> Path | None:
    """The interpreter of an environment with DASK_PACKAGE, made once and kept; None, with a note, without one."""
    environment = Path(user_cache_dir(os.environ)) / "bench" / DASK_PACKAGE
    python = environment / "bin/python"
    stamp = environment / "complete"
    if stamp.exists():
        return python
    commands = [
        [sys.executable, "-m", "venv", "--clear", str(environment)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", DASK_PACKAGE],
    ]
    for command in commands:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            report.notes.append(f"SKIPPED dask.distributed: {' '.join(command)}: {done.stdout[-500:]}")
            return None
    stamp.touch()
    return python
