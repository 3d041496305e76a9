"""How a build speeds up with 1 to 100 real worker processes on this machine, and what the farm costs then.

The actions wait instead of computing, so that one machine can stand for many. Nothing is staged and no sandbox is
made; all processes, sockets and messages are real, and workers steal from each other as they do by default.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

from tests.bench.list_scheduling import bound_s, longest_first_s
from tests.bench.process_memory import proportional_bytes, resident_bytes
from tests.bench.processor_time import process_time
from tests.bench.report import Aim, Report, Row
from tests.bench.waiting_action import INPUT_COUNT, draw_waits
from tests.bench.waiting_farm import WaitingFarm
from tests.bench.waiting_workers import WorkerReport, WorkerSpec
from tests.bench.workspace import Workspace

SEED_SPEED_UP = {10: 8.5, 50: 40.0, 100: 75.0}
"""What the seed claims."""

EFFICIENCY_AIMS = {10: 95, 50: 92, 100: 90}
"""Workers -> percent."""

WAITS_S = (0.5, 2.0)
MEBIBYTE = 1 << 20
SLACK = 5.0
"""A build that takes so many times as long as the bound is stuck."""


@dataclass
class Run:
    """One build, and what the farm was like before and after it.

    Attributes:
        idle_cpu: share of one processor that the broker uses while workers only report and send heartbeats.
        busy_cpu: the same while it builds.
        worker_bytes: of one worker with its spawner on average, shared pages counted once.
    """

    workers: int
    slots: int
    waits: list[float]
    makespan_s: float
    stolen: int
    idle_cpu: float
    busy_cpu: float
    broker_bytes: int
    worker_bytes: float
    reports: dict[str, WorkerReport]

    @property
    def efficiency(self) -> float:
        """Percent: what the slots would need if none were ever idle, to what was needed."""
        return 100 * sum(self.waits) / (self.workers * self.slots) / self.makespan_s


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 50, 100])
    parser.add_argument("--slots", type=int, default=1, help="slots of each worker")
    parser.add_argument("--actions", type=int, default=20, help="actions for each slot")
    parser.add_argument("--waits", type=float, nargs=2, default=WAITS_S, metavar="S", help="shortest and longest")
    parser.add_argument("--idle", type=float, default=20.0, metavar="S", help="how long the idle farm is watched")
    parser.add_argument("--seed", type=int, default=1)


def run(arguments: argparse.Namespace, workspace: Workspace) -> Report:
    report = Report("scaling")
    runs = [_run(workspace, number, workers, arguments) for number, workers in enumerate(arguments.workers)]
    report.tables[f"{arguments.actions} actions of {' to '.join(map(str, arguments.waits))} s for each slot"] = [
        _row(each) for each in runs
    ]
    report.aims = [
        Aim(f"efficiency at {each.workers} workers, %", round(each.efficiency, 1), ">=", EFFICIENCY_AIMS[each.workers])
        for each in runs
        if each.workers in EFFICIENCY_AIMS
    ]
    _add_cost(report, max(runs, key=lambda each: each.workers))
    report.notes += [
        "hermetic staging is off: actions wait instead of computing, nothing is staged, no sandbox is made",
        "ideal_s: the sum of all waits by the number of slots; bound_s: no schedule is shorter; lpt_s: longest first,"
        " without overhead; the client knows how long each action takes, as in a second build",
        "makespan_s: at the client, from the first submission to the last result",
    ]
    return report


def _run(workspace: Workspace, number: int, workers: int, arguments: argparse.Namespace) -> Run:
    waits = draw_waits(
        arguments.seed, arguments.actions * workers * arguments.slots, *arguments.waits, is_logarithmic=False
    )
    with WaitingFarm(workspace, number) as farm:
        farm.start_workers(
            [
                WorkerSpec(name=f"w{place}", slots=arguments.slots, listen=f"ipc://{farm.path}/w{place}")
                for place in range(workers)
            ]
        )
        farm.wait_for_workers()
        idle_cpu = _idle_cpu(farm, arguments.idle) if workers == max(arguments.workers) else 0.0
        before_s = _cpu_s(farm)
        client = farm.client(arguments.seed, len(waits), tuple(arguments.waits), "uniform", INPUT_COUNT)
        ideal_s = sum(waits) / (workers * arguments.slots)
        result = farm.result(client, 60.0 + SLACK * ideal_s)
        busy_cpu = (_cpu_s(farm) - before_s) / result["makespan_s"]
        broker_bytes = resident_bytes(farm.broker_pid)
        worker_bytes = proportional_bytes(farm.worker_pids) / workers
        reports = farm.stop()
    return Run(
        workers,
        arguments.slots,
        waits,
        result["makespan_s"],
        int(result["stolen"]),
        idle_cpu,
        busy_cpu,
        broker_bytes,
        worker_bytes,
        reports,
    )


def _idle_cpu(farm: WaitingFarm, seconds: float) -> float:
    """The share of one processor that the broker uses after what the workers' coming has caused."""
    time.sleep(min(2.0, seconds))
    before_s, began_s = _cpu_s(farm), time.monotonic()
    time.sleep(seconds)
    return (_cpu_s(farm) - before_s) / (time.monotonic() - began_s)


