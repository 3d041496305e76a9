"""Processes that serve blobs, as a worker does and as the farm's store does, and a worker's fetching side for them.

Usage: python -m tests.integration.blob_serving peer|store DIRECTORY LISTEN DESCRIPTOR
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import cast

import gevent

from zbuild.digest import Digest
from zbuild.log import Log
from zbuild.module_process import module_argv, module_environment
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.store.server import StoreServer
from zbuild.transport.green import Wakeup
from zbuild.transport.loop import Socket, descriptor_of, drain, has_input, new_context
from zbuild.transport.sockets import blob_dealer
from zbuild.worker.blob_link import BlobLink
from zbuild.worker.peer_blobs import PeerBlobs
from zbuild.worker.platform import Platform
from zbuild.worker.processes import Processes
from zbuild.worker.surroundings import WorkerSurroundings

PATIENCE_S = 60.0


class ServingProcess:
    """A process that serves ``directory`` until it is closed or killed."""

    def __init__(self, kind: str, directory: Path, listen: str) -> None:
        self._lifeline, theirs = socket.socketpair()
        descriptor = theirs.fileno()
        argv = module_argv("tests.integration.blob_serving", kind, str(directory), listen, str(descriptor))
        self._process = subprocess.Popen(argv, env=module_environment(), pass_fds=(descriptor,))
        theirs.close()
        self._lifeline.settimeout(PATIENCE_S)
        with self._lifeline.makefile() as lines:
            self.endpoint = lines.readline().strip()

    def kill(self) -> None:
        """As by the kernel when memory is short."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self._lifeline.close()
        self._process.wait(PATIENCE_S)


class FetchingWorker:
    """What an agent does for fetches, and nothing else."""

    def __init__(self, directory: Path, store: str) -> None:
        self.blobs = BlobDirectory(directory, is_durable=False)
        self.counters: Counter[str] = Counter()
        self._wakeup = Wakeup()
        self._link = BlobLink(self.blobs, self._wakeup)
        self._peers = PeerBlobs(self.blobs, self._link.arrivals, self._wakeup)
        self._surroundings = WorkerSurroundings(self._link, cast(Processes, None), cast(Platform, None), self._peers)
        self._context = new_context()
        self._peers.open(self._context, (), self.counters)
        self._store: Socket = blob_dealer(self._context, store)
        self._wakeup.watch(descriptor_of(self._store))

    @property
    def store_bytes(self) -> int:
        """What came from the farm's store."""
        return self._link.transfer.fetched_bytes

    def fetch(self, digests: list[Digest], peer: str, meanwhile: Callable[[], None] = lambda: None) -> float:
        """Have blobs here; how many seconds it took. ``meanwhile`` is called in each turn.

        Raises what the farm's store answers.
        """
        began_s = time.monotonic()
        greenlet = gevent.spawn(self._surroundings.fetch, digests, peer)
        greenlet.link(lambda _greenlet: self._wakeup.set())
        gevent.sleep(0)
        while not greenlet.ready():
            now_s = time.monotonic()
            assert now_s < began_s + PATIENCE_S
            self._step(now_s)
            meanwhile()
            if self._peers.has_work() or has_input(self._store):
                gevent.sleep(0)
            else:
                self._wakeup.wait(self._peers.next_deadline_s() - now_s)
        greenlet.get()
        return time.monotonic() - began_s

    def close(self) -> None:
        self._peers.close()
        self._wakeup.close()
        self._store.close(0)
        self._context.term()

    def _step(self, now_s: float) -> None:
        for frames in drain(self._store):
            self._link.settle(self._link.transfer.receive(frames))
        for frames in self._link.transfer.outgoing(now_s):
            self._store.send_multipart(frames)
        self._peers.step(now_s)


def serve_as_peer(directory: str, listen: str, lifeline: socket.socket) -> None:
    """Be a worker that has nothing to run."""
    wakeup = Wakeup()
    blobs = BlobDirectory(directory, is_durable=False)
    peers = PeerBlobs(blobs, BlobLink(blobs, wakeup).arrivals, wakeup)
    context = new_context()
    peers.open(context, [listen], Counter())
    is_cut: list[bool] = []

    def cut() -> None:
        is_cut.append(True)
        wakeup.set()

    wakeup.watch(lifeline.fileno(), cut)
    lifeline.sendall(peers.endpoint.encode() + b"\n")
    while not is_cut:
        now_s = time.monotonic()
        peers.step(now_s)
        if peers.has_work():
            gevent.sleep(0)
        else:
            wakeup.wait(peers.next_deadline_s() - now_s)
    peers.close()
    wakeup.close()
    context.term()


def main(kind: str, directory: str, listen: str, descriptor: int) -> None:
    """Serve until the other end of ``descriptor`` is closed."""
    lifeline = socket.socket(fileno=descriptor)
    if kind == "peer":
        serve_as_peer(directory, listen, lifeline)
    else:
        blobs = BlobDirectory(directory, is_durable=False)
        StoreServer(listen, blobs, 1 << 40, lifeline, Log(sys.stderr.buffer, time.time)).run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
