"""How zbuild starts processes of its own: another of its modules, or a function of this very process."""

from __future__ import annotations

import itertools
import os
import resource
import select
import signal
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn, TextIO

import zbuild


def module_argv(module: str, *arguments: str) -> list[str]:
    """The argv that runs a module. -P: whoever owns the current directory has no say in what is imported."""
    return [sys.executable, "-P", "-m", module, *arguments]


def module_environment() -> dict[str, str]:
    """The environment in which ``module_argv`` finds this very zbuild, installed or checked out."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(zbuild.__file__)))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}


class ForkedProcess:
    """A child of this process that runs a function of it; ``wait`` and ``kill`` are those of ``subprocess.Popen``."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)
        self._exit_code: int | None = None

    def fileno(self) -> int:
        """Readable once the process has ended; not to be asked for after ``wait``."""
        return self._descriptor

    def wait(self, timeout_s: float | None = None) -> int:
        """The exit code; of a process that a signal has ended, the signal's number with a minus.

        Raises:
            subprocess.TimeoutExpired: it has not ended within ``timeout_s``.
        """
        if self._exit_code is None:
            if not select.select([self._descriptor], [], [], timeout_s)[0]:
                import subprocess

                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout_s or 0.0)
            self._exit_code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self._descriptor)
        return self._exit_code

    def kill(self) -> None:
        """SIGKILL, unless it was waited for."""
        if self._exit_code is None:
            os.kill(self.pid, signal.SIGKILL)


def fork(run: Callable[[], int], kept: Iterable[int]) -> ForkedProcess:
    """Run a function in a child, which ends with the exit code that it returns.

    The child has no input, and of this process's descriptors only stdout, stderr and ``kept``. This process must
    have one thread and must not have used gevent or ZeroMQ: neither survives a fork, though being imported does.
    """
    pid = os.fork()
    if pid == 0:
        _be_child(run, kept)
    return ForkedProcess(pid)


def _be_child(run: Callable[[], int], kept: Iterable[int]) -> NoReturn:
    """The exit is at once: what the interpreter would do before it, the parent does for itself."""
    code = 1
    try:
        _forget_signal_handlers()
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(null, 0)
        _close_all_but({0, 1, 2, *kept})
        # What the parent has in its buffers is for the parent to write.
        sys.stdout, sys.stderr = map(_stream, (1, 2))
        code = run()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _forget_signal_handlers() -> None:
    """As exec does: what was ignored stays so."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)


def _stream(descriptor: int) -> TextIO:
    return os.fdopen(descriptor, "w", buffering=1, errors="backslashreplace", closefd=False)


def _close_all_but(kept: set[int]) -> None:
    bounds = [-1, *sorted(kept), resource.getrlimit(resource.RLIMIT_NOFILE)[0]]
    for below, above in itertools.pairwise(bounds):
        # closerange(n, n) closes everything from n on where the kernel has close_range(2): -1 becomes UINT_MAX.
        if below + 1 < above:
            os.closerange(below + 1, above)
