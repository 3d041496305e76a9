"""By what this machine can bound the memory and the processes of a command: the decision, without I/O.

Strongest first: control groups of version 2, where the worker's own group was delegated to it; control groups of
version 1, where the worker may make groups; a watch over the process tree, which works everywhere and acts late.
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field

REQUIRED = ("memory", "pids")
"""The controllers without which a control group is of no use here."""

OPTIONAL = ("cpuset",)
"""Without it processors are bound by affinity, which a command can undo."""


class LimitMechanism(enum.Enum):
    """What bounds a command. The values are shown to people."""

    CGROUP_V2 = "cgroup v2"
    CGROUP_V1 = "cgroup v1"
    WATCH = "process watch"


@dataclass(frozen=True, slots=True)
class CgroupFacts:
    """The control groups that a process is in.

    Attributes:
        directories: version 1: controller -> directory of the process's own group. Version 2: under "".
        controllers: those that the process's own group of version 2 has to give.
        writable: those of ``directories`` in which groups can be made and processes moved.
        has_others: processes that are not the worker's own are in its group of version 2, which is no root.
    """

    directories: dict[str, str] = field(default_factory=dict)
    controllers: frozenset[str] = frozenset()
    writable: frozenset[str] = frozenset()
    has_others: bool = False


@dataclass(frozen=True, slots=True)
class LimitChoice:
    """A mechanism with the directories that it works in.

    Attributes:
        directories: controller -> the directory in which groups are made; all the same for version 2.
        reasons: why no stronger mechanism is in force.
    """

    mechanism: LimitMechanism
    directories: dict[str, str] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()


def own_groups(mountinfo: str, membership: str) -> dict[str, str]:
    """The directory of a process's own group by controller, "" for version 2.

    Args:
        mountinfo: /proc/PID/mountinfo (proc(5)).
        membership: /proc/PID/cgroup (cgroups(7)).
    """
    paths: dict[str, str] = {}
    for line in membership.splitlines():
        number, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path) if number != "0" else {"": path})
    found: dict[str, str] = {}
    for line in mountinfo.splitlines():
        mount, _, rest = line.partition(" - ")
        kind, _, options = (rest.split() + ["", "", ""])[:3]
        root, point = mount.split()[3:5]
        if kind == "cgroup2" and "" in paths:
            found[""] = _below(point, root, paths[""])
        elif kind == "cgroup":
            found.update({name: _below(point, root, paths[name]) for name in options.split(",") if name in paths})
    return found


def choices(facts: CgroupFacts) -> list[LimitChoice]:
    """What to try, strongest first. The last, the watch, needs nothing."""
    found: list[LimitChoice] = []
    reasons: list[str] = []
    reason = _objection_to_v2(facts)
    if reason:
        reasons.append(reason)
    else:
        names = (*REQUIRED, *(name for name in OPTIONAL if name in facts.controllers))
        found.append(LimitChoice(LimitMechanism.CGROUP_V2, dict.fromkeys(names, facts.directories[""])))
    reason = _objection_to_v1(facts)
    if reason:
        reasons.append(reason)
    else:
        names = (*REQUIRED, *(name for name in OPTIONAL if facts.directories.get(name) in facts.writable))
        directories = {name: facts.directories[name] for name in names}
        found.append(LimitChoice(LimitMechanism.CGROUP_V1, directories, tuple(reasons)))
    found.append(LimitChoice(LimitMechanism.WATCH, {}, tuple(reasons)))
    return found


def _objection_to_v2(facts: CgroupFacts) -> str:
    own = facts.directories.get("")
    if own is None:
        return "cgroup v2 is not mounted"
    missing = [name for name in REQUIRED if name not in facts.controllers]
    if missing:
        return f"cgroup v2: {own} does not have the controllers {', '.join(missing)}"
    if own not in facts.writable:
        return f"cgroup v2: {own} is not delegated to this user; start the worker in a unit with Delegate=yes"
    if facts.has_others:
        return f"cgroup v2: other processes are in {own}; give the worker a unit of its own with Delegate=yes"
    return ""


def _objection_to_v1(facts: CgroupFacts) -> str:
    missing = [name for name in REQUIRED if name not in facts.directories]
    if missing:
        return f"cgroup v1: no {' and no '.join(missing)} controller is mounted"
    closed = [facts.directories[name] for name in REQUIRED if facts.directories[name] not in facts.writable]
    return f"cgroup v1: {' and '.join(closed)} cannot be written by this user" if closed else ""


def _below(point: str, root: str, path: str) -> str:
    """Where the group ``path`` is in a mount of the subtree ``root``. One outside is seen as the mount's own."""
    relative = os.path.relpath(path, root)
    return point if relative.startswith("..") else os.path.normpath(os.path.join(point, relative))
