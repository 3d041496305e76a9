"""All scenarios, several at once, each with its own supervisor."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any

from chaos.history import TOO_SLOW
from chaos.report import RESULTS_JSON
from chaos.scenario import SCENARIOS, Scenario
from tests.integration.tree import client_environment
from zbuild.errors import ExitCode

FULL_SEEDS = 10
"""Runs of each scenario in the full gate."""

Result = dict[str, Any]


class Gate:
    """All scenarios with so many seeds each.

    A run whose only violations are of time is repeated with nothing beside it, and the second result counts.

    Args:
        jobs: runs at once. Most of a run is waiting, so there may be more than processors.
        within_s: no run begins after this.
        show: is told each result when it comes.

    Attributes:
        results: in the order of the scenarios. Runs that were not begun, or not finished, are among them: their
            ``late`` says why.
    """

    def __init__(self, seed: int, jobs: int, within_s: float, *, is_full: bool, show: Callable[[Result], None]) -> None:
        self.results: list[Result] = []
        self._interrupted = threading.Event()
        self._seeds = range(seed, seed + (FULL_SEEDS if is_full else 1))
        self._jobs = jobs
        self._size = "--full" if is_full else "--quick"
        self._within_s = within_s
        self._deadline_s = time.monotonic() + within_s
        self._show = show
        self._processes: set[subprocess.Popen[str]] = set()

    @property
    def is_interrupted(self) -> bool:
        """Whether ``run`` was ended by KeyboardInterrupt."""
        return self._interrupted.is_set()

    def run(self) -> None:
        """Run every scenario with the first seed, then with the next: whenever it ends, all were run alike."""
        order = longest_first(SCENARIOS.values())
        for seed in self._seeds:
            for is_alone in (True, False):
                runs = [(scenario, seed) for scenario in order if scenario.is_alone is is_alone]
                self._run_together(runs, 1 if is_alone else self._jobs)
        for number, result in enumerate(list(self.results)):
            if result["violations"] and all(text.startswith(TOO_SLOW) for text in result["violations"]):
                self._run_together([(SCENARIOS[result["scenario"]], result["seed"])], 1)
                again = self.results.pop()
                if "late" not in again:
                    self.results[number] = again
        names = list(SCENARIOS)
        self.results.sort(key=lambda result: (names.index(result["scenario"]), result["seed"]))

    def not_run(self) -> list[str]:
        """Each scenario that was not run with all seeds, with the seeds that are wanting and the reason."""
        wanting: dict[tuple[str, str], list[str]] = {}
        for result in self.results:
            if reason := result.get("absent") or result.get("late"):
                wanting.setdefault((result["scenario"], reason), []).append(str(result["seed"]))
        return [f"{name} seed {', '.join(seeds)}: {reason}" for (name, reason), seeds in wanting.items()]

    def violated(self) -> list[str]:
        """Everything that did not hold, for whoever sees only the end of a long output."""
        return [
            f"VIOLATED: {result['scenario']} seed {result['seed']}: {text}"
            for result in self.results
            for text in result["violations"]
        ]

    def _run_together(self, runs: list[tuple[Scenario, int]], at_once: int) -> None:
        with ThreadPoolExecutor(at_once) as pool:
            futures = {pool.submit(self._run, *each) for each in runs}
            try:
                self._take(futures)
            except KeyboardInterrupt:
                # Those that run tear themselves down, and those that wait end at once.
                self._interrupted.set()
                for process in list(self._processes):
                    process.terminate()
                self._take(futures)

    def _take(self, futures: set[Future[Result]]) -> None:
        for future in as_completed(list(futures)):
            futures.discard(future)
            result = future.result()
            self.results.append(result)
            if "late" not in result:
                self._show(result)

    def _run(self, scenario: Scenario, seed: int) -> Result:
        if self._interrupted.is_set():
            return _late(scenario, seed, "interrupted before it began")
        if time.monotonic() > self._deadline_s:
            return _late(scenario, seed, f"not begun within {self._within_s:g} s")
        command = [sys.executable, "-m", "chaos", scenario.name, "--seed", str(seed), "--json", self._size]
        # A group of its own: Ctrl-C on the terminal is for the gate alone, which then ends its runs in order.
        process = subprocess.Popen(
            command, env=client_environment(), stdout=subprocess.PIPE, text=True, process_group=0
        )
        self._processes.add(process)
        if self._interrupted.is_set():
            process.terminate()
        stdout, _ = process.communicate()
        self._processes.discard(process)
        if process.returncode == int(ExitCode.INTERRUPTED):
            return _late(scenario, seed, "interrupted before its end")
        if not stdout.strip():
            text = f"ended with {process.returncode} and no result"
            return {"scenario": scenario.name, "seed": seed, "violations": [text], "total_s": 0.0}
        result: Result = json.loads(stdout.strip().splitlines()[-1])
        return result


def longest_first(scenarios: Iterable[Scenario]) -> list[Scenario]:
    """By what each took when the table of results was made: no long one then begins when all others have ended.

    One that has never been run counts with its time limit.
    """
    rows = json.loads(RESULTS_JSON.read_text()).get("quick", []) if RESULTS_JSON.exists() else []
    took_s = {row["scenario"]: float(row["wall_s"]) for row in rows}
    return sorted(scenarios, key=lambda scenario: -took_s.get(scenario.name, scenario.timeout_s))


def _late(scenario: Scenario, seed: int, reason: str) -> Result:
    return {"scenario": scenario.name, "seed": seed, "violations": [], "late": reason, "total_s": 0.0}
