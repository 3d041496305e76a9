"""Puts commands under their bounds: a control group where there are any, and a set of processors."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator

from zbuild.errors import SandboxFailed
from zbuild.sandbox.command_watch import CommandWatch
from zbuild.sandbox.control_group import ControlGroup, ControlGroups
from zbuild.sandbox.limit_mechanism import LimitChoice, LimitMechanism
from zbuild.sandbox.spawn_protocol import Limits


class Bounds:
    """What one command is under.

    Attributes:
        processors: those that it may use; empty for all.
    """

    def __init__(self, limits: Limits, group: ControlGroup | None, processors: frozenset[int]) -> None:
        self.group = group
        self.processors = processors
        self.watch = CommandWatch(limits, group)


class Confinement:
    """All commands of one spawner. Without a choice nothing but the watch is in force."""

    def __init__(self) -> None:
        self._groups: ControlGroups | None = None
        self._has_cpuset = False
        self._available = frozenset(os.sched_getaffinity(0))
        self._users = Counter[int]()

    def choose(self, choice: LimitChoice) -> None:
        """Use this from now on."""
        if choice.mechanism is not LimitMechanism.WATCH:
            self._groups = ControlGroups(choice)
            self._has_cpuset = "cpuset" in choice.directories

    def begin(self, limits: Limits) -> Bounds:
        """Bounds for a command that is about to be started; ``end`` must follow.

        Raises:
            SandboxFailed: the kernel refuses one.
        """
        processors = least_used(self._available, limits.processors, self._users)
        group = self._groups.take(limits, processors) if self._groups is not None else None
        self._users.update(processors)
        return Bounds(limits, group, processors)

    @contextlib.contextmanager
    def inside(self, bounds: Bounds) -> Iterator[None]:
        """What is started meanwhile is under the bounds from its first instruction.

        Raises:
            SandboxFailed: the kernel refuses to move this process.
        """
        is_pinned = bool(bounds.processors) and not self._has_cpuset
        try:
            if bounds.group is not None:
                bounds.group.enter()
            if is_pinned:
                os.sched_setaffinity(0, bounds.processors)
        except OSError as error:
            self._come_home(bounds, is_pinned)
            raise SandboxFailed(f"cannot put the command under its limits: {error}") from error
        try:
            yield
        finally:
            self._come_home(bounds, is_pinned)

    def end(self, bounds: Bounds) -> None:
        """The command and all its processes are gone."""
        bounds.watch.close()
        self._users.subtract(bounds.processors)
        if bounds.group is not None and self._groups is not None:
            self._groups.put(bounds.group)

    def close(self) -> None:
        """Remove the groups."""
        if self._groups is not None:
            self._groups.close()

    def _come_home(self, bounds: Bounds, is_pinned: bool) -> None:
        if self._groups is not None:
            self._groups.leave(bounds.processors)
        if is_pinned:
            os.sched_setaffinity(0, self._available)


def least_used(available: Iterable[int], count: int, users: Counter[int]) -> frozenset[int]:
    """``count`` processors with the fewest commands bound to them; none, which stands for all, when all are meant."""
    ranked = sorted(available, key=lambda number: (users[number], number))
    return frozenset(ranked[:count]) if 0 < count < len(ranked) else frozenset()
