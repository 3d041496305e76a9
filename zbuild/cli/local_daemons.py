"""Daemons that a client command starts for itself, and that end with it."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile

from zbuild.cli.farm_files import BLOBS, CONTROL_SOCKET, WORKER_LOCK
from zbuild.errors import ExitCode, FarmUnreachable, SandboxUnavailable
from zbuild.limits import DAEMON_LOG_BYTES, DAEMON_START_S, LAST_WORDS_BYTES, SOCKET_DIR_BYTES
from zbuild.module_process import module_argv, module_environment

_LAST_WORDS = re.compile(r"^zbuild-(?:broker|worker|store): ((?:(?!^time=|^zbuild-).+\n?)+)", re.MULTILINE)
"""Lines of the log proper begin with ``time=``, and the next daemon may have said the same."""


class LocalDaemons:
    """A broker and workers on this machine, or workers alone. They start in the background, all in local_farm.py.

    That holds the other end of a socket pair, the lifeline: they end when this process closes it or dies.

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
        self._lifeline, self._farm_end = socket.socketpair()
        self._commands: list[list[str]] = []
        self._locks: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_dir: str | None = None

    def add_broker(self) -> str:
        """A broker on Unix sockets that nobody else can reach; its endpoint, which can be used after ``start``."""
        is_short = len(os.fsencode(tempfile.gettempdir())) <= SOCKET_DIR_BYTES
        self._socket_dir = tempfile.mkdtemp(prefix="zbuild-", dir=None if is_short else "/tmp")
        cache_flags = self._cache_flags(os.path.join(self._cache_dir, "farm"))
        self._commands.append(["broker", "", "--socket-dir", self._socket_dir, *cache_flags])
        return f"ipc://{self._socket_dir}/{CONTROL_SOCKET}"

    @property
    def blob_directory(self) -> str:
        """Where the store of ``add_broker`` keeps its blobs."""
        return os.path.join(self._cache_dir, "farm", BLOBS)

    def add_worker(
        self, broker: str, name: str, slots: int, sandbox: str, ceiling_flags: list[str], blob_directory: str = ""
    ) -> None:
        """A worker in the first directory that no other worker uses.

        Args:
            ceiling_flags: what it grants, beyond what every worker does.
            blob_directory: the store's, for a worker that keeps no blobs of its own.
        """
        directory, lock = _claim_directory(os.path.join(self._cache_dir, "worker"))
        self._locks.append(lock)
        flags = ["--coordinator", broker, "--parallelism", str(slots), "--sandbox", sandbox]
        flags += ["--name", name, "--lock", str(lock), *self._cache_flags(directory), *ceiling_flags]
        if blob_directory:
            flags += ["--blob-directory", blob_directory]
        self._commands.append(["worker", str(lock), *flags])

    def start(self) -> None:
        """Start what was added."""
        end = self._farm_end.fileno()
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                module_argv("zbuild.cli.local_farm", str(end), json.dumps(self._commands)),
                env=module_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[end, *self._locks],
                process_group=0,
            )
        self._release_locks()

    def check(self) -> None:
        """See that all daemons run.

        Raises:
            SandboxUnavailable: a worker has ended for want of a sandbox.
            FarmUnreachable: a daemon has ended for another reason.
        """
        code = self._process.poll() if self._process is not None else None
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
        self._farm_end.close()
        self._lifeline.close()

    def close(self) -> None:
        """End all daemons, wait for them, and remove the sockets. Closing twice is harmless."""
        self.cut_lifeline()
        self._release_locks()
        if self._process is not None:
            if not _has_ended(self._process, 2 * DAEMON_START_S):
                self._process.kill()
            self._process.wait()
        if self._socket_dir is not None:
            shutil.rmtree(self._socket_dir, ignore_errors=True)

    def _cache_flags(self, directory: str) -> list[str]:
        return ["--cache-dir", directory, "--cache-bytes", str(self._cache_bytes)]

    def _release_locks(self) -> None:
        """The workers hold the locks by now, or will never be."""
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()


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
        lock = os.open(os.path.join(directory, WORKER_LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return directory, lock
    raise AssertionError("unreachable: the numbers do not end")
