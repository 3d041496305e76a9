"""Control groups of both versions: made, filled, read, removed. The kernel's Documentation/admin-guide has the files.

A group is used by one command after the other. A fresh one for each would leave its page cache behind in a group
that is gone and that the kernel cannot free.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from zbuild.errors import SandboxFailed
from zbuild.limits import KIB
from zbuild.sandbox.limit_mechanism import REQUIRED, CgroupFacts, LimitChoice, LimitMechanism, choices, own_groups
from zbuild.sandbox.spawn_protocol import Limits

_READ_BYTES = 4 * KIB
"""At once of a file of the kernel; all but lists of many processes are shorter."""

_PREFIX = "zbuild-"
_LEAF = f"{_PREFIX}worker"
"""Where a worker puts itself under version 2, whose groups have either processes or groups with controllers."""


@dataclass(frozen=True, slots=True)
class _Files:
    """What the two versions call the same thing."""

    memory_limit: str
    unlimited: str
    memory_peak: str
    memory_events: str
    enter: str


_FILES = {
    LimitMechanism.CGROUP_V2: _Files("memory.max", "max", "memory.peak", "memory.events", "cgroup.procs"),
    LimitMechanism.CGROUP_V1: _Files(
        "memory.limit_in_bytes", "-1", "memory.max_usage_in_bytes", "memory.oom_control", "tasks"
    ),
}


@dataclass(frozen=True, slots=True)
class GroupReading:
    """What has happened in a group since its command began.

    Attributes:
        kills: processes that the kernel killed for want of memory.
        refusals: forks that it refused.
        peak_memory_bytes: 0 without a kill. It holds cache as well, which the kernel takes back in time.
    """

    kills: int
    refusals: int
    peak_memory_bytes: int


class ControlGroup:
    """One group of each controller.

    Args:
        name: a name that no other group has.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, choice: LimitChoice, name: str) -> None:
        self._files = _FILES[choice.mechanism]
        self._is_v2 = choice.mechanism is LimitMechanism.CGROUP_V2
        self._directories = {controller: f"{parent}/{name}" for controller, parent in choice.directories.items()}
        self._base = self._seen = (0, 0)
        self._bounds: tuple[int, int] | None = None
        self._processors = frozenset[int]()
        for directory in dict.fromkeys(self._directories.values()):
            os.mkdir(directory, 0o755)
        if self._is_v2:
            _write(f"{self._directories['memory']}/memory.oom.group", "1")
        elif "cpuset" in self._directories:
            for name in ("cpuset.mems", "cpuset.cpus"):
                self._copy_from_parent(name)

    def begin(self, limits: Limits, processors: frozenset[int]) -> None:
        """Set the bounds for the next command, and forget the last one. No ``processors``: all.

        Raises:
            OSError: the kernel refuses one.
        """
        memory, pids, files = self._directories["memory"], self._directories["pids"], self._files
        bounds = (limits.memory_bytes, limits.processes)
        if bounds != self._bounds or self._seen != self._base:
            if not self._is_v2:
                _write(f"{memory}/{files.memory_peak}", "0")
            bound = str(limits.memory_bytes) if limits.memory_bytes else files.unlimited
            _write(f"{memory}/{files.memory_limit}", bound)
            if self._is_v2:
                with contextlib.suppress(FileNotFoundError):
                    _write(f"{memory}/memory.swap.max", "0" if limits.memory_bytes else "max")
            _write(f"{pids}/pids.max", str(limits.processes) if limits.processes else "max")
        self._bounds = bounds
        self._set_processors(processors)
        self._base = self._seen

    def enter(self) -> None:
        """Move this process there; what it starts is there from the beginning.

        Raises:
            OSError: the kernel refuses.
        """
        _enter(self._directories, self._files, self._processors)

    def read(self) -> GroupReading:
        memory, pids = self._directories["memory"], self._directories["pids"]
        kills = _field(f"{memory}/{self._files.memory_events}", b"oom_kill")
        refusals = _field(f"{pids}/pids.events", b"max")
        self._seen = (kills, refusals)
        peak_bytes = 0
        if kills > self._base[0]:
            with contextlib.suppress(FileNotFoundError), open(f"{memory}/{self._files.memory_peak}", "rb") as file:
                peak_bytes = int(file.read())
        return GroupReading(kills - self._base[0], refusals - self._base[1], peak_bytes)

    def processes(self) -> list[int]:
        return [int(word) for word in _bytes(f"{self._directories['pids']}/cgroup.procs").split()]

    def remove(self) -> bool:
        """Whether it could be removed: not while a process is in it."""
        try:
            for directory in dict.fromkeys(self._directories.values()):
                os.rmdir(directory)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def _set_processors(self, processors: frozenset[int]) -> None:
        cpuset = self._directories.get("cpuset")
        if cpuset is None or processors == self._processors:
            return
        if processors:
            _write(f"{cpuset}/cpuset.cpus", ",".join(map(str, sorted(processors))))
        elif self._is_v2:
            _write(f"{cpuset}/cpuset.cpus", "\n")
        self._processors = processors

    def _copy_from_parent(self, name: str) -> None:
        directory = self._directories["cpuset"]
        with open(f"{os.path.dirname(directory)}/{name}", encoding="ascii") as file:
            _write(f"{directory}/{name}", file.read().strip())


