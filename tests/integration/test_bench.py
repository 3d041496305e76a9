"""The benchmarks run, in a tiny size, and tell what they promise. What they measure fails no test."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.bench import noop_tree
from tests.bench.processor_time import CommandFailed, measure, process_time
from tests.bench.report import Aim, Report, ratio, spread
from tests.bench.source_trees import TINY, configured
from tests.bench.workspace import ROOT, Workspace, module


def bench(workspace: Workspace, *words: str) -> dict[str, Any]:
    """The report of one benchmark, as the command prints it."""
    command = module("tests.bench", *words, "--json", "--directory", workspace.path)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture
def workspace(short_path: Path) -> Any:
    """Under a short path: Unix sockets will lie in it."""
    with Workspace(str(short_path)) as made:
        yield made


@pytest.mark.needs("bubblewrap", "ninja", "cmake", "gcc")
@pytest.mark.timeout(180)
def test_overhead_names_all_contenders_and_aims(workspace: Workspace) -> None:
    words = ("--rounds", "1", "--files", "2", "--edges", "5", "--project", "none", "--jobs", "2")
    report = bench(workspace, "overhead", *words)
    tiny = {row["build"]: row for row in report["tables"]["2 tiny C files, -j2"]}
    assert {"ninja", "zbuild, standing farm, cold", "zbuild, standing farm, warm"} <= tiny.keys()
    assert {
        "zbuild, embedded farm, cold",
        "zbuild, embedded farm, warm",
        "zbuild, embedded farm, very first",
    } <= tiny.keys()
    assert tiny["ninja"]["wall_to_ninja"] == 1.0
    assert all(row["cpu_s"] > 0 for row in tiny.values())
    assert ("distcc" in tiny) != any(note.startswith("SKIPPED distcc") for note in report["notes"])
    assert len(report["aims"]) == 3
    # Neither a warm build that runs something, nor a cold one that hits, nor an edge that is not remote.
    assert [note for note in report["notes"] if "warm" in note or "cold" in note or "locally" in note] == []


@pytest.mark.timeout(120)
def test_dispatch_runs_every_action_and_says_that_dask_was_left_out(workspace: Workspace) -> None:
    report = bench(workspace, "dispatch", "--actions", "300", "--rounds", "1", "--no-dask")
    rows = {row["system"]: row for row in report["tables"]["300 no-op actions"]}
    assert set(rows) == {"zbuild", "bare ROUTER/DEALER"}
    assert rows["zbuild"]["actions_per_s"] > 0
    assert report["notes"] == ["SKIPPED dask.distributed: --no-dask"]
    assert [aim["met"] for aim in report["aims"] if "dask" in aim["aim"]] == [False]


@pytest.mark.timeout(180)
def test_steal_measures_both_sides_of_every_size_and_each_strategy(workspace: Workspace) -> None:
    report = bench(workspace, "steal", "--rounds", "1", "--seconds", "1", "--echoes", "5", "--actions", "24")
    rows = report["tables"]["steals and echoes of the same sizes"]
    measured = {(row["what"], row["transport"], row["actions"] > 1) for row in rows}
    kinds = ("steal", "native echo", "green echo", "zmq.green echo")
    assert measured == {(kind, transport, many) for kind in kinds for transport in ("ipc", "tcp") for many in (0, 1)}
    assert all(row["p50_us"] > 0 for row in rows)
    skewed = {
        row["strategy"]: row for title, rows in report["tables"].items() if "given to one" in title for row in rows
    }
    strategies = {"random", "least-loaded", "most-loaded", "power-of-two", "adaptive"}
    assert set(skewed) == {"no stealing", *strategies}
    assert skewed["no stealing"]["stolen"] == 0


@pytest.mark.timeout(120)
def test_scaling_compares_with_the_seed_and_weighs_the_largest_farm(workspace: Workspace) -> None:
    words = ("--workers", "1", "10", "--actions", "3", "--waits", "0.05", "0.1", "--idle", "1")
    report = bench(workspace, "scaling", *words)
    rows = {row["workers"]: row for row in report["tables"]["3 actions of 0.05 to 0.1 s for each slot"]}
    assert {workers: row["seed_speed_up"] for workers, row in rows.items()} == {1: None, 10: 8.5}
    assert rows[10]["makespan_s"] >= rows[10]["ideal_s"]
    messages = {row["socket"]: row for row in report["tables"]["messages of a worker of 10"]}
    assert messages["DEALER in"]["bytes_per_worker"] > 3 * 4000
    assert all(aim["measured"] > 0 for aim in report["aims"] if "idle" not in aim["aim"])
    assert any(note.startswith("hermetic staging is off") for note in report["notes"])


@pytest.mark.timeout(120)
def test_a_simulated_farm_accounts_for_the_time_of_its_broker() -> None:
    command = module("tests.sim", "scale", "--workers", "20", "--actions", "3", "--json")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    (row,) = report["tables"]["60 actions of 0.5 to 2.0 s by 20 workers"]
    assert row["makespan_s"] >= row["bound_s"]
    assert 0 < row["broker_use_percent"] < 100
    work = {row["work"]: row for row in report["tables"]["where the broker's time goes"]}
    assert work["Complete in"]["times"] >= 60 / 256
    assert {"Submit in", "Report in", "HeartBeat in", "Lease out", "Finished out", "tick"} <= set(work)


@pytest.mark.needs("bubblewrap", "ninja", "cmake", "gcc")
@pytest.mark.timeout(120)
def test_startup_takes_every_process_apart(workspace: Workspace) -> None:
    report = bench(workspace, "startup", "--rounds", "1")
    parts = {row["part"] for row in report["tables"]["the parts"]}
    assert {"broker, from exec to ready", "worker, from exec to ready", "imports of spawner"} <= parts


@pytest.mark.needs("bubblewrap", "ninja", "cmake", "gcc")
@pytest.mark.timeout(120)
def test_action_accounts_for_every_process(workspace: Workspace) -> None:
    report = bench(workspace, "action", "--project", TINY, "--files", "2", "--spawns", "3", "--jobs", "2")
    processes = {row["process"] for title, rows in report["tables"].items() if "by process" in title for row in rows}
    assert {"client", "spawner commands"} <= processes
    phases = {
        row["phase"]: row["median_ms"] for row in report["tables"]["the worker, as results report it, ms per action"]
    }
    assert phases["run_s"] > 0


@pytest.mark.needs("bubblewrap")
@pytest.mark.timeout(180)
def test_sandbox_compares_three_kinds_and_finds_nothing_left_behind(workspace: Workspace) -> None:
    report = bench(workspace, "sandbox", "--spawns", "4", "--actions", "200", "--tree-inputs", "60")
    kinds = [row["kind"] for row in report["tables"]["4 times /usr/bin/true"]]
    assert kinds == ["plain spawn", "cold bubblewrap", "warm sandbox"]
    staged = [row["staged"] for row in report["tables"]["60 inputs in 2 directories"]]
    assert staged == ["file by file", "the same tree", "one file differs"]
    # The machine's cgroups are not only ours.
    counted = [
        row for row in report["tables"]["what is there before and after 200 actions"] if row["what"] != "cgroups"
    ]
    assert len(counted) == 6
    assert [row for row in counted if row["after"] > row["before"]] == []


@pytest.mark.needs("ninja", "cmake", "gcc")
@pytest.mark.timeout(120)
def test_header_search_covers_every_compile_edge(workspace: Workspace) -> None:
    report = bench(workspace, "header_search", "--project", TINY, "--files", "2", "--rounds", "1")
    rows = report["tables"]["tiny, 3 compile edges: CPU per edge"]
    assert [row["search"] for row in rows] == [
        "include scan, first build",
        "include scan, facts known",
        "the compiler with -M",
    ]
    assert report["notes"] == []


@pytest.mark.needs("ninja", "cmake", "gcc")
def test_a_reset_tree_has_no_outputs_and_keeps_its_logs_only_when_told(workspace: Workspace) -> None:
    tree = configured(workspace, TINY, 1)
    measure(["ninja"], cwd=tree.build)
    assert (tree.build / "tiny").exists()
    tree.reset(keeps_logs=True)
    assert not (tree.build / "tiny").exists()
    assert (tree.build / ".ninja_log").exists()
    tree.reset()
    assert not (tree.build / ".ninja_log").exists()


def test_cpu_of_a_daemon_and_of_its_ended_children_is_counted() -> None:
    script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo"
    daemon = subprocess.Popen(
        ["/bin/sh", "-c", f"read x; sh -c '{script}'; {script}; read x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert daemon.stdin is not None
    assert daemon.stdout is not None
    try:
        before = process_time(daemon.pid)
        daemon.stdin.write(b"\n")
        daemon.stdin.flush()
        assert daemon.stdout.readline() == b"\n"
        assert daemon.stdout.readline() == b"\n"
        after = process_time(daemon.pid)
    finally:
        daemon.kill()
        daemon.communicate()
    assert before is not None
    assert after is not None
    assert after.own_s > before.own_s
    assert after.waited_s > before.waited_s
    assert process_time(daemon.pid) is None


def test_a_command_that_fails_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="code 3: it says why"):
        measure(["/bin/sh", "-c", "echo it says why; exit 3"], cwd=tmp_path)


def test_a_tree_with_nothing_to_do(tmp_path: Path) -> None:
    noop_tree.make_tree(tmp_path, edge_count=3, deps_per_edge=2, header_count=4)
    command = module("zbuild.cli.main", "build")
    with Workspace(str(tmp_path)) as made:
        measured = measure(command, cwd=tmp_path / "build", environment=made.environment())
    assert "no work to do" in measured.stdout + measured.stderr


def test_ratios_are_of_each_round() -> None:
    # The machine was three times as slow in the second round; the ratio of the medians would be 2.
    assert ratio([2.0, 6.0], [1.0, 3.0]) == 2.0
    assert ratio([1.0, 9.0, 2.0], [1.0, 3.0, 1.0]) == 2.0


def test_spread_has_the_99th_percentile_when_there_are_enough_values() -> None:
    assert "p99_s" not in spread([1.0] * 19)
    assert spread([*[1.0] * 197, 5.0, 7.0, 9.0])["p99_s"] == 5.0
    assert spread([1.0] * 99 + [8.0])["p99_s"] == 1.0
    assert spread([1.0] * 19 + [8.0])["p99_s"] == 8.0


def test_an_aim_that_could_not_be_measured_is_not_met() -> None:
    assert not Aim("a", None, "<=", 1.0).is_met
    assert Aim("a", 1.0, "<=", 1.0).is_met
    assert Aim("a", 1.0, ">=", 1.0).is_met
    assert not Aim("a", 0.9, ">=", 1.0).is_met
    report = Report("b", {"t": [{"x": 1, "y": None}]}, [Aim("a", None, "<=", 1.0)], ["SKIPPED something"])
    text = report.to_text()
    assert "NOT MET" in text
    assert "SKIPPED something" in text
    assert json.loads(report.to_json())["aims"][0]["met"] is False
