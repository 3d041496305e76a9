"""Blobs between workers, both ways: fetched from the peers that have them, and served to those that ask."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial

from zbuild.digest import Digest
from zbuild.errors import BlobCorrupt, BlobMissing, FarmUnreachable, ProtocolError, ZbuildError
from zbuild.limits import (
    PEER_BLOB_BACK_OFF_S,
    PEER_BLOB_IDLE_S,
    PEER_BLOB_LINKS,
    PEER_BLOB_MESSAGES,
    PEER_BLOB_TIMEOUT_S,
    PEERS_BACKING_OFF,
)
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.transfer import Fetched, FetchFailed, Transfer, TransferEvent
from zbuild.transport.green import Wakeup
from zbuild.transport.loop import Context, Socket, descriptor_of, drain, has_input, try_send
from zbuild.transport.sockets import first_free, peer_blob_dealer, peer_blob_router
from zbuild.worker.arrivals import Arrivals
from zbuild.worker.peer_blob_server import PeerBlobServer


class PeerBlobs:
    """What an action's inputs need not be asked of the farm's store for.

    Greenlets call ``fetch``, which leaves orders and waits. Everything else is for the agent's greenlet, which owns
    the sockets: ``open``, then ``step`` in each of its turns, and ``close``.

    Args:
        blobs: the worker's own.
        arrivals: shared with the link to the farm's store: no blob is fetched twice at once.

    Attributes:
        endpoint: where peers can fetch from this worker; "" for nowhere.
    """

    def __init__(self, blobs: BlobDirectory, arrivals: Arrivals, wakeup: Wakeup) -> None:
        self.endpoint = ""
        self._blobs = blobs
        self._arrivals = arrivals
        self._wakeup = wakeup
        self._context: Context | None = None
        self._server: PeerBlobServer | None = None
        self._counters: Counter[str] = Counter()
        self._orders: list[tuple[str, Digest]] = []
        self._links: dict[str, _Link] = {}
        self._shunned_until_s: dict[str, float] = {}

    @property
    def open_links(self) -> int:
        """Peers that it has a socket to."""
        return len(self._links)

    def fetch(self, endpoint: str, digests: Iterable[Digest]) -> list[Digest]:
        """Wait until each blob is here or known not to be had from the peer at ``endpoint``; those that are not here.

        A peer that lacks a blob, sends other bytes, breaks the protocol or does not answer is no error.
        """
        wanted = dict.fromkeys(digests)
        if self._context is None:
            return list(wanted)

        def order(digest: Digest) -> None:
            self._orders.append((endpoint, digest))

        outcomes = {digest: self._arrivals.join(digest, order) for digest in wanted}
        self._wakeup.set()
        absent: list[Digest] = []
        for digest, outcome in outcomes.items():
            try:
                is_here = outcome.get()
            except ZbuildError:
                # It was on its way from the farm's store, which is asked again and may then tell its error.
                is_here = False
            if not is_here:
                absent.append(digest)
        return absent

    def open(self, context: Context, listen: Sequence[str], counters: Counter[str]) -> None:
        """Begin to take orders, and to serve at the first endpoint of ``listen`` that is free.

        Args:
            listen: none: nothing is served.
            counters: of the worker; see PeerBlobServer for what is served. Of what is fetched: ``peer_blobs`` and
                ``peer_blob_bytes`` that came, ``peer_blobs_missing`` that a peer lacked, ``peer_blobs_corrupt`` with
                other bytes, ``peer_blobs_failed`` for other reasons, ``peer_blobs_not_asked`` because the peer had
                just failed or too many links were in use; ``peer_blob_timeouts`` and ``peer_blob_errors``, peers
                that did not answer or broke the protocol.

        Raises:
            FarmUnreachable: none of them is free.
        """
        self._counters = counters
        if listen:
            self._server = PeerBlobServer(first_free(partial(peer_blob_router, context), listen), self._blobs, counters)
            self.endpoint = self._server.endpoint
            self._wakeup.watch(self._server.fileno())
        self._context = context

    def step(self, now_s: float) -> None:
        """Serve a little, and move all transfers on as far as they go without waiting."""
        if self._server is not None:
            self._server.serve()
        orders, self._orders = self._orders, []
        for endpoint, digest in orders:
            self._begin(endpoint, digest, now_s)
        for endpoint, link in list(self._links.items()):
            self._drive(endpoint, link, now_s)

    def has_work(self) -> bool:
        """Whether ``step`` has something to do at once. Looking re-arms the edges of all descriptors."""
        has_input_now = [has_input(link.socket) for link in self._links.values()]
        return bool(self._orders) or any(has_input_now) or (self._server is not None and self._server.has_work())

    def next_deadline_s(self) -> float:
        """When ``step`` is due though nothing comes."""
        return min((link.deadline_s() for link in self._links.values()), default=math.inf)

    def close(self) -> None:
        """Give up what is under way, and serve no more."""
        self._context = None
        for endpoint in list(self._links):
            self._close(endpoint)
        orders, self._orders = self._orders, []
        for _, digest in orders:
            self._arrivals.settle(digest, is_here=False)
        if self._server is not None:
            self._wakeup.ignore(self._server.fileno())
            self._server.close()
            self._server = None

    def _begin(self, endpoint: str, digest: Digest, now_s: float) -> None:
        link = self._link(endpoint, now_s)
        if link is None:
            self._counters["peer_blobs_not_asked"] += 1
            self._arrivals.settle(digest, is_here=False)
            return
        link.awaited += 1
        link.used_s = now_s
        link.transfer.fetch(digest, self._blobs.writer(digest))

    def _link(self, endpoint: str, now_s: float) -> _Link | None:
        """The link to a peer, which is the last used one now; None when there is none to be had."""
        link = self._links.pop(endpoint, None) or self._opened(endpoint, now_s)
        if link is not None:
            self._links[endpoint] = link
        return link

    def _opened(self, endpoint: str, now_s: float) -> _Link | None:
        if self._context is None or now_s < self._shunned_until_s.get(endpoint, now_s):
            return None
        if len(self._links) >= PEER_BLOB_LINKS:
            unused = next((other for other, link in self._links.items() if not link.awaited), None)
            if unused is None:
                return None
            self._close(unused)
        try:
            link = _Link(peer_blob_dealer(self._context, endpoint), now_s)
        except FarmUnreachable:
            self._counters["peer_blob_errors"] += 1
            self._shun(endpoint, now_s)
            return None
        self._wakeup.watch(descriptor_of(link.socket))
        return link

    def _drive(self, endpoint: str, link: _Link, now_s: float) -> None:
        try:
            for frames in drain(link.socket, PEER_BLOB_MESSAGES):
                self._settle(link, link.transfer.receive(frames))
        except ProtocolError:
            self._counters["peer_blob_errors"] += 1
            self._give_up(endpoint, now_s)
            return
        overdue = link.transfer.expire(now_s)
        if overdue:
            self._counters["peer_blob_timeouts"] += 1
            self._settle(link, overdue)
            self._give_up(endpoint, now_s)
            return
        for frames in link.transfer.outgoing(now_s):
            if not try_send(link.socket, frames):
                self._counters["peer_blob_errors"] += 1
                self._give_up(endpoint, now_s)
                return
        if link.awaited:
            link.used_s = now_s
        elif now_s - link.used_s >= PEER_BLOB_IDLE_S:
            self._close(endpoint)

    def _settle(self, link: _Link, events: Iterable[TransferEvent]) -> None:
        for event in events:
            match event:
                case Fetched():
                    self._counters["peer_blobs"] += 1
                    self._counters["peer_blob_bytes"] += event.digest.size_bytes
                case FetchFailed():
                    self._counters[_FAILURES.get(type(event.error), "peer_blobs_failed")] += 1
                case _:
                    continue
            link.awaited -= 1
            self._arrivals.settle(event.digest, is_here=isinstance(event, Fetched))

    def _give_up(self, endpoint: str, now_s: float) -> None:
        self._close(endpoint)
        self._shun(endpoint, now_s)

    def _shun(self, endpoint: str, now_s: float) -> None:
        self._shunned_until_s.pop(endpoint, None)
        while len(self._shunned_until_s) >= PEERS_BACKING_OFF:
            del self._shunned_until_s[next(iter(self._shunned_until_s))]
        self._shunned_until_s[endpoint] = now_s + PEER_BLOB_BACK_OFF_S

    def _close(self, endpoint: str) -> None:
        link = self._links.pop(endpoint)
        self._settle(link, link.transfer.reset("the link to the peer is closed"))
        self._wakeup.ignore(descriptor_of(link.socket))
        link.socket.close()


_FAILURES: dict[type[ZbuildError], str] = {BlobMissing: "peer_blobs_missing", BlobCorrupt: "peer_blobs_corrupt"}


class _Link:
    """The fetches from one peer.

    Attributes:
        awaited: fetches that have not ended.
        used_s: when something was last asked or awaited.
    """

    def __init__(self, socket: Socket, now_s: float) -> None:
        self.socket = socket
        self.transfer = Transfer(PEER_BLOB_TIMEOUT_S)
        self.awaited = 0
        self.used_s = now_s

    def deadline_s(self) -> float:
        """When it has waited for too long, for an answer or for being used."""
        answer_s = self.transfer.next_deadline_s()
        return self.used_s + PEER_BLOB_IDLE_S if answer_s is None else answer_s
