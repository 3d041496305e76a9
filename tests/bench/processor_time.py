"""Wall and CPU time of a command and of all daemons that work for it."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class ProcessTime(NamedTuple):
    """Seconds, from /proc/PID/stat: its own, and of its children that have ended and were waited for."""

    name: str
    parent: int
    own_s: float
    waited_s: float


@dataclass(frozen=True)
class Measured:
    """One run of a command.

    Attributes:
        cpu_s: user and system time of the command, all it started, and the daemons.
        by_process: the same, taken apart; the command itself is ``client``, and what a daemon's ended children
            have used is ``<daemon> commands``.
    """

    wall_s: float
    cpu_s: float
    by_process: dict[str, float]
    stdout: str
    stderr: str


class CommandFailed(Exception):
    """A measured command ended with an error; the message has its output."""


def measure(
    command: Sequence[str], *, cwd: Path, environment: dict[str, str] | None = None, daemons: Sequence[int] = ()
) -> Measured:
    """Run a command to its end.

    Args:
        daemons: the roots of the process trees that work for it.

    Raises:
        CommandFailed: it exits with another code than 0.
    """
    daemons_before = used_by(daemons)
    before_s = _children_s()
    began_s = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    wall_s = time.perf_counter() - began_s
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-2000:]
        raise CommandFailed(f"{' '.join(map(str, command))} ended with code {done.returncode}: {said}")
    by_process = {"client": _children_s() - before_s}
    for name, seconds in used_by(daemons).items():
        by_process[name] = max(0.0, seconds - daemons_before.get(name, 0.0))
    return Measured(wall_s, sum(by_process.values()), by_process, done.stdout, done.stderr)


def used_by(roots: Sequence[int]) -> dict[str, float]:
    """CPU seconds that the process trees below ``roots`` have used so far, by name of process."""
    used: defaultdict[str, float] = defaultdict(float)
    for process in tree(roots).values():
        used[process.name] += process.own_s
        used[f"{process.name} commands"] += process.waited_s
    return used


def tree(roots: Sequence[int]) -> dict[int, ProcessTime]:
    """The processes at and below ``roots`` that live now."""
    processes: dict[int, ProcessTime] = {}
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc") if roots else ():
        if entry.isdigit() and (process := process_time(int(entry))) is not None:
            processes[int(entry)] = process
            children.setdefault(process.parent, []).append(int(entry))
    found: dict[int, ProcessTime] = {}
    pending = [root for root in roots if root in processes]
    while pending:
        pid = pending.pop()
        found[pid] = processes[pid]
        pending += children.get(pid, ())
    return found


def machine_s() -> float:
    """CPU seconds that the whole machine has worked since its start: user, nice, system and interrupts of proc(5)."""
    words = Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    return sum(int(words[field]) for field in (0, 1, 2, 5, 6)) * _TICK_S


def process_time(pid: int) -> ProcessTime | None:
    """None: there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold anything, spaces and parentheses included: proc(5).
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    user, system, waited_user, waited_system = (int(field) * _TICK_S for field in fields[11:15])
    # What was forked from another part of zbuild has its command line, and a name of its own.
    if not name.startswith("zbuild-"):
        for word in words:
            if word.startswith(b"zbuild."):
                name = word.decode().rpartition(".")[2]
    name = name.removeprefix("zbuild-")
    return ProcessTime(name, int(fields[1]), user + system, waited_user + waited_system)


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
