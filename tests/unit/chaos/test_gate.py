"""A gate that is cut short says what it has not run."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from typing import Any

import pytest

from chaos import report
from chaos.gate import FULL_SEEDS, Gate, longest_first
from chaos.scenario import SCENARIOS, Scenario, load
from tests.integration.tree import REPOSITORY, client_environment

pytestmark = pytest.mark.needs("bubblewrap", "ninja")


def test_an_interrupted_gate_tears_down_what_runs_and_names_what_was_not_run() -> None:
    """Its first runs have begun by then, or have not: both must be told."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "chaos", "all", "--full", "--json"],
        cwd=REPOSITORY,
        env=client_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=4)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=50)

    assert process.returncode == 130, stderr
    assert stdout == ""
    runs = FULL_SEEDS * len(load())
    assert f"not run, or not to the end: {runs} of {runs} runs" in stderr
    named = set(re.findall(r"^    (\w+) seed .*: interrupted before", stderr, re.MULTILINE))
    assert named == set(load())


def test_a_gate_without_time_runs_nothing_and_says_so() -> None:
    load()
    shown: list[Any] = []
    gate = Gate(1, 2, -1.0, is_full=True, show=shown.append)
    gate.run()

    assert not shown
    assert len(gate.not_run()) == len(SCENARIOS)
    seeds = ", ".join(str(seed) for seed in range(1, FULL_SEEDS + 1))
    assert gate.not_run()[0] == f"{next(iter(SCENARIOS))} seed {seeds}: not begun within -1 s"


def test_what_did_not_hold_is_told_once_more_at_the_end() -> None:
    gate = Gate(1, 1, 60.0, is_full=False, show=lambda _result: None)
    gate.results = [
        {"scenario": "A", "seed": 1, "violations": []},
        {"scenario": "B", "seed": 2, "violations": ["lost", "late"]},
    ]
    assert gate.violated() == ["VIOLATED: B seed 2: lost", "VIOLATED: B seed 2: late"]


def test_what_takes_longest_begins_first() -> None:
    """All have the same time limit; the longest began last but ten, and the others had to be waited for."""
    new = Scenario("New", lambda _arena: None)
    order = [scenario.name for scenario in longest_first([*load().values(), new])]

    assert order.index("New") < order.index("WorkerKills"), "nobody knows how long it takes"
    assert order.index("WorkerKills") < order.index("Drain"), "three builds of 2,000 actions, and one of 60"


def test_the_table_counts_what_was_not_run() -> None:
    load()
    run = {"scenario": "Drain", "seed": 1, "violations": [], "total_s": 3.0, "builds": 1, "actions": 60}
    late = [{"scenario": "Drain", "seed": 2, "violations": [], "late": "interrupted", "total_s": 0.0}]
    late.append({"scenario": "WorkerHang", "seed": 1, "violations": [], "late": "interrupted", "total_s": 0.0})
    rows = report._rows([run, *late])

    text = report.table({"full": rows})

    assert "2 scenarios, 1 runs, 1 builds" in text
    assert "Not run: 2 more runs." in text
    assert re.search(r"^\| Drain \| 1 \|.*not run: 1", text, re.MULTILINE)
    assert re.search(r"^\| WorkerHang \| none \|.*not run: 1", text, re.MULTILINE)
