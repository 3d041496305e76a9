"""From a sandbox's spec to the request that the spawner understands."""

from __future__ import annotations

import shutil
from functools import cache

from zbuild.errors import SandboxUnavailable
from zbuild.sandbox.bubblewrap import PROGRAM_PATH, bubblewrap_argv, find_bubblewrap
from zbuild.sandbox.spawn_protocol import Limits, Spawn
from zbuild.sandbox.spec import BASE_ENVIRONMENT, SandboxLevel, SandboxSpec

_bubblewrap = cache(find_bubblewrap)


def to_spawn(spec: SandboxSpec, spawn_id: int, *, is_held: bool = False) -> Spawn:
    """The request for running ``spec``; ``spawn_id`` comes back in its Exited. ``is_held``: only after a Release.

    Raises:
        SandboxUnavailable: bubblewrap is needed and not installed.
    """
    match spec.level:
        case SandboxLevel.HERMETIC:
            argv = (_bubblewrap(), *bubblewrap_argv(spec)[1:])
            environment: tuple[tuple[str, str], ...] = ()
            host_directory = "/"
        case SandboxLevel.PROCESS:
            argv = (*_confinement(spec.standing.disk_bytes), *spec.arguments)
            private = dict.fromkeys(("HOME", "TMPDIR"), spec.private_directory)
            environment = tuple((BASE_ENVIRONMENT | private | dict(spec.environment)).items())
            host_directory = spec.stage_root + spec.working_directory
        case SandboxLevel.NONE:
            argv = spec.arguments
            environment = tuple(spec.full_environment().items())
            host_directory = spec.stage_root + spec.working_directory
    return Spawn(
        id=spawn_id,
        argv=argv,
        environment=environment,
        working_directory=host_directory,
        stdout_path=spec.stdout_path,
        stderr_path=spec.stderr_path,
        timeout_s=spec.capabilities.timeout_s,
        is_sandboxed=spec.level is SandboxLevel.HERMETIC,
        is_held=is_held,
        limits=Limits(
            memory_bytes=spec.memory_bytes,
            processes=spec.standing.processes,
            disk_bytes=spec.standing.disk_bytes,
            disk_path=spec.stage_root + spec.writable_root,
            private_bytes=spec.private_bytes,
            processors=spec.capabilities.max_cpu,
        ),
    )


def find_confinement() -> tuple[str, str]:
    """The paths of ``setpriv`` and ``prlimit``, which level PROCESS needs.

    Raises:
        SandboxUnavailable: one is not installed.
    """
    paths = [shutil.which(name, path=PROGRAM_PATH) for name in ("setpriv", "prlimit")]
    if paths[0] is None or paths[1] is None:
        text = "level process needs setpriv and prlimit; install them with: apt-get install util-linux"
        raise SandboxUnavailable(text)
    return paths[0], paths[1]


def _confinement(file_bytes: int) -> list[str]:
    """What runs a command without new privileges, and ends it when one file grows too large."""
    setpriv, prlimit = find_confinement()
    bound = [prlimit, f"--fsize={file_bytes}:{file_bytes}", "--"] if file_bytes else []
    return [setpriv, "--no-new-privs", "--", *bound]
