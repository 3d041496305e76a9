"""kill -9 at each of the named points of the daemons (zbuild/testing/failpoints.py), and recovery from each.

While builds follow upon each other, every life of a daemon but the last is armed with the next point.
"""

from __future__ import annotations

from collections.abc import Callable

from chaos.arena import Arena, Build
from chaos.history import TimeIsUp, wait_until
from chaos.scenario import scenario
from chaos.workload import shell_actions
from tests.integration.farm import Daemon
from zbuild.testing.failpoints import FAILPOINTS, Failpoint

PASSES = 3
"""A process is killed at one of its first passes of a point."""

FIRST_PASS = frozenset({"broker.restore.after", "broker.claim.before", "broker.claim.after"})
"""A broker restores once in its life and sees a claim in some builds only: their first pass is the one waited for."""

REACHED_S = 120.0
"""A point that is not come to within this has lost its place in the code."""


LONG_QUEUE_S = 600.0
"""Workers get all that there is, so that some steal, and the broker comes to the points of that."""


def _kill_at_each(arena: Arena, role: str, start: Callable[[str], Daemon]) -> None:
    """``start`` begins the next life of a daemon, armed with a point, or with none."""
    points = [point.name for point in FAILPOINTS.values() if point.role == role and not _is_elsewhere(point)]
    points *= 5 if arena.is_full else 1
    arena.random.shuffle(points)
    build = _next_build(arena, None)
    began_s = build.began_s
    for point in points:
        arena.fault(point)
        at_pass = 1 if point in FIRST_PASS else arena.random.randint(1, PASSES)
        daemon = start(f"{point}:{at_pass}")

        def is_dead(daemon: Daemon = daemon) -> bool:
            nonlocal build
            if build.has_ended():
                build = _next_build(arena, build)
            return daemon.process.poll() is not None

        try:
            wait_until(is_dead, point, REACHED_S)
        except TimeIsUp:
            arena.outcome.violations.append(f"the {role} did not come to {point}")
            daemon.close()
        arena.history.write("died", point=point)
    start("")
    arena.end(build)
    arena.outcome.recovery_s = arena.longest_gap_s(began_s)
    arena.outcome.figures["points"] = len(set(points))
    arena.check()


def _is_elsewhere(point: Failpoint) -> bool:
    """Workers come to those of stealing where queues are long; and an action that is lost thrice in one is given up.

    Each of these has a build of its own, in tests/integration/test_stealing.py.
    """
    return point.name.startswith("worker.steal_")


def _next_build(arena: Arena, before: Build | None) -> Build:
    if before is not None:
        arena.end(before)
    return arena.begin(arena.tree(shell_actions(arena.random, 100, seconds=0.05)))


@scenario("FailpointsWorker")
def failpoints_worker(arena: Arena) -> None:
    """A worker is killed at each of its points; another one and its own next life make good for it."""
    farm = arena.start(workers=1, slots=1)

    def start(point: str) -> Daemon:
        if "armed" in farm.workers:
            farm.await_free("armed")
        return farm.start_worker("armed", failpoint=point)

    _kill_at_each(arena, "worker", start)


@scenario("FailpointsBroker", timeout_s=1200.0)
def failpoints_broker(arena: Arena) -> None:
    """The broker is killed at each of its points, and started again."""
    _kill_at_each(arena, "broker", _broker_starter(arena))


@scenario("FailpointsStore")
def failpoints_store(arena: Arena) -> None:
    """The store is killed at each of its points; the broker ends with it, and both are started again."""
    _kill_at_each(arena, "store", _broker_starter(arena))


def _broker_starter(arena: Arena) -> Callable[[str], Daemon]:
    farm = arena.start(workers=2, prefetch_s=LONG_QUEUE_S)

    def start(point: str) -> Daemon:
        assert farm.broker is not None
        if farm.broker.process.poll() is None:
            farm.kill_broker()
        return farm.start_broker(point)

    return start
