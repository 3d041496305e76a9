"""From a sandbox's spec to the request that the spawner understands."""

from __future__ import annotations

from functools import cache

from zbuild.sandbox.bubblewrap import RELEASE_DESCRIPTOR, bubblewrap_argv, find_bubblewrap
from zbuild.sandbox.spawn_protocol import Spawn
from zbuild.sandbox.spec import SandboxLevel, SandboxSpec

_bubblewrap = cache(find_bubblewrap)


def to_spawn(spec: SandboxSpec, spawn_id: int, *, is_held: bool = False) -> Spawn:
    """The request for running ``spec``; ``spawn_id`` comes back in its Exited. ``is_held``: only after a Release.

    Raises:
        SandboxUnavailable: bubblewrap is needed and not installed.
    """
    match spec.level:
        case SandboxLevel.HERMETIC:
            block = ("--block-fd", str(RELEASE_DESCRIPTOR)) if is_held else ()
            argv = (_bubblewrap(), *block, *bubblewrap_argv(spec)[1:])
            environment: tuple[tuple[str, str], ...] = ()
            host_directory = "/"
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
    )
