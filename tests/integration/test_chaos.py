"""That chaos breaks what it says: defect 18 of the original, whose chaos tests drove objects that stood for a farm."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from chaos.arena import Arena
from chaos.condition import CLEAR
from chaos.workload import shell_actions
from tests.live_processes import is_alive
from tests.polling import wait_until

pytestmark = pytest.mark.needs("bubblewrap", "ninja")

ESTABLISHED = "01"
"""include/net/tcp_states.h of Linux."""


def test_faults_reach_real_processes_and_sockets_as_in_defect_18(short_path: Path) -> None:
    """A worker's connections are reset and another worker is killed, and the kernel itself shows both."""
    with contextlib.closing(Arena(short_path, 1, is_full=False)) as arena:
        farm = arena.start(workers=2, slots=1, has_links=True)
        cut, killed = (farm.workers[name].process.pid for name in ("worker-1", "worker-2"))
        before = connections(cut)
        assert before
        build = arena.begin(arena.tree(shell_actions(arena.random, 20, seconds=0.2)))
        wait_until(lambda: runners(arena) == {cut, killed}, "both workers to be at work")

        arena.links.flicker("worker-1", CLEAR)
        wait_until(lambda: not before & connections(cut), "every connection of the worker to be another one")
        farm.kill_worker("worker-2")
        assert not is_alive(killed)

        arena.end(build)
        arena.check()
        assert arena.outcome.violations == []
        assert runners(arena) == {cut, killed}, "nobody else has run anything"


def runners(arena: Arena) -> set[int]:
    """The processes that have told of a run."""
    return {each["pid"] for each in arena.history.read() if each["event"] == "run"}


def connections(pid: int) -> set[str]:
    """A process's TCP connections by their inodes, as the kernel lists them. ZeroMQ's sockets are of IPv6."""
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()]
    established = {f"socket:[{line.split()[9]}]" for line in lines if line.split()[3] == ESTABLISHED}
    return established & descriptors(pid)


def descriptors(pid: int) -> set[str]:
    """What the descriptors of a process lead to."""
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found
