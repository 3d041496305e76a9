"""The daemons of a local farm, forked from one process: ``python -m zbuild.cli.local_farm LIFELINE DAEMONS``.

Each of them alone would spend five times as long on importing its modules as on all the rest of its start. Here
they are imported once, before any of them is used. A broker and two workers with their spawners take 0.2 s of
processor time for that, and took 0.75 s.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence

import prctl

from zbuild.absent_modules import forgo_typing_extensions
from zbuild.limits import DAEMON_START_S
from zbuild.module_process import ForkedProcess, fork

_IMPORTED_LATER = (
    "zbuild.cli.worker_assembly",
    "zbuild.coordinator.broker",
    "zbuild.sandbox.spawn_loop",
    "zbuild.storage.action_cache",
    "zbuild.store.server",
)


def main(arguments: Sequence[str]) -> int:
    """Run daemons until the lifeline is cut or one of them ends; the exit code of that one.

    Args:
        arguments: the descriptor of the lifeline, and the daemons' command lines as a JSON array of arrays: a
            name of ``_programs``, the descriptors that are the daemon's own, separated by commas, and its arguments.
    """
    import msgspec

    lifeline = int(arguments[0])
    commands = msgspec.json.decode(arguments[1], type=list[list[str]])
    programs = _programs()
    ours, theirs = socket.socketpair()
    daemons = [_start(programs[name], name, own, flags, theirs.fileno()) for name, own, *flags in commands]
    theirs.close()
    code = _wait(daemons, lifeline)
    ours.close()
    for daemon in daemons:
        try:
            daemon.wait(DAEMON_START_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
    return code


def _programs() -> dict[str, Callable[[list[str]], int]]:
    """The daemons' entry points, with all that they import later. None of it makes a thread, a context or a hub."""
    for module in _IMPORTED_LATER:
        importlib.import_module(module)
    from zbuild.cli import broker, worker

    return {"broker": broker.main, "worker": worker.main}


def _start(program: Callable[[list[str]], int], name: str, own: str, flags: list[str], lifeline: int) -> ForkedProcess:
    def run() -> int:
        prctl.set_name(f"zbuild-{name}")
        return program([*flags, "--lifeline", str(lifeline)])

    return fork(run, [lifeline, *map(int, filter(None, own.split(",")))])


def _wait(daemons: list[ForkedProcess], lifeline: int) -> int:
    """Until the lifeline is readable, then 0; or until a daemon ends, then its exit code, 128 and more for a signal."""
    waiting = select.poll()
    waiting.register(lifeline, select.POLLIN)
    by_descriptor = {daemon.fileno(): daemon for daemon in daemons}
    for descriptor in by_descriptor:
        waiting.register(descriptor, select.POLLIN)
    for descriptor, _ in waiting.poll():
        if descriptor in by_descriptor:
            code = by_descriptor[descriptor].wait()
            return (code if code > 0 else 128 - code) or 1
    return 0


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    forgo_typing_extensions()
    os._exit(main(sys.argv[1:]))
