"""The kill modes: every role is ended, or made useless, in every way there is."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from chaos.arena import Arena, Build
from chaos.condition import CLEAR, Condition
from chaos.history import TOO_SLOW, wait_until
from chaos.scenario import scenario
from chaos.workload import Workload, shell_actions
from tests.live_processes import processes_below, processes_naming

CANCELLED_S = 10.0
"""The actions of a client that dies are cancelled within this, and their processes are gone GONE_S later."""

GONE_S = 2.0

SLACK_S = 30.0
"""A run in which either takes longer than this, too, is stuck, and not merely late."""


@scenario("KillSigTerm")
def kill_sig_term(arena: Arena) -> None:
    """SIGTERM to a client, to a worker, to the store, which ignores it, and to the broker, which is started again."""
    farm = arena.start(workers=2)
    tree = arena.tree(shell_actions(arena.random, 80, seconds=0.15))
    first = arena.begin(tree)
    arena.progress(4)
    arena.kill_build(first, signal.SIGTERM)
    build = arena.begin(tree, client="client-2")
    arena.history.wait_for("answer", 6, since_s=build.began_s)
    arena.fault("SIGTERM to the store")
    os.kill(farm.store_pid(), signal.SIGTERM)
    victim = arena.draw_worker()
    arena.fault(f"SIGTERM to {victim}")
    farm.signal_worker(victim, signal.SIGTERM)
    farm.workers[victim].process.wait(90)
    farm.restart_worker(victim)
    at_s = arena.fault("SIGTERM to the broker")
    assert farm.broker is not None
    farm.broker.terminate()
    farm.start_broker()
    arena.recovered(at_s)
    arena.end(build)
    farm.await_workers(2)
    arena.check()


@scenario("KillSigKill")
def kill_sig_kill(arena: Arena) -> None:
    """kill -9 of a worker, of a worker's spawner, of the store, and of the broker, in an order that is drawn."""
    farm = arena.start(workers=2)
    build = arena.begin(arena.tree(shell_actions(arena.random, 120, seconds=0.15)))
    victims = ["worker", "spawner", "store", "broker"]
    arena.random.shuffle(victims)
    for number, victim in enumerate(victims, 1):
        arena.progress(8 * number)
        name = arena.draw_worker()
        at_s = arena.fault(f"kill -9 of the {victim}")
        if victim == "worker":
            farm.kill_worker(name)
            farm.restart_worker(name)
        elif victim == "spawner":
            os.kill(spawner_of(farm.workers[name].process.pid), signal.SIGKILL)
            farm.workers[name].process.wait(90)
            farm.restart_worker(name)
        else:
            assert farm.broker is not None
            os.kill(farm.store_pid() if victim == "store" else farm.broker.process.pid, signal.SIGKILL)
            farm.broker.process.wait(90)
            farm.start_broker()
        arena.recovered(at_s)
    arena.end(build)
    farm.await_workers(2)
    arena.check()


@scenario("ClientKill")
def client_kill(arena: Arena) -> None:
    """kill -9 or SIGINT of a client, SIGSTOP of another: what only it waits for is stopped, what it shares goes on."""
    arena.start(workers=2)
    number = arena.random.choice((signal.SIGKILL, signal.SIGINT))
    alone = arena.begin(arena.tree(_long_actions(arena, 60)), client="client-alone")
    shared = shell_actions(arena.random, 40, seconds=0.4)
    tree = arena.tree(shared)
    sharing = arena.begin(tree, client="client-1")
    other = arena.begin(arena.tree(shared), client="client-2")
    arena.history.wait_for("run", 4)
    wait_until(lambda: bool(_long_ones(arena, 60)), "a long action to run")
    arena.kill_build(sharing, number)
    at_s = arena.history.write("a client dies")
    arena.kill_build(alone, number)
    _await_cancellation(arena, 60, at_s)
    silent = arena.begin(arena.tree(_long_actions(arena, 61)), client="client-silent")
    wait_until(lambda: bool(_long_ones(arena, 61)), "a long action of the other client to run")
    with arena.frozen(silent.process.pid, "a client"):
        _await_cancellation(arena, 61, arena.history.write("a client falls silent"))
        arena.kill_build(silent, signal.SIGKILL)
    arena.end(other)
    arena.end(arena.begin(tree, client="client-3"))
    arena.check()