def _cpu_s(farm: WaitingFarm) -> float:
    used = process_time(farm.broker_pid)
    return used.own_s if used is not None else 0.0


def _row(run: Run) -> Row:
    slots_from_s = [0.0] * run.workers * run.slots
    bound, longest_first = bound_s(run.waits, slots_from_s), longest_first_s(run.waits, slots_from_s)
    return {
        "workers": run.workers,
        "actions": len(run.waits),
        "ideal_s": round(sum(run.waits) / len(slots_from_s), 2),
        "bound_s": round(bound, 2),
        "lpt_s": round(longest_first, 2),
        "makespan_s": round(run.makespan_s, 2),
        "to_lpt": round(run.makespan_s / longest_first, 3),
        "speed_up": round(sum(run.waits) / run.makespan_s, 1),
        "seed_speed_up": SEED_SPEED_UP.get(run.workers),
        "efficiency_percent": round(run.efficiency, 1),
        "stolen": run.stolen,
        "broker_busy_percent": round(100 * run.busy_cpu, 1),
    }


def _add_cost(report: Report, run: Run) -> None:
    """What the largest farm has cost."""
    sent = {name: [each.traffic[name] for each in run.reports.values() if name in each.traffic] for name in _SOCKETS}
    by_socket = [
        {
            "socket": name,
            "carries": carries,
            "frames_per_worker": round(sum(each.frames for each in sent[name]) / run.workers, 1),
            "bytes_per_worker": round(sum(each.size_bytes for each in sent[name]) / run.workers),
            "largest_bytes": max((each.largest_bytes for each in sent[name]), default=0),
        }
        for name, carries in _SOCKETS.items()
    ]
    report.tables[f"messages of a worker of {run.workers}"] = by_socket
    busiest = max(sum(each.size_bytes for each in worker.traffic.values()) for worker in run.reports.values())
    largest = {str(row["socket"]): float(str(row["largest_bytes"])) for row in by_socket}
    where = f"at {run.workers} workers"
    report.aims += [
        Aim(f"broker idle {where}, % of a core", round(100 * run.idle_cpu, 2), "<=", 5),
        Aim(f"broker memory {where}, MiB RSS", round(run.broker_bytes / MEBIBYTE, 1), "<=", 100),
        Aim(f"worker memory {where}, MiB PSS", round(run.worker_bytes / MEBIBYTE, 1), "<=", 50),
        Aim(f"busiest worker {where}, MB/s", round(busiest / run.makespan_s / 1e6, 4), "<=", 1),
        Aim("heartbeat, bytes", largest["PUB out"], "<=", 1024),
        Aim("announcement, bytes", largest["SUB in"], "<=", 2048),
    ]
    report.notes += [
        "messages are counted in the workers as they are encoded, without what ZeroMQ (2 to 9 B a frame) and the"
        " kernel add; no blobs travel; all of a worker's life is put down to the build",
        "worker memory: Pss of smaps_rollup, of each worker and its spawner, after the build; the processes are forked"
        " from one that has imported their modules, as those of an embedded farm are",
    ]


_SOCKETS = {
    "DEALER out": "to the broker: results, claims, reports",
    "DEALER in": "from the broker: leases, acknowledgements",
    "PUB out": "heartbeats",
    "SUB in": "announcements and loads",
    "REQ out": "steals, as the thief",
    "REQ in": "steals, as the thief",
    "REP in": "steals, as the victim",
    "REP out": "steals, as the victim",
}
"""What each kind of socket carries."""