def look(own: set[int]) -> CgroupFacts:
    """The control groups that this process is in. ``own``: the processes of the worker."""
    directories = own_groups(_text("/proc/self/mountinfo"), _text("/proc/self/cgroup"))
    writable = frozenset(
        path for path in directories.values() if os.access(path, os.W_OK) and os.access(f"{path}/cgroup.procs", os.W_OK)
    )
    unified = directories.get("")
    if unified is None:
        return CgroupFacts(directories, writable=writable)
    try:
        controllers = frozenset(_text(f"{unified}/cgroup.controllers").split())
        members = {int(word) for word in _text(f"{unified}/cgroup.procs").split()}
    except OSError:
        return CgroupFacts(directories, writable=writable - {unified})
    has_others = os.path.exists(f"{unified}/cgroup.type") and not members <= own
    return CgroupFacts(directories, controllers, writable, has_others)


def establish(facts: CgroupFacts, own: set[int]) -> LimitChoice:
    """The first choice that works when it is tried; version 2 moves ``own`` into a group of their own."""
    reasons: tuple[str, ...] = ()
    for choice in choices(facts):
        try:
            if choice.mechanism is LimitMechanism.CGROUP_V2:
                _delegate(choice.directories, own)
            if choice.mechanism is not LimitMechanism.WATCH:
                _remove_abandoned(choice)
                trial = ControlGroup(choice, f"{_PREFIX}{os.getpid()}-trial")
                try:
                    trial.begin(Limits(memory_bytes=1 << 30, processes=100), frozenset())
                finally:
                    trial.remove()
        except (OSError, ValueError) as error:
            reasons += (f"{choice.mechanism.value}: {error}",)
            continue
        return LimitChoice(choice.mechanism, choice.directories, (*choice.reasons, *reasons))
    raise AssertionError("the watch needs nothing")


class ControlGroups:
    """The groups of one spawner."""

    def __init__(self, choice: LimitChoice) -> None:
        self._choice = choice
        self._free: list[ControlGroup] = []
        self._left: list[ControlGroup] = []
        self._made = 0
        is_v2 = choice.mechanism is LimitMechanism.CGROUP_V2
        self._home = {name: f"{path}/{_LEAF}" if is_v2 else path for name, path in choice.directories.items()}

    def take(self, limits: Limits, processors: frozenset[int]) -> ControlGroup:
        """A group with these bounds, in which there is nobody.

        Raises:
            SandboxFailed: the kernel refuses.
        """
        try:
            if self._free:
                group = self._free.pop()
                with contextlib.suppress(OSError):
                    group.begin(limits, processors)
                    return group
                # Its cache cannot be squeezed below a smaller bound.
                self._left.append(group)
            self._made += 1
            group = ControlGroup(self._choice, f"{_PREFIX}{os.getpid()}-{self._made}")
            group.begin(limits, processors)
        except OSError as error:
            raise SandboxFailed(f"cannot set up a control group: {error}") from error
        return group

    def leave(self, processors: frozenset[int]) -> None:
        """Take this process back to where it belongs, from a group with these processors."""
        _enter(self._home, _FILES[self._choice.mechanism], processors)

    def put(self, group: ControlGroup) -> None:
        """Give a group back. One that somebody is still in is not used again, and removed when they are gone."""
        self._left = [each for each in self._left if not each.remove()]
        (self._left if group.processes() else self._free).append(group)

    def close(self) -> None:
        for group in (*self._free, *self._left):
            group.remove()
        self._free.clear()


def _delegate(directories: dict[str, str], own: set[int]) -> None:
    parent = directories[REQUIRED[0]]
    leaf = f"{parent}/{_LEAF}"
    with contextlib.suppress(FileExistsError):
        os.mkdir(leaf, 0o755)
    for pid in own:
        _write(f"{leaf}/cgroup.procs", str(pid))
    _write(f"{parent}/cgroup.subtree_control", " ".join(f"+{name}" for name in directories))


def _remove_abandoned(choice: LimitChoice) -> None:
    """Remove the groups of spawners that were killed."""
    for parent in dict.fromkeys(choice.directories.values()):
        for entry in list(os.scandir(parent)):
            pid = entry.name.removeprefix(_PREFIX).partition("-")[0]
            if entry.name.startswith(_PREFIX) and pid.isdecimal() and not os.path.exists(f"/proc/{pid}"):
                with contextlib.suppress(OSError):
                    os.rmdir(entry.path)


def _enter(directories: dict[str, str], files: _Files, processors: frozenset[int]) -> None:
    """Move this process, which has one thread. Under version 1 a thread moves without waiting for all of the machine,
    and the cpuset, the dearest of all, is left out for a command that may use every processor."""
    entered = {path: None for name, path in directories.items() if name != "cpuset" or processors}
    for directory in entered:
        _write(f"{directory}/{files.enter}", "0")


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _bytes(path: str) -> bytes:
    """A file of the kernel as it is now, in a third of the time that a file object takes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = [os.read(descriptor, _READ_BYTES)]
        while pieces[-1]:
            pieces.append(os.read(descriptor, _READ_BYTES))
    finally:
        os.close(descriptor)
    return b"".join(pieces)


def _field(path: str, name: bytes) -> int:
    for line in _bytes(path).splitlines():
        key, _, value = line.partition(b" ")
        if key == name:
            return int(value)
    return 0
