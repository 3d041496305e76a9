"""Daemons that a client command starts for itself, and that end with it."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile

from zbuild.cli.broker import CONTROL_SOCKET
from zbuild.cli.capability_flags import ceiling_flags
from zbuild.cli.store_process import BLOBS
from zbuild.cli.worker import LOCK_NAME
from zbuild.errors import ExitCode, FarmUnreachable, SandboxUnavailable
from zbuild.limits import DAEMON_LOG_BYTES, DAEMON_START_S, LAST_WORDS_BYTES, SOCKET_DIR_BYTES
from zbuild.model.capabilities import Capabilities
from zbuild.module_process import module_argv, module_environment

_LAST_WORDS = re.compile(r"^zbuild-(?:broker|worker|store): ((?:(?!^time=|^zbuild-).+\n?)+)", re.MULTILINE)
"""Lines of the log proper begin with ``time=``, and the next daemon may have said the same."""


class LocalDaemons:
    """Brokers and workers on this machine. They start in the background.

    All hold the other end of one socket pair, the lifeline: they end when this process closes it or dies.

    Args:
        cache_dir: shared by all farms that the user starts this way; what is cached outlives them.
        cache_bytes: size of a blob directory at which its eviction begins.
        log_path: where the daemons' logs go.
    """

    def __init__(self, cache_dir: str, cache_bytes: int, log_path: str) -> None:
        self.log_path = log_path
        if os.path.exists(log_path) and os.path.getsize(log_path) > DAEMON_LOG_BYTES:
            os.replace(log_path, log_path + ".old")
        self._cache_dir = cache_dir
        self._cache_bytes = cache_bytes
        self._lifeline, self._daemon_end = socket.socketpair()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._socket_dir: str | None = None

    def start_broker(self) -> str:
        """Start a broker on Unix sockets that nobody else can reach; its endpoint, which can be used at once."""
        is_short = len(os.fsencode(tempfile.gettempdir())) <= SOCKET_DIR_BYTES
        self._socket_dir = tempfile.mkdtemp(prefix="zbuild-", dir=None if is_short else "/tmp")
        self._start(
            "zbuild.cli.broker",
            "--socket-dir",
            self._socket_dir,
            *self._cache_flags(os.path.join(self._cache_dir, "farm")),
        )
        return f"ipc://{self._socket_dir}/{CONTROL_SOCKET}"

    @property
    def blob_directory(self) -> str:
        """Where the store of ``start_broker`` keeps its blobs."""
        return os.path.join(self._cache_dir, "farm", BLOBS)

    def start_worker(
        self, broker: str, name: str, slots: int, sandbox: str, blob_directory: str, ceiling: Capabilities
    ) -> None:
        """Start a worker in the first directory that no other worker uses.

        Args:
            blob_directory: the store's, for a worker that keeps no blobs of its own; else "".
            ceiling: what it grants, beyond what every worker does.
        """
        directory, lock = _claim_directory(os.path.join(self._cache_dir, "worker"))
        arguments = ["--coordinator", broker, "--parallelism", str(slots), "--sandbox", sandbox]
        arguments += ["--name", name, "--lock", str(lock), *self._cache_flags(directory), *ceiling_flags(ceiling)]
        if blob_directory:
            arguments += ["--blob-directory", blob_directory]
        try:
            self._start("zbuild.cli.worker", *arguments, inherited=(lock,))
        finally:
            os.close(lock)

    def check(self) -> None:
        """See that all daemons run.

        Raises:
            SandboxUnavailable: a worker has ended for want of a sandbox.
            FarmUnreachable: a daemon has ended for another reason.
        """
        for process in self._processes:
            code = process.poll()
            if code is not None:
                kind = SandboxUnavailable if code == ExitCode.LOCAL_ENVIRONMENT else FarmUnreachable
                raise kind(f"a daemon of the local farm ended with code {code}: {self._last_words()}")

    def _last_words(self) -> str:
        """What a daemon said when it gave up: all that follows ``zbuild-worker: `` at the start of a line."""
        with open(self.log_path, "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - LAST_WORDS_BYTES))
            text = log.read().decode(errors="replace")
        said = list(_LAST_WORDS.finditer(text))
        return said[-1][1].strip() if said else f"see {self.log_path}"

    def cut_lifeline(self) -> None:
        """Tell all daemons to end; ``close`` then waits for them."""
        self._daemon_end.close()
        self._lifeline.close()

    def close(self) -> None:
        """End all daemons, wait for them, and remove the sockets. Closing twice is harmless."""
        self.cut_lifeline()
        for process in self._processes:
            if not _has_ended(process, DAEMON_START_S):
                process.kill()
            process.wait()
        self._processes.clear()
        if self._socket_dir is not None:
            shutil.rmtree(self._socket_dir, ignore_errors=True)

    def _cache_flags(self, directory: str) -> list[str]:
        return ["--cache-dir", directory, "--cache-bytes", str(self._cache_bytes)]

    def _start(self, module: str, *arguments: str, inherited: tuple[int, ...] = ()) -> None:
        end = self._daemon_end.fileno()
        with open(self.log_path, "ab") as log:
            process = subprocess.Popen(
                module_argv(module, *arguments, "--lifeline", str(end)),
                env=module_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[end, *inherited],
                process_group=0,
            )
        self._processes.append(process)


def _has_ended(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Wait on the process's descriptor: Popen.wait with a time-out sleeps up to 50 ms too long."""
    if process.poll() is not None:
        return True
    with contextlib.closing(os.fdopen(os.pidfd_open(process.pid), "rb", buffering=0)) as descriptor:
        return bool(select.select([descriptor], [], [], timeout_s)[0])


def _claim_directory(base: str) -> tuple[str, int]:
    """The first of ``base-1``, ``base-2``, ... that no other farm uses, and the descriptor that holds its lock."""
    for number in itertools.count(1):
        directory = f"{base}-{number}"
        os.makedirs(directory, 0o700, exist_ok=True)
        lock = os.open(os.path.join(directory, LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return directory, lock
    raise AssertionError("unreachable: the numbers do not end")