LONG_ACTIONS = 8


def _await_cancellation(arena: Arena, seconds: int, at_s: float) -> None:
    """What only one client waits for, which died at an instant, is given up and its processes are gone in time."""

    def abandoned() -> list[float]:
        events = [each for each in arena.history.read() if each["event"] == "forget" and each["how"] == "abandon"]
        return [each["t"] for each in events if each["t"] >= at_s]

    wait_until(lambda: len(abandoned()) >= LONG_ACTIONS, "its actions to be given up", CANCELLED_S + SLACK_S)
    cancelled_s = abandoned()[LONG_ACTIONS - 1]
    wait_until(lambda: not _long_ones(arena, seconds), "the processes of a dead client to end", GONE_S + SLACK_S)
    gone_s = arena.history.write("processes gone")
    figures = arena.outcome.figures
    for what, took_s, bound_s in (
        ("cancelled", cancelled_s - at_s, CANCELLED_S),
        ("gone", gone_s - cancelled_s, GONE_S),
    ):
        figures[what] = round(max(took_s, figures.get(what, 0.0)), 2)
        if took_s > bound_s:
            text = f"what a dead client had running was {what} after {took_s:.1f} s, not {bound_s:g}"
            arena.outcome.violations.append(f"{TOO_SLOW}{text}")


def _long_actions(arena: Arena, seconds: int) -> Workload:
    """A minute each: they end only because they are stopped. No build of them is ever finished."""
    workload = shell_actions(arena.random, LONG_ACTIONS, seconds=seconds)
    workload.expected["never"] = "built"
    return workload


def _long_ones(arena: Arena, seconds: int) -> list[str]:
    mark = str(arena.farm.directory / "worker-")
    return [line for line in processes_naming(mark) if f"sleep {seconds}" in line]


@scenario("OOM")
def out_of_memory(arena: Arena) -> None:
    """The process of a worker that takes most memory is killed, which is how the kernel's OOM killer chooses."""
    farm = arena.start(workers=2)
    build = arena.begin(arena.tree(shell_actions(arena.random, 80, seconds=0.2)))
    for count in (5, 20, 35):
        arena.progress(count)
        name = arena.draw_worker()
        tree = [farm.workers[name].process.pid, *processes_below(farm.workers[name].process.pid)]
        # The largest is the worker itself; an action comes first every other time, as one that takes gigabytes would.
        ordered = sorted(tree, key=_resident_bytes)
        at_s = arena.fault(f"OOM on {name}")
        victim = ordered[-1] if count != 20 else ordered[0]
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
        if victim == ordered[-1]:
            farm.workers[name].process.wait(90)
            farm.restart_worker(name)
        arena.recovered(at_s)
    arena.end(build)
    arena.check()


