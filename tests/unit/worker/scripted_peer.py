"""Both ends of a link between two workers' blobs: a peer that answers by a script, and a worker that fetches."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import gevent

from zbuild.digest import Digest
from zbuild.errors import BlobMissing
from zbuild.protocol.blob_messages import BlobFailure, FromStore, Get, Parts, decode_to_store, encode_header
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.transport.green import Wakeup
from zbuild.transport.loop import Context
from zbuild.transport.router import Router
from zbuild.transport.sockets import blob_router, bound_endpoint
from zbuild.worker.blob_link import BlobLink
from zbuild.worker.peer_blobs import PeerBlobs

ANYWHERE = "tcp://127.0.0.1:*"
PATIENCE_S = 20.0

Script = Callable[[Get], list[bytes] | None]
"""The frames that a Get is answered with; None for no answer."""


def having(blobs: dict[Digest, bytes]) -> Script:
    """A peer that has ``blobs`` and nothing else. A digest may stand for other bytes than its own."""

    def script(get: Get) -> list[bytes]:
        parts = tuple(part for part in get.parts if part.digest in blobs)
        absent = tuple(
            BlobFailure(part.digest, BlobMissing.code, "it is not here")
            for part in get.parts
            if part.digest not in blobs
        )
        data = [blobs[part.digest][part.offset : part.offset + part.length] for part in parts]
        return reply(Parts(get.request, parts, absent), *data)

    return script


def reply(message: FromStore, *data: bytes) -> list[bytes]:
    return [encode_header(message), *data]


class ScriptedPeer:
    """A bound ROUTER that is no worker."""

    def __init__(self, context: Context, script: Script) -> None:
        self._router = Router(blob_router(context, ANYWHERE))
        self.endpoint = bound_endpoint(self._router.socket)
        self.script = script
        self.asked: list[Digest] = []
        self._last_peer = b""

    def pump(self) -> None:
        """Answer what has come. Whoever asked may have given up and gone."""
        messages, _gone = self._router.receive()
        for peer, frames in messages:
            get, _ = decode_to_store(frames)
            assert isinstance(get, Get)
            self.asked += [part.digest for part in get.parts]
            self._last_peer = peer
            answer = self.script(get)
            if answer is not None:
                self._router.send(peer, answer)

    def send_last(self, answer: list[bytes]) -> None:
        """Send an answer late, to whoever asked last."""
        assert self._router.send(self._last_peer, answer)

    def close(self) -> None:
        if not self._router.socket.closed:
            self._router.close()


class Thief:
    """A worker that fetches blobs. Its time is ``now_s``, which stands still unless a test moves it."""

    def __init__(self, directory: Path, context: Context, listen: Sequence[str] = ()) -> None:
        self.blobs = BlobDirectory(directory, is_durable=False)
        wakeup = Wakeup()
        self.link = BlobLink(self.blobs, wakeup)
        self.peers = PeerBlobs(self.blobs, self.link.arrivals, wakeup)
        self.counters: Counter[str] = Counter()
        self.now_s = 100.0
        self.peers.open(context, listen, self.counters)

    def begin(self, endpoint: str, *digests: Digest) -> gevent.Greenlet[..., list[Digest]]:
        """Start a fetch in a greenlet of its own, and let it leave its orders."""
        greenlet = gevent.spawn(self.peers.fetch, endpoint, digests)
        gevent.sleep(0)
        return greenlet

    def fetch(self, peer: ScriptedPeer, *digests: Digest) -> list[Digest]:
        """Fetch from a peer that answers."""
        greenlet = self.begin(peer.endpoint, *digests)
        self.until(greenlet.ready, peer)
        absent: list[Digest] = greenlet.get()
        return absent

    def until(self, is_true: Callable[[], bool], *peers: ScriptedPeer) -> None:
        """Give every side its turns."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not is_true():
            assert time.monotonic() < deadline_s, f"waited {PATIENCE_S:g} s"
            self.peers.step(self.now_s)
            for peer in peers:
                peer.pump()
            gevent.sleep(0.001)
