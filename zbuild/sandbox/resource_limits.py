"""The resource limits (getrlimit(2)) that commands inherit from their spawner: the same on every worker."""

from __future__ import annotations

import resource

from zbuild.limits import COMMAND_CORE_BYTES, COMMAND_OPEN_FILES, COMMAND_STACK_BYTES

_SOFT = {resource.RLIMIT_STACK: COMMAND_STACK_BYTES, resource.RLIMIT_NOFILE: COMMAND_OPEN_FILES}
"""A command may raise them up to what the worker's own hard limits are, as gcc does with its stack."""


def settle() -> None:
    """Set them for this process and what it starts. A hard limit below stays: only root could raise it."""
    for kind, wanted in _SOFT.items():
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (_within(wanted, hard), hard))
    core_bytes = _within(COMMAND_CORE_BYTES, resource.getrlimit(resource.RLIMIT_CORE)[1])
    resource.setrlimit(resource.RLIMIT_CORE, (core_bytes, core_bytes))


def _within(wanted: int, hard: int) -> int:
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