@scenario("MemoryExhaustion")
def memory_exhaustion(arena: Arena) -> None:
    """A worker may take no more address space than it has: allocations fail; it fails attempts, or ends."""
    farm = arena.start(workers=2)
    build = arena.begin(arena.tree(shell_actions(arena.random, 80, seconds=0.1, size_bytes=100_000)))
    arena.progress(5)
    victim = arena.draw_worker()
    process = farm.workers[victim].process
    size_bytes = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
    at_s = arena.fault(f"no more memory for {victim}")
    resource.prlimit(process.pid, resource.RLIMIT_AS, (size_bytes, resource.RLIM_INFINITY))
    arena.pause(3.0)
    if process.poll() is None:
        resource.prlimit(process.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        farm.restart_worker(victim)
    arena.recovered(at_s)
    arena.end(build)
    arena.check()


@scenario("NetworkDisconnect")
def network_disconnect(arena: Arena) -> None:
    """Connections of a worker, then of the client, are reset and refused for seconds; both come back by themselves."""
    farm = arena.start(workers=2, has_links=True)
    build = arena.begin(arena.tree(shell_actions(arena.random, 120, seconds=0.15, size_bytes=2000)))
    arena.progress(5)
    for peer in (arena.draw_worker(), "client"):
        arena.fault(f"{peer} disconnected")
        arena.links.set(peer, Condition(refuses=True))
        arena.pause(arena.random.uniform(1.0, 3.0))
        at_s = arena.history.write("healed")
        arena.links.set(peer, CLEAR)
        arena.recovered(at_s)
    arena.end(build)
    farm.await_workers(2)
    arena.check()


@scenario("CPUExhaustion")
def cpu_exhaustion(arena: Arena) -> None:
    """More spinning processes than processors, and the broker and a worker at the lowest priority: slow, not lost."""
    farm = arena.start(workers=2, worker_timeout_s=12.0)
    build = arena.begin(arena.tree(shell_actions(arena.random, 60, seconds=0.1)))
    arena.progress(5)
    arena.fault("processors are taken")
    assert farm.broker is not None
    for pid in (farm.broker.process.pid, farm.workers[arena.draw_worker()].process.pid):
        os.setpriority(os.PRIO_PROCESS, pid, 19)
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        arena.pause(4.0)
    finally:
        for each in spinning:
            each.kill()
            each.wait()
    arena.recovered(arena.history.write("processors are free"))
    arena.end(build)
    if "silent for" in farm.broker.log:
        arena.outcome.violations.append("a worker was declared lost for want of processor time")
    arena.check()


@scenario("Deadlock")
def deadlock(arena: Arena) -> None:
    """The broker, then the store, then a worker's spawner stand still for seconds with their connections open."""
    farm = arena.start(workers=2, worker_timeout_s=12.0)
    build = arena.begin(arena.tree(shell_actions(arena.random, 100, seconds=0.15)))
    assert farm.broker is not None
    name = arena.draw_worker()
    stuck = {
        "broker": farm.broker.process.pid,
        "store": farm.store_pid(),
        "spawner": spawner_of(farm.workers[name].process.pid),
    }
    for number, (what, pid) in enumerate(stuck.items(), 1):
        arena.progress(6 * number)
        with arena.frozen(pid, what):
            arena.pause(arena.random.uniform(2.0, 8.0 if arena.is_full else 4.0))
        arena.recovered(arena.history.write("thawed"))
    arena.end(build)
    arena.check()


@scenario("Timeout")
def timeout(arena: Arena) -> None:
    """The store stands still for longer than a request to it may take; the broker, for longer than a worker may."""
    farm = arena.start(workers=2, worker_timeout_s=6.0)
    build: Build = arena.begin(arena.tree(shell_actions(arena.random, 60, seconds=0.15)))
    assert farm.broker is not None
    for number, (what, pid, for_s) in enumerate(
        (("broker", farm.broker.process.pid, 8.0), ("store", farm.store_pid(), 32.0)), 1
    ):
        arena.progress(6 * number)
        with arena.frozen(pid, what):
            arena.pause(for_s)
        arena.recovered(arena.history.write("thawed"))
    arena.end(build)
    arena.check()


def spawner_of(worker_pid: int) -> int:
    """The spawner process of a worker."""
    for pid in processes_below(worker_pid):
        try:
            if Path(f"/proc/{pid}/comm").read_text().strip() == "zbuild-spawner":
                return pid
        except (FileNotFoundError, ProcessLookupError):
            continue
    raise LookupError(f"worker {worker_pid} has no spawner")


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
