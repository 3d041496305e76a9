"""All scenarios, several at once, each with its own supervisor."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from chaos.history import TOO_SLOW
from chaos.scenario import SCENARIOS, Scenario
from tests.integration.tree import client_environment

FULL_SEEDS = 10
"""Runs of each scenario in the full gate."""

Result = dict[str, Any]


def run_gate(seed: int, jobs: int, within_s: float, *, is_full: bool, show: Callable[[Result], None]) -> list[Result]:
    """Run every scenario: once in the quick gate, FULL_SEEDS times in the full one.

    A run whose only violations are of time is repeated with nothing beside it, and the second result counts.

    Args:
        jobs: runs at once. Most of a run is waiting, so there may be more than processors.
        within_s: no run begins after this; what was not run is shown as such.
        show: is told each result when it comes.

    Returns:
        The results in the order of the scenarios.
    """
    seeds = range(seed, seed + (FULL_SEEDS if is_full else 1))
    # The longest first: none of them then begins when all others have ended.
    order = sorted(SCENARIOS.values(), key=lambda scenario: -scenario.timeout_s)
    together = [(scenario, each) for scenario in order if not scenario.is_alone for each in seeds]
    alone = [(scenario, each) for scenario in order if scenario.is_alone for each in seeds]
    processes: set[subprocess.Popen[str]] = set()
    results: list[Result] = []

    deadline_s = time.monotonic() + within_s

    def run(scenario: Scenario, run_seed: int) -> Result:
        if time.monotonic() > deadline_s:
            text = f"not begun within {within_s:g} s"
            return {"scenario": scenario.name, "seed": run_seed, "violations": [], "late": text, "total_s": 0.0}
        size = "--full" if is_full else "--quick"
        command = [sys.executable, "-m", "chaos", scenario.name, "--seed", str(run_seed), "--json", size]
        process = subprocess.Popen(command, env=client_environment(), stdout=subprocess.PIPE, text=True)
        processes.add(process)
        stdout, _ = process.communicate()
        processes.discard(process)
        if not stdout.strip():
            text = f"ended with {process.returncode} and no result"
            return {"scenario": scenario.name, "seed": run_seed, "violations": [text], "total_s": 0.0}
        result: Result = json.loads(stdout.strip().splitlines()[-1])
        return result

    for runs, at_once in ((alone, 1), (together, jobs)):
        with ThreadPoolExecutor(at_once) as pool:
            futures = [pool.submit(run, *each) for each in runs]
            try:
                for future in as_completed(futures):
                    results.append(future.result())
                    show(results[-1])
            except BaseException:
                for future in futures:
                    future.cancel()
                for process in list(processes):
                    process.terminate()
                raise
    for number, result in enumerate(results):
        if result["violations"] and all(text.startswith(TOO_SLOW) for text in result["violations"]):
            results[number] = run(SCENARIOS[result["scenario"]], result["seed"])
            show(results[number])
    names = list(SCENARIOS)
    return sorted(results, key=lambda result: (names.index(result["scenario"]), result["seed"]))
