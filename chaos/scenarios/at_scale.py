"""Builds of two thousand actions during which daemons are killed again and again."""

from __future__ import annotations

import time

from chaos.arena import Arena, Build
from chaos.history import TOO_SLOW
from chaos.scenario import scenario
from chaos.workload import real_project, shell_actions

ACTIONS = 2000
WORKERS = 8

SLOWDOWN = 2.0
"""How many times as long a build may take while a worker is killed every 2 s."""

RUNS_AGAIN = 1.5
"""Runs that a kill may cost for each slot of the worker: what it ran, and now and then a copy of that."""

DISPATCH_S = 5.0
"""A broker that was killed, and is started at once, grants again within this."""


@scenario("WorkerKills", is_alone=True)
def worker_kills(arena: Arena) -> None:
    """kill -9 of a random one of 8 workers every 2 s, give or take half, in a build of 2,000 actions."""
    count, every_s = (10_000, 1.0) if arena.is_full else (ACTIONS, 2.0)
    farm = arena.start(workers=WORKERS, slots=1)
    quiet = arena.begin(arena.tree(shell_actions(arena.random, count)))
    quiet_s = arena.end(quiet, 500.0)["wall_seconds"]
    began_s = arena.history.write("kills begin")
    build = arena.begin(arena.tree(shell_actions(arena.random, count)))
    kills = 0
    while not build.has_ended():
        arena.pause(every_s * arena.random.uniform(0.5, 1.5))
        if build.has_ended():
            break
        victim = arena.draw_worker()
        arena.fault(f"kill -9 of {victim}")
        kills += 1
        farm.kill_worker(victim)
        farm.restart_worker(victim, slots=1)
    wall_s = arena.end(build, 500.0)["wall_seconds"]
    farm.await_workers()
    arena.check()
    arena.outcome.recovery_s = arena.longest_gap_s(began_s)
    arena.outcome.figures |= {"kills": kills, "wall": round(wall_s, 2), "wall without kills": round(quiet_s, 2)}
    arena.outcome.figures["ratio"] = round(wall_s / quiet_s, 2)
    if wall_s > SLOWDOWN * quiet_s and not arena.is_full:
        text = f"{wall_s:.1f} s with {kills} kills, {quiet_s:.1f} s without"
        arena.outcome.violations.append(f"{TOO_SLOW}{text}: more than {SLOWDOWN:g} times as long")
    if arena.outcome.runs_again > RUNS_AGAIN * kills:
        arena.outcome.violations.append(f"{arena.outcome.runs_again} runs were repeated for {kills} kills")
    if not kills:
        arena.outcome.violations.append("the build was over before a worker was killed")


def kill_broker_often(arena: Arena, build: Build, kills: int, answers_between: int) -> None:
    """kill -9 of the broker and a new start, each time after some more answers."""
    for _ in range(kills):
        since_s = arena.history.write("next")
        arena.history.wait_for("answer", answers_between, 120.0, since_s)
        if build.has_ended():
            arena.outcome.violations.append("the build was over before the broker was killed often enough")
            return
        arena.fault("kill -9 of the broker")
        at_s = arena.farm.kill_broker()
        arena.farm.start_broker()
        took_s = arena.recovered(at_s, "grant")
        if took_s > DISPATCH_S:
            arena.outcome.violations.append(f"{TOO_SLOW}the first dispatch came {took_s:.1f} s after the kill")
        arena.outcome.figures["slowest dispatch"] = round(
            max(took_s, arena.outcome.figures.get("slowest dispatch", 0.0)), 2
        )


@scenario("BrokerKills")
def broker_kills(arena: Arena) -> None:
    """kill -9 of the broker five times in one build: nothing fails, nothing that was finished runs again."""
    kills = 20 if arena.is_full else 5
    arena.start(workers=4)
    build = arena.begin(arena.tree(shell_actions(arena.random, 60 * kills, seconds=0.1)))
    kill_broker_often(arena, build, kills, 20)
    summary = arena.end(build)
    if summary["failed"] or summary["local"]:
        arena.outcome.violations.append(f"{summary['failed']} failed and {summary['local']} ran outside the farm")
    arena.check()


@scenario("RealProject", "gcc", "meson", "registry")
def a_real_project(arena: Arena) -> None:
    """A real C project with generators, byte for byte, while workers and the broker are killed in turn."""
    farm = arena.start(workers=2)
    build = arena.begin(arena.tree(real_project()))
    arena.progress(5)
    for number in range(3):
        if build.has_ended():
            break
        at_s = arena.fault("kill -9")
        if number == 1:
            farm.kill_broker()
            farm.start_broker()
        else:
            victim = arena.draw_worker()
            farm.kill_worker(victim)
            farm.restart_worker(victim)
        arena.recovered(at_s)
        time.sleep(arena.random.uniform(0.2, 1.0))
    arena.end(build)
    farm.await_workers(2)
    arena.check()
