"""What README.md and chaos/RESULTS.md say of chaos is what was measured."""

from __future__ import annotations

import json
from typing import Any

from chaos.report import README, RESULTS_JSON, RESULTS_TABLE, table, with_sums
from chaos.scenario import load

KEPT: dict[str, list[dict[str, Any]]] = json.loads(RESULTS_JSON.read_text())


def test_the_table_is_the_one_that_the_results_make() -> None:
    assert RESULTS_TABLE.read_text() == table(KEPT), "run python -m chaos all --quick --report"


def test_readme_shows_the_sums_of_the_table() -> None:
    text = README.read_text()

    assert text == with_sums(text, KEPT), "run python -m chaos all --quick --report"
    assert "**0 violations**" in text


def test_a_readme_that_says_something_else_is_noticed() -> None:
    text = README.read_text().replace("**0 violations**", "**no violations**")

    assert text != with_sums(text, KEPT)


def test_every_result_is_of_a_scenario_that_exists() -> None:
    names = set(load())

    for rows in KEPT.values():
        assert {row["scenario"] for row in rows} <= names
        assert sum(row["violations"] for row in rows) == 0


FAULTS = """
NetworkDelay NetworkDrop NetworkPartition WorkerCrash WorkerHang SlowExecution MemoryExhaustion DiskFull Timeout
PacketLoss Latency Jitter Bandwidth Reordering Duplication Corruption BlackHole SplitBrain Asymmetric
FileCorruption FileTruncation FileDeletion CacheCorruption MetadataCorruption PartialWrite WrongPermissions SymlinkBreak
DirectoryDeletion KillSigTerm KillSigKill OOM DiskIOError NetworkDisconnect CPUExhaustion Deadlock
"""


def test_every_fault_has_its_scenario() -> None:
    assert set(FAULTS.split()) <= set(load())
