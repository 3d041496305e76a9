"""Workers that take queued actions from each other, in real processes: defects 6 and 7 of the seed's table."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.farm import Daemon, Farm, running_farm
from tests.integration.tree import Run, Tree, finish
from tests.polling import wait_until
from zbuild.testing import failpoints, recorder
from zbuild.worker.steal_telemetry import LATENCY_BOUNDS_US

pytestmark = [pytest.mark.needs("bubblewrap"), pytest.mark.timeout(120)]

COUNT = 24
LONG_QUEUE = ("--prefetch-s", "600")
"""A broker that gives a worker as much as it takes."""

REPORTED_S = 20.0
"""Counters come with reports, every 5 s."""


def skewed(directory: Path, farm: Farm, token: str, count: int = COUNT, seconds: float = 0.2) -> Tree:
    """A tree with many commands that depend on nothing."""
    tree = Tree(directory / "tree")
    tree.farm_flags = ["--coordinator", farm.endpoint]
    lines = (f"build o{n}: sh\n  cmd = sleep {seconds}; echo {token} {n} > o{n}\n" for n in range(count))
    tree.manifest("".join(lines))
    return tree


def assert_made(tree: Tree, token: str, count: int = COUNT) -> None:
    assert [tree.text(f"o{n}") for n in range(count)] == [f"{token} {n}\n" for n in range(count)]


def armed(point: str) -> tuple[str, ...]:
    """What has a daemon kill itself at a point."""
    return ("env", f"{failpoints.VARIABLE}={point}")


def start_skewed(farm: Farm, tree: Tree, first: str, at_least: int = COUNT // 2) -> subprocess.Popen[str]:
    """A build of which the only worker has most by now."""
    build = tree.start("--json")
    wait_until(lambda: farm.running_on(first) >= at_least, f"{first} to have a queue")
    return build


def reported(farm: Farm, name: str, minimum: int = 1) -> dict[str, int]:
    """The broker's counters once one of them has come."""
    found: dict[str, int] = {}

    def has_come() -> bool:
        found.update(farm.status()["counters"])
        return found.get(name, 0) >= minimum

    wait_until(has_come, f"{name} to be {minimum}", REPORTED_S)
    return found


@pytest.mark.parametrize("is_tcp", [True, False], ids=["tcp", "ipc"])
def test_workers_that_come_later_take_from_the_first_directly_as_in_defect_6(
    short_path: Path, tmp_path: Path, token: str, is_tcp: bool
) -> None:
    """Each thief by a strategy of its own. The broker grants every action once, to the first worker."""
    strategies = ("random", "least-loaded", "most-loaded", "adaptive")
    with running_farm(short_path / "f", *LONG_QUEUE, is_tcp=is_tcp, workers=0) as farm:
        farm.add_worker("first", 1)
        tree = skewed(tmp_path, farm, token, seconds=0.5)
        build = start_skewed(farm, tree, "first")
        for strategy in strategies:
            farm.start_worker(strategy, 1, "--strategy", strategy)
        run = finish(build)

        assert run.all_remote, run.stderr
        assert_made(tree, token)
        assert run.summary["stolen"] > COUNT // 8, "thieves may be slow to start"
        assert run.summary["retried"] == 0
        counters = reported(farm, "worker_steal_actions", run.summary["stolen"])
        assert counters["executed"] == counters["leases_granted"] == COUNT
        assert counters["leases_stolen"] >= run.summary["stolen"]
        for strategy in ("random", "least_loaded", "most_loaded"):
            reported(farm, f"worker_steal_attempts_{strategy}")
        buckets = [counters.get(f"worker_steal_us_to_{bound}", 0) for bound in LATENCY_BOUNDS_US]
        assert sum(buckets) + counters.get("worker_steal_us_above", 0) >= counters["worker_steal_successes"] > 0
        status = farm.status()
        workers = {each["name"]: each for each in status["workers"]}
        assert sum(each["stolen"] for each in workers.values()) == status["counters"]["worker_steal_actions"]
        assert workers["first"]["given"] > 0
        assert "STOLEN" in tree.run([*_zbuild(), "status", "--coordinator", farm.endpoint]).stdout
        for worker in farm.workers.values():
            assert worker.terminate() == 0
        assert not list((short_path / "f").glob("steal-*")), "their sockets go with them"


def _zbuild() -> list[str]:
    return [sys.executable, "-m", "zbuild.cli.main"]


@pytest.mark.parametrize(
    ("first", "others"),
    [(("--no-work-stealing",), ()), ((), ("--no-work-stealing",))],
    ids=["the victim", "the thief"],
)
def test_a_worker_that_is_to_keep_to_itself_neither_gives_nor_takes(
    short_path: Path, tmp_path: Path, token: str, first: tuple[str, ...], others: tuple[str, ...]
) -> None:
    with running_farm(short_path / "f", *LONG_QUEUE, workers=0) as farm:
        farm.add_worker("first", 1, *first)
        tree = skewed(tmp_path, farm, token, 12)
        build = start_skewed(farm, tree, "first", 8)
        farm.add_worker("other", 1, *others)
        run = finish(build)

        assert run.all_remote, run.stderr
        assert_made(tree, token, 12)
        assert run.summary["stolen"] == 0
        assert farm.status()["counters"].get("leases_stolen", 0) == 0


