"""One worker is given everything, and others come late: what each strategy makes of it."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

from tests.bench.list_scheduling import bound_s, longest_first_s
from tests.bench.report import Aim, Report, Row
from tests.bench.waiting_action import draw_waits
from tests.bench.waiting_farm import PREFETCH_S, WaitingFarm
from tests.bench.waiting_workers import WorkerReport, WorkerSpec
from tests.bench.workspace import Workspace
from zbuild.worker.steal_strategy import StealStrategy

SLOTS = (2, 1, 2, 1, 2, 1, 2, 1)
"""Of the eight workers; the first one is given everything."""

WAITS_S = (0.005, 0.5)
SLACK = 4.0
"""A build that takes so many times as long as the first worker alone would is stuck."""

WITHOUT = "no stealing"


@dataclass
class Run:
    """One build. ``late_s``: when the other workers were started, from the first submission."""

    makespan_s: float
    late_s: float
    bound_s: float
    longest_first_s: float
    stolen: int
    counters: Counter[str]


def measure_skew(report: Report, workspace: Workspace, *, rounds: int, actions: int, first_farm: int) -> None:
    """Add a table with a row for each strategy, and the aim of each."""
    numbers = itertools.count(first_farm)
    runs: dict[str, list[Run]] = {}
    for seed in range(rounds):
        for name in (WITHOUT, *(strategy.value for strategy in StealStrategy)):
            run = _run(workspace, next(numbers), seed, actions, name)
            runs.setdefault(name, []).append(run)
    rows = [_row(name, found, runs[WITHOUT]) for name, found in runs.items()]
    title = f"{actions} actions of {WAITS_S[0] * 1e3:g} to {WAITS_S[1] * 1e3:g} ms, all given to one of 8 workers"
    report.tables[title] = rows
    report.aims += [
        Aim(f"{row['strategy']}: attempts that succeed, %", _percentage(row["success_percent"]), ">=", 70)
        for row in rows
        if row["strategy"] != WITHOUT
    ]
    report.notes.append(
        "bound_s: the longest action, or all slots busy from when they are there; lpt_s: longest first, without"
        " overhead; late_s: when the seven other workers were started, a part of all makespans"
    )


def _run(workspace: Workspace, number: int, seed: int, count: int, strategy: str) -> Run:
    is_stealing = strategy != WITHOUT
    name = strategy if is_stealing else StealStrategy.POWER_OF_TWO.value
    with WaitingFarm(workspace, number, prefetch_s=PREFETCH_S) as farm:
        specs = [
            WorkerSpec(
                name=f"w{place}",
                slots=slots,
                queue=count,
                listen=f"ipc://{farm.path}/w{place}" if is_stealing else "",
                strategy=name,
            )
            for place, slots in enumerate(SLOTS)
        ]
        farm.start_workers(specs[:1])
        farm.wait_for_workers()
        client = farm.client(seed, count, WAITS_S, "logarithmic")
        farm.wait_until(lambda status: status.workers[0].held >= count // 2, "the first worker to be given everything")
        farm.start_workers(specs[1:])
        started_s = farm.started_s
        waits = draw_waits(seed, count, *WAITS_S, is_logarithmic=True)
        result = farm.result(client, SLACK * sum(waits))
        reports = farm.stop()
    late_s = started_s - result["began_s"]
    slots_from_s = [0.0] * SLOTS[0] + [late_s] * sum(SLOTS[1:])
    return Run(
        result["makespan_s"],
        late_s,
        bound_s(waits, slots_from_s),
        longest_first_s(waits, slots_from_s),
        int(result["stolen"]),
        _summed(reports),
    )


def _summed(reports: dict[str, WorkerReport]) -> Counter[str]:
    counters: Counter[str] = Counter()
    for report in reports.values():
        counters.update(report.counters)
    return counters


def _row(name: str, runs: list[Run], without: list[Run]) -> Row:
    counters: Counter[str] = Counter()
    for run in runs:
        counters.update(run.counters)
    attempts = counters["steal_attempts"]
    makespan_s = sum(run.makespan_s for run in runs)
    refusals = {
        key.removeprefix("steal_refused_"): count
        for key, count in sorted(counters.items())
        if key.startswith("steal_refused_")
    }
    failures = {**refusals, "timeout": counters["steal_timeouts"]}
    return {
        "strategy": name,
        "runs": len(runs),
        "late_s": round(sum(run.late_s for run in runs) / len(runs), 2),
        "bound_s": round(sum(run.bound_s for run in runs) / len(runs), 2),
        "lpt_s": round(sum(run.longest_first_s for run in runs) / len(runs), 2),
        "makespan_s": round(makespan_s / len(runs), 2),
        "to_bound": round(makespan_s / sum(run.bound_s for run in runs), 3),
        "times_faster": round(sum(run.makespan_s for run in without) / makespan_s, 2),
        "stolen": sum(run.stolen for run in runs),
        "attempts": attempts,
        "successes": counters["steal_successes"],
        "success_percent": round(100 * counters["steal_successes"] / attempts, 1) if attempts else None,
        "failures": ", ".join(f"{reason} {count}" for reason, count in failures.items() if count) or "none",
    }


def _percentage(value: object) -> float | None:
    return value if isinstance(value, float) else None
