"""A thousand histories of a farm with faults: every invariant holds after every event, and every build ends."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from tests.sim.__main__ import SAMPLE, main, try_seed
from tests.sim.mutants import queue_is_miscounted
from zbuild.testing.cluster import Outcome, Simulation

SEEDS = 1000
PORTIONS = 10


def run_portion(portion: int) -> None:
    """Every PORTIONS-th seed."""
    for seed in range(portion, SEEDS, PORTIONS):
        try:
            Simulation(seed).run()
        except Exception as error:
            raise AssertionError(f"seed {seed}; its story: python -m tests.sim --seed {seed}") from error


@pytest.fixture(scope="module")
def portions(processes: ProcessPoolExecutor) -> list[Future[None]]:
    return [processes.submit(run_portion, portion) for portion in range(PORTIONS)]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("portion", range(PORTIONS))
def test_every_invariant_holds(portion: int, portions: list[Future[None]]) -> None:
    portions[portion].result()


def test_the_seeds_reach_what_they_are_for() -> None:
    """A simulation in which nothing happens holds every invariant, too."""
    counters: Counter[str] = Counter()
    for seed in range(110):
        counters.update(Simulation(seed).run().counters)
    reached = {
        "executed", "retried", "fenced_results", "joined", "cancelled", "cache_hits", "unplaceable", "unknown_peer",
        "leases_recovered", "copies_granted", "hello_refused", "given_back", "bad_message",
    }  # fmt: skip  # one name per line says no more
    assert reached <= counters.keys()


def test_one_seed_is_one_history() -> None:
    assert Simulation(7).run() == Simulation(7).run()
    assert Simulation(7).run().trace_hash != Simulation(8).run().trace_hash


def test_a_history_does_not_depend_on_the_order_of_sets() -> None:
    """Python orders sets of bytes anew in each process, unless told otherwise."""
    code = (
        "from zbuild.testing.cluster import Simulation\n"
        "print([Simulation(seed).run().trace_hash for seed in range(20)])"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            cwd=os.getcwd(),
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(printed) == 1


def test_every_seed_that_fails_is_named_by_the_entry_point(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    queue_is_miscounted(monkeypatch)
    monkeypatch.setattr(sys, "argv", ["sim", "--seeds", "3", "--first", "100"])

    assert main() == 1
    *failures, sums = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in failures] == ["seed 100", "seed 101", "seed 102"]
    assert sums.startswith("3 seeds, 3 failed: ")


def test_the_entry_point_runs_a_sample_twice_and_compares_the_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    run, runs = Simulation.run, itertools.count()

    def run_by_chance(simulation: Simulation) -> Outcome:
        return dataclasses.replace(run(simulation), trace_hash=str(next(runs)))

    monkeypatch.setattr(Simulation, "run", run_by_chance)

    assert try_seed(SAMPLE).failure == "its second run had another history"
    assert not try_seed(SAMPLE + 1).failure
