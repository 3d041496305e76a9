"""Tests of the simulator itself: every planted fault is found."""

from __future__ import annotations

import re

import pytest

from tests.sim.mutants import MUTANTS, Mutant
from tests.sim.steal_mutants import STEAL_MUTANTS
from zbuild.testing.cluster import Simulation
from zbuild.testing.violation import Violation

SEEDS = 500
"""Within so many seeds each of these is found; most are within ten."""


@pytest.mark.parametrize("mutant", MUTANTS + STEAL_MUTANTS, ids=lambda mutant: mutant.plant.__name__)
def test_a_planted_fault_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.plant(monkeypatch)
    for seed in range(SEEDS):
        try:
            Simulation(seed).run()
        except Violation as violation:
            assert re.search(mutant.found, str(violation)), f"seed {seed}: {violation}"
            return
    pytest.fail(f"none of {SEEDS} seeds has found it")
