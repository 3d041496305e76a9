"""Workers that are killed while they take work from each other."""

from __future__ import annotations

from chaos.arena import Arena, Build
from chaos.history import wait_until
from chaos.scenario import scenario
from chaos.workload import shell_actions

BUILDS = 3
"""Of a run; three times as many in the full gate."""

KILLS = 2
"""During each build. The third loss of an action is its last one, whether it ran on the lost worker or waited there."""


@scenario("StealKills")
def steal_kills(arena: Arena) -> None:
    """kill -9 of thieves and victims in turn, while one worker is given all that a build has."""
    farm = arena.start(workers=1, slots=1, prefetch_s=600.0)
    build = _begin(arena)
    arena.progress(3)
    for number in (2, 3):
        farm.start_worker(f"worker-{number}", 1)
    for number in range(BUILDS * (3 if arena.is_full else 1)):
        if number:
            build = _begin(arena)
        for _ in range(KILLS):
            _await_steal(arena, build)
            arena.pause(arena.random.uniform(0.0, 0.2))
            victim = arena.draw_worker()
            at_s = arena.fault(f"kill -9 of {victim}")
            farm.kill_worker(victim)
            arena.recovered(at_s)
            farm.restart_worker(victim, slots=1)
        arena.end(build)
    farm.await_workers(3)
    arena.outcome.figures["claims"] = arena.history.count("claim")
    arena.check()


def _begin(arena: Arena) -> Build:
    return arena.begin(arena.tree(shell_actions(arena.random, 60, seconds=0.25)))


def _await_steal(arena: Arena, build: Build) -> None:
    since_s = arena.history.write("awaiting_steal")
    wait_until(lambda: build.has_ended() or arena.history.first("claim", since_s) is not None, "a steal")
