"""Partitions of a real network: a worker in a network namespace of its own, behind a pair of virtual devices."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from chaos.arena import Arena
from chaos.history import wait_until
from chaos.scenario import scenario
from chaos.workload import shell_actions

BROKER, WORKER = "10.203.0.1", "10.203.0.2"
NOWHERE = "02:00:00:00:00:99"
"""An Ethernet address that nobody has: frames to it are lost without a word."""


class FarNetwork:
    """A namespace that ends with this process: ``cat`` holds it, and its stdin is a pipe of ours."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        pid = str(self._holder.pid)
        self.prefix = ("nsenter", "--net", "--target", pid)
        arena.history.write("namespace", pid=pid)
        namespace = Path(f"/proc/{pid}/ns/net")
        own = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(namespace) != own, "a network namespace")
        _run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", pid)
        _run("ip", "addr", "add", f"{BROKER}/24", "dev", "near")
        _run("ip", "link", "set", "near", "up")
        self.far("ip", "addr", "add", f"{WORKER}/24", "dev", "far")
        self.far("ip", "link", "set", "far", "up")
        self.far("ip", "link", "set", "lo", "up")

    def far(self, *command: str) -> None:
        """Run a command on the far side."""
        _run(*self.prefix, *command)

    def cut(self, way: str) -> None:
        """down: the device. in: nothing reaches the worker. out: nothing it sends arrives. both: neither."""
        self._arena.fault(f"partition: {way}")
        if way == "down":
            _run("ip", "link", "set", "near", "down")
        if way in ("in", "both"):
            _run("ip", "neigh", "replace", WORKER, "lladdr", NOWHERE, "dev", "near", "nud", "permanent")
        if way in ("out", "both"):
            self.far("ip", "neigh", "replace", BROKER, "lladdr", NOWHERE, "dev", "far", "nud", "permanent")

    def heal(self) -> float:
        """The instant."""
        _run("ip", "link", "set", "near", "up")
        subprocess.run(["ip", "neigh", "del", WORKER, "dev", "near"], check=False, capture_output=True)
        command = [*self.prefix, "ip", "neigh", "del", BROKER, "dev", "far"]
        subprocess.run(command, check=False, capture_output=True)
        return self._arena.history.write("healed")

    def close(self) -> None:
        """End the namespace."""
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        self._holder.wait()


@scenario("NetworkPartition", "namespaces")
def network_partition(arena: Arena) -> None:
    """A worker's network is down, then one-way in each direction, then cut both ways for longer than the time-out."""
    network = FarNetwork(arena)
    arena.defer(network.close)
    farm = arena.start(workers=1, host=BROKER, worker_timeout_s=6.0)
    farm.start_worker("worker-2", prefix=network.prefix)
    farm.await_workers(2)
    build = arena.begin(arena.tree(shell_actions(arena.random, 160, seconds=0.25)))
    arena.progress(5)
    ways = ["down", "in", "out"]
    arena.random.shuffle(ways)
    for way in ways:
        network.cut(way)
        arena.pause(arena.random.uniform(0.5, 2.0))
        arena.recovered(network.heal())
    network.cut("both")
    at_s = arena.history.write("long partition")
    arena.history.wait_for("requeue", 1, 120.0, at_s)
    arena.recovered(network.heal())
    farm.await_workers(2)
    arena.end(build)
    arena.check()


@scenario("FlappingLink", "namespaces")
def flapping_link(arena: Arena) -> None:
    """A worker's network goes down and up every half second."""
    network = FarNetwork(arena)
    arena.defer(network.close)
    farm = arena.start(workers=1, host=BROKER, worker_timeout_s=6.0)
    farm.start_worker("worker-2", prefix=network.prefix)
    farm.await_workers(2)
    build = arena.begin(arena.tree(shell_actions(arena.random, 100, seconds=0.2)))
    arena.progress(5)
    for _ in range(20 if arena.is_full else 6):
        network.cut(arena.random.choice(("down", "both")))
        arena.pause(0.5)
        at_s = network.heal()
        arena.pause(0.5)
    arena.recovered(at_s)
    farm.await_workers(2)
    arena.end(build)
    arena.check()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
