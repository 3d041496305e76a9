"""Tests of the simulator itself: every planted fault is found."""

from __future__ import annotations

import re
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from tests.sim.fairness_mutants import FAIRNESS_MUTANTS
from tests.sim.mutants import MUTANTS, Mutant
from tests.sim.steal_mutants import STEAL_MUTANTS
from zbuild.testing.cluster import Simulation
from zbuild.testing.violation import Violation

SEEDS = 500
"""Within so many seeds each of these is found; most are within ten."""

BY_NAME = {mutant.plant.__name__: mutant for mutant in MUTANTS + STEAL_MUTANTS + FAIRNESS_MUTANTS}


def first_violation(name: str) -> str:
    """What the simulator says of a mutant, and of which seed; empty if it finds nothing."""
    with pytest.MonkeyPatch.context() as patch:
        BY_NAME[name].plant(patch)
        for seed in range(SEEDS):
            try:
                Simulation(seed).run()
            except Violation as violation:
                return f"seed {seed}: {violation}"
    return ""


@pytest.fixture(scope="module")
def searches(processes: ProcessPoolExecutor) -> dict[str, Future[str]]:
    return {name: processes.submit(first_violation, name) for name in BY_NAME}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mutant", BY_NAME.values(), ids=lambda mutant: mutant.plant.__name__)
def test_a_planted_fault_is_found(mutant: Mutant, searches: dict[str, Future[str]]) -> None:
    found = searches[mutant.plant.__name__].result()
    assert found, f"none of {SEEDS} seeds has found it"
    assert re.search(mutant.found, found), found
