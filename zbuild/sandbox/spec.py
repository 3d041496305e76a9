"""What a sandbox is asked for: the walls, the tree inside, the command."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from zbuild.limits import PRIVATE_SHARE
from zbuild.model.capabilities import Capabilities
from zbuild.model.source_date import SOURCE_DATE_S

RESERVED_PATHS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/proc", "/dev", "/sys")
"""Directories that a sandbox fills from the worker or the kernel; no input of an action may lie there."""

SHARED_PATHS = ("/tmp",)
"""Directories that are made for each sandbox and in which inputs may lie nevertheless."""

HOME_PATH = "/home/zbuild"
"""The home directory. It exists only for actions that may write there."""

BASE_ENVIRONMENT = {
    "HOME": HOME_PATH,
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SOURCE_DATE_EPOCH": str(SOURCE_DATE_S),
    "TMPDIR": "/tmp",
    "TZ": "UTC",
}
"""What every command finds, and nothing of the worker's own; an action's own variables win."""


class SandboxLevel(enum.Enum):
    """How much separates an action from its worker. A level is granted or refused, never weakened."""

    HERMETIC = "hermetic"
    """Own user, mount, PID, network, IPC, UTS and cgroup namespaces; only inputs and the toolchain are visible."""
    PROCESS = "process"
    """A plain process in the stage that cannot gain privileges, with a home and a TMPDIR of its own. It sees all of
    the worker's files, and has its network. Canonical absolute paths do not exist for it."""
    NONE = "none"
    """A plain process in the stage, as the worker's own user. Canonical absolute paths do not exist for it."""


@dataclass(frozen=True, slots=True)
class SystemPath:
    """One part of the worker's own system that is visible inside, read-only.

    Attributes:
        path: where it appears.
        source: the file or directory on the worker; empty for a symlink.
        link_target: what the symlink at ``path`` contains; empty for a mount.
    """

    path: str
    source: str = ""
    link_target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingLimits:
    """What a worker holds every action to, whatever that asks for. 0 sets no bound.

    Attributes:
        processes: processes and threads at once.
        disk_bytes: files that it may have in its writable directory.
        memory_bytes: for actions that have no bound of their own.
    """

    processes: int = 0
    disk_bytes: int = 0
    memory_bytes: int = 0


UNBOUNDED = StandingLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """One command and its walls.

    Attributes:
        stage_root: the directory on the worker that stands for ``/``: a canonical path P lies at ``stage_root + P``.
        read_only_paths: canonical; mounted read-only with everything below.
        writable_root: canonical; mounted writable, over a read-only path where it lies in one.
        working_directory: canonical.
        arguments: argv. environment: (name, value), on top of BASE_ENVIRONMENT.
        stdout_path, stderr_path: where output goes that is too large for a message. No stderr_path: stderr is
            joined with stdout in the order of writing.
        capabilities: what it may do, with the worker's bounds where the action asks for none.
        system: from SystemTree.paths().
        standing: the worker's own limits.
        private_directory: on the worker; the home and the TMPDIR at level PROCESS.
    """

    level: SandboxLevel
    stage_root: str
    read_only_paths: tuple[str, ...]
    writable_root: str
    working_directory: str
    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    stdout_path: str
    stderr_path: str | None
    capabilities: Capabilities
    system: tuple[SystemPath, ...]
    standing: StandingLimits = UNBOUNDED
    private_directory: str = ""

    @property
    def memory_bytes(self) -> int:
        """Bound of the memory of all processes together, 0 for none."""
        return self.capabilities.max_memory_bytes or self.standing.memory_bytes

    @property
    def private_bytes(self) -> int:
        """Size of each file system that lies in memory; 0 leaves it to the kernel."""
        bounds = (self.standing.disk_bytes, int(self.memory_bytes * PRIVATE_SHARE))
        return min((each for each in bounds if each), default=0)

    def full_environment(self) -> dict[str, str]:
        return BASE_ENVIRONMENT | dict(self.environment)
