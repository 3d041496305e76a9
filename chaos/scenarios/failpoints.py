"""kill -9 at each of the named points of the daemons (zbuild/testing/failpoints.py), and recovery from each."""

from __future__ import annotations

import subprocess

from chaos.arena import Arena
from chaos.scenario import scenario
from chaos.workload import c_program, shell_actions
from zbuild.testing.failpoints import FAILPOINTS

PASSES = 3
"""A process is killed at one of its first passes of a point."""


def _points(role: str) -> list[str]:
    return [point.name for point in FAILPOINTS.values() if point.role == role]


def _rounds(arena: Arena) -> int:
    return 5 if arena.is_full else 1


@scenario("FailpointsWorker", "gcc", timeout_s=280)
def failpoints_worker(arena: Arena) -> None:
    """A worker is killed at each of its points; another one and its own next life make good for it."""
    farm = arena.start(workers=1, slots=1)
    for _ in range(_rounds(arena)):
        for point in _points("worker"):
            name = "armed"
            armed = farm.start_worker(name, failpoint=f"{point}:{arena.random.randint(1, PASSES)}")
            farm.await_workers(2)
            at_s = arena.fault(point)
            workload = c_program(arena.random, 8) if "fetch" in point else shell_actions(arena.random, 16)
            build = arena.begin(arena.tree(workload))
            arena.end(build)
            arena.recovered(at_s)
            if armed.process.poll() is None:
                arena.outcome.violations.append(f"a worker did not come to {point}")
                armed.close()
            del farm.workers[name]
    arena.check()


def _failpoints_of_broker(arena: Arena, role: str) -> None:
    """Each build begins with a broker that will die; one without a failpoint takes its place."""
    farm = arena.start(workers=2)
    for _ in range(_rounds(arena)):
        for point in _points(role):
            farm.stop_broker()
            farm.start_broker(f"{point}:{arena.random.randint(1, PASSES)}")
            assert farm.broker is not None
            armed = farm.broker
            build = arena.begin(arena.tree(shell_actions(arena.random, 16)))
            arena.fault(point)
            try:
                armed.process.wait(30)
            except subprocess.TimeoutExpired:
                arena.outcome.violations.append(f"the {role} did not come to {point}")
            at_s = arena.history.write("died")
            farm.start_broker()
            arena.recovered(at_s)
            arena.end(build)
    farm.await_workers(2)
    arena.check()


@scenario("FailpointsBroker", timeout_s=280)
def failpoints_broker(arena: Arena) -> None:
    """The broker is killed at each of its points, and started again."""
    _failpoints_of_broker(arena, "broker")


@scenario("FailpointsStore", timeout_s=280)
def failpoints_store(arena: Arena) -> None:
    """The store is killed at each of its points; the broker ends with it, and both are started again."""
    _failpoints_of_broker(arena, "store")