def test_the_workers_of_an_embedded_farm_steal_too(embedded_tree: Tree, token: str) -> None:
    """One has a long action in its slot and a short one behind it, which the other one takes when all else is done."""
    lines = (f"build o{n}: sh\n  cmd = sleep {0.1 if n else 5}; echo {token} {n} > o{n}\n" for n in range(COUNT))
    embedded_tree.manifest("".join(lines))
    run = embedded_tree.zbuild("--local-workers", "2", "-j2")

    assert run.all_remote, run.stderr
    assert_made(embedded_tree, token)
    assert run.summary["stolen"] > 0


VICTIM_POINTS = (
    "worker.steal_give.after",
    "worker.steal_reply.after",
    "worker.steal_accepted.after",
    "worker.steal_revoked.before",
)
THIEF_POINTS = (
    "worker.steal_ask.after",
    "worker.steal_take.before",
    "worker.steal_take.after",
    "worker.steal_ask.after:2",
)


def end_after_a_kill(farm: Farm, tree: Tree, token: str, build: subprocess.Popen[str], killed: Daemon) -> Run:
    """The build, after an armed worker has come to its point: nothing is lost, nothing is published twice."""
    wait_until(lambda: killed.process.poll() is not None, "the armed worker to come to its point", 30)
    assert killed.process.returncode == -signal.SIGKILL
    run = finish(build)
    assert run.all_remote, run.stderr
    assert_made(tree, token)
    status = farm.status()
    assert status["counters"]["executed"] == status["cache_entries"] == COUNT
    assert (status["queued"], status["leased"]) == (0, 0)
    return run


@pytest.mark.parametrize("point", VICTIM_POINTS)
def test_a_victim_killed_at_each_step_loses_nothing_as_in_defect_7(
    short_path: Path, tmp_path: Path, token: str, point: str
) -> None:
    with running_farm(short_path / "f", *LONG_QUEUE, workers=0) as farm:
        first = farm.start_worker("first", 1, prefix=armed(point))
        first.wait_for("event=welcome")
        tree = skewed(tmp_path, farm, token)
        build = start_skewed(farm, tree, "first")
        farm.start_worker("thief", 1)
        run = end_after_a_kill(farm, tree, token, build, first)
        assert run.summary["retried"] > 0, "what waited at the victim was leased anew"


@pytest.mark.parametrize("point", THIEF_POINTS)
def test_a_thief_killed_at_each_step_loses_nothing_as_in_defect_7(
    short_path: Path, tmp_path: Path, token: str, point: str
) -> None:
    with running_farm(short_path / "f", *LONG_QUEUE, workers=0) as farm:
        farm.add_worker("first", 1)
        tree = skewed(tmp_path, farm, token)
        build = start_skewed(farm, tree, "first")
        thief = farm.start_worker("thief", 1, prefix=armed(point))
        end_after_a_kill(farm, tree, token, build, thief)


@pytest.mark.parametrize("point", ["broker.claim.before", "broker.claim.after"])
def test_a_broker_killed_at_a_claim_knows_the_holder_when_it_comes_back(
    short_path: Path, tmp_path: Path, token: str, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: the thief claims again. After: nothing of the claim is in the journal, and the victim knows of no
    revocation."""
    monkeypatch.setenv(failpoints.VARIABLE, point)
    with running_farm(short_path / "f", *LONG_QUEUE, workers=0) as farm:
        monkeypatch.delenv(failpoints.VARIABLE)
        farm.add_worker("first", 1)
        tree = skewed(tmp_path, farm, token)
        build = start_skewed(farm, tree, "first")
        granted = farm.status()["counters"]["leases_granted"]
        farm.start_worker("thief", 1)
        wait_until(lambda: farm.broker.process.poll() is not None, "the broker to come to its point", 30)
        farm.restart_broker()
        run = finish(build)

        assert run.all_remote, run.stderr
        assert_made(tree, token)
        counters = farm.status()["counters"]
        assert counters["leases_stolen"] > 0
        assert granted + counters.get("leases_granted", 0) <= COUNT, "no lease was lost"
        assert counters.get("retried", 0) == 0


def test_work_goes_on_and_is_balanced_while_the_broker_is_down(
    short_path: Path, tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 60
    history = tmp_path / "history"
    monkeypatch.setenv(recorder.VARIABLE, str(history))
    with running_farm(short_path / "f", *LONG_QUEUE, workers=0) as farm:
        farm.add_worker("first", 1)
        tree = skewed(tmp_path, farm, token, count, 0.3)
        build = start_skewed(farm, tree, "first", count - 5)
        granted = farm.status()["counters"]["leases_granted"]
        thieves = [farm.start_worker(f"thief-{number}", 1) for number in (1, 2)]
        pids = [thief.process.pid for thief in thieves]
        wait_until(
            lambda: all(_runs(history, pid) for pid in pids),
            lambda: f"both thieves to be at work: {[_runs(history, pid) for pid in pids]}, {farm.status()}",
        )
        farm.broker.kill()
        before = [_runs(history, pid) for pid in pids]
        wait_until(
            lambda: all(_runs(history, pid) >= was + 4 for pid, was in zip(pids, before, strict=True)),
            "both thieves to have run what they could not have had before",
        )
        farm.restart_broker()
        run = finish(build)

        assert run.all_remote, run.stderr
        assert_made(tree, token, count)
        counters = farm.status()["counters"]
        assert granted + counters.get("leases_granted", 0) <= count, "what ran without a broker is not run again"
        assert counters.get("retried", 0) == 0
        assert run.summary["stolen"] > 8


def _runs(history: Path, pid: int) -> int:
    """How many actions a process has begun to run, by what it has written down."""
    events = [json.loads(line) for line in history.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return sum(event["event"] == "run" and event["pid"] == pid for event in events)
