"""Workers that die, hang, crawl or run out of memory."""

from __future__ import annotations

import signal

from chaos.arena import Arena
from chaos.scenario import scenario
from chaos.workload import c_program, shell_actions


@scenario("WorkerCrash", "gcc")
def worker_crash(arena: Arena) -> None:
    """kill -9 of a worker in the middle of a C build, then again after its restart."""
    farm = arena.start(workers=2)
    build = arena.begin(arena.tree(c_program(arena.random, 30)))
    for round_number in range(1, 3):
        arena.progress(8 * round_number)
        victim = arena.draw_worker()
        at_s = arena.fault(f"kill -9 of {victim}")
        farm.kill_worker(victim)
        farm.restart_worker(victim)
        arena.recovered(at_s)
    arena.end(build)
    arena.check()


@scenario("WorkerHang")
def worker_hang(arena: Arena) -> None:
    """SIGSTOP of a worker for longer than the broker waits, then SIGCONT: its late results are fenced."""
    farm = arena.start(workers=2, worker_timeout_s=6.0)
    build = arena.begin(arena.tree(shell_actions(arena.random, 60, seconds=0.3)))
    arena.progress(5)
    victim = arena.draw_worker()
    with arena.frozen(farm.workers[victim].process.pid, victim):
        at_s = arena.history.write("hang")
        arena.history.wait_for("requeue", 1, 120.0, at_s)
        arena.recovered(arena.history.first("requeue", at_s) or at_s)
    farm.await_workers(2)
    arena.end(build)
    arena.check()


@scenario("SlowExecution")
def slow_execution(arena: Arena) -> None:
    """One worker runs a tenth of the time (SIGSTOP and SIGCONT in turn): it stays a member and the build ends."""
    farm = arena.start(workers=2, worker_timeout_s=6.0)
    build = arena.begin(arena.tree(shell_actions(arena.random, 60, seconds=0.2)))
    arena.progress(5)
    victim = arena.draw_worker()
    for _ in range(8):
        with arena.frozen(farm.workers[victim].process.pid, victim):
            arena.pause(0.45)
        arena.pause(0.05)
    arena.end(build)
    if "silent for" in (farm.broker.log if farm.broker else ""):
        arena.outcome.violations.append("a slow worker was declared lost")
    arena.check()


@scenario("Drain")
def drain(arena: Arena) -> None:
    """SIGTERM to a worker: it finishes what it runs and hands back the rest; nothing is run twice."""
    farm = arena.start(workers=2)
    build = arena.begin(arena.tree(shell_actions(arena.random, 60, seconds=0.1)))
    arena.progress(5)
    victim = arena.draw_worker()
    at_s = arena.fault(f"SIGTERM to {victim}")
    farm.signal_worker(victim, signal.SIGTERM)
    arena.recovered(at_s)
    if farm.workers[victim].process.wait(90) != 0:
        arena.outcome.violations.append("a worker that drains ended with an error")
    del farm.workers[victim]
    arena.end(build)
    arena.check()
    if arena.outcome.runs_again:
        arena.outcome.violations.append(f"{arena.outcome.runs_again} runs were repeated for a drain")
