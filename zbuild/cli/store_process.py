"""The store as a process of its own: started by the broker, ended with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

from zbuild.cli import instruments
from zbuild.cli.farm_files import BLOBS
from zbuild.errors import StoreFailed, ZbuildError
from zbuild.limits import DAEMON_START_S, ENDPOINT_BYTES
from zbuild.log import Log
from zbuild.module_process import fork


class StoreProcess:
    """A running store. ``endpoint`` is where it listens; ``lifeline`` becomes readable when it dies."""

    def __init__(self, endpoint: str, directory: str, capacity_bytes: int) -> None:
        """
        Raises:
            StoreFailed: it did not come up; its own error is on stderr.
        """
        ours, theirs = socket.socketpair()
        descriptor = theirs.fileno()
        self._process = fork(lambda: _serve(endpoint, directory, capacity_bytes, descriptor), kept=[descriptor])
        theirs.close()
        self.lifeline = ours
        ours.settimeout(DAEMON_START_S)
        line = b""
        try:
            while not line.endswith(b"\n"):
                piece = ours.recv(ENDPOINT_BYTES)
                if not piece:
                    raise StoreFailed(f"the store for {directory} ended with code {self._process.wait()}")
                line += piece
        except TimeoutError:
            self.close()
            raise StoreFailed(f"the store for {directory} did not start within {DAEMON_START_S:g} s") from None
        ours.setblocking(False)
        self.endpoint = line.decode().strip()

    def close(self) -> None:
        """Cut the lifeline and wait for the end."""
        self.lifeline.close()
        try:
            self._process.wait(DAEMON_START_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _serve(endpoint: str, directory: str, capacity_bytes: int, lifeline: int) -> int:
    """Be the store until the lifeline is cut; the exit code."""
    import prctl

    from zbuild.storage.blob_directory import BlobDirectory
    from zbuild.store.server import StoreServer

    prctl.set_name("zbuild-store")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    log = Log(sys.stderr.buffer, time.time)
    try:
        instruments.install("store", os.environ)
        with socket.socket(fileno=lifeline) as link:
            blobs = BlobDirectory(os.path.join(directory, BLOBS), is_durable=False)
            StoreServer(endpoint, blobs, capacity_bytes, link, log).run()
            blobs.close()
    except ZbuildError as error:
        print(f"zbuild-store: {error}", file=sys.stderr)
        return int(error.exit_code)
    return 0
