"""The store's shell: one thread, one ROUTER, one native poller."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import time
from collections import Counter

from zbuild.errors import ProtocolError, StoreFailed
from zbuild.limits import COUNTERS_INTERVAL_S, EVICTION_IDLE_S, PIN_S, UPLOAD_IDLE_S
from zbuild.log import Log
from zbuild.protocol.blob_messages import decode_to_store, encode_header
from zbuild.protocol.counters import encode_counters
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.eviction import Evictor
from zbuild.storage.idle_eviction import IdleEviction
from zbuild.store.core import StoreCore
from zbuild.transport.loop import Poller, new_context
from zbuild.transport.router import Router
from zbuild.transport.sockets import blob_router, bound_endpoint


class StoreServer:
    """Serves one BlobDirectory at one endpoint until its parent closes ``lifeline``.

    Args:
        lifeline: a stream socket to the broker. The store writes its bound endpoint and a newline
            to it once it listens, later lines of counters, and ends when the other side closes it.
    """

    def __init__(
        self, endpoint: str, blobs: BlobDirectory, capacity_bytes: int, lifeline: socket.socket, log: Log
    ) -> None:
        self._context = new_context()
        self._router = Router(blob_router(self._context, endpoint))
        self._core = StoreCore(blobs)
        self._eviction = IdleEviction(
            Evictor(blobs, capacity_bytes, lambda digest: blobs.was_used_within(digest, PIN_S))
        )
        self._lifeline = lifeline
        self._log = log
        self._told: Counter[str] = Counter()
        self._next_told_s = 0.0
        self._next_sweep_s = 0.0

    def run(self) -> None:
        poller = Poller()
        self._router.register(poller)
        poller.register(self._lifeline.fileno())
        self._lifeline.sendall(bound_endpoint(self._router.socket).encode() + b"\n")
        while True:
            events = poller.wait(0 if self._eviction.is_under_way else EVICTION_IDLE_S)
            if self._lifeline.fileno() in events:
                break
            if events:
                self._serve()
            if self._eviction.is_under_way or not events:
                self._evict()
            now_s = time.monotonic()
            self._tell_counters(now_s)
            if now_s >= self._next_sweep_s:
                self._core.sweep()
                self._next_sweep_s = now_s + UPLOAD_IDLE_S
        self._router.close()
        self._context.term()

    def _tell_counters(self, now_s: float) -> None:
        counters = self._core.counters + self._router.counters
        if now_s < self._next_told_s or counters == self._told:
            return
        self._next_told_s = now_s + COUNTERS_INTERVAL_S
        self._told = counters
        # A broker that has gone is noticed by the poller.
        with contextlib.suppress(OSError):
            self._lifeline.sendall(encode_counters(counters))

    def _evict(self) -> None:
        try:
            totals = self._eviction.step()
        except StoreFailed as error:
            self._log.warning("eviction_failed", error=str(error))
            return
        if totals is not None:
            self._log.info("evicted", **dataclasses.asdict(totals))

    def _serve(self) -> None:
        messages, gone = self._router.receive()
        for peer, frames in messages:
            try:
                request, data = decode_to_store(frames)
                reply, reply_data = self._core.answer(peer, request, data)
            except ProtocolError as error:
                self._log.warning("bad_blob_message", peer=peer.hex(), error=str(error))
                continue
            self._router.send(peer, [encode_header(reply), *reply_data])
        for peer in gone:
            self._core.disconnected(peer)
