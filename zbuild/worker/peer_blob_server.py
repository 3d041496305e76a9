"""What a worker gives to its peers: its own blobs, read-only."""

from __future__ import annotations

from collections import Counter

from zbuild.digest import Digest
from zbuild.errors import ProtocolError
from zbuild.limits import PEER_BLOB_REQUESTS
from zbuild.protocol.blob_messages import Put, decode_to_store, encode_header
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.blob_reader import BlobReader
from zbuild.transport.loop import Socket, descriptor_of, has_input
from zbuild.transport.router import Router
from zbuild.transport.sockets import bound_endpoint


class PeerBlobServer:
    """A bound ROUTER, owned and driven by the agent's greenlet.

    Args:
        counters: of the worker. Here ``peer_bytes_sent``, ``peer_gets_failed``, ``peer_looks_failed``,
            ``peer_requests_refused`` (bytes that are no request, a Get of more than a chunk), ``peer_puts_refused``
            and ``peer_send_blocked``, ``peer_send_unreachable`` (replies that could not be sent).

    Attributes:
        endpoint: where it listens, with the port that the system chose.
    """

    def __init__(self, socket: Socket, blobs: BlobDirectory, counters: Counter[str]) -> None:
        self._router = Router(socket)
        self._own_counters: Counter[str] = Counter()
        self._reader = BlobReader(_Unverified(blobs), self._own_counters)
        self._counters = counters
        self.endpoint = bound_endpoint(self._router.socket)

    def fileno(self) -> int:
        """The descriptor to watch."""
        return descriptor_of(self._router.socket)

    def has_work(self) -> bool:
        """Whether requests wait: call ``serve`` again soon."""
        return has_input(self._router.socket)

    def serve(self) -> None:
        """Answer what has come, at most PEER_BLOB_REQUESTS requests. Never waits, and never raises for a request."""
        messages, _gone = self._router.receive(PEER_BLOB_REQUESTS)
        for peer, frames in messages:
            try:
                request, _data = decode_to_store(frames)
                if isinstance(request, Put):
                    self._own_counters["puts_refused"] += 1
                reply, reply_data = self._reader.answer(request)
            except ProtocolError:
                self._own_counters["requests_refused"] += 1
            else:
                self._router.send(peer, [encode_header(reply), *reply_data])
        if messages:
            for name, count in (self._own_counters + self._router.counters).items():
                self._counters[f"peer_{name}"] = count

    def close(self) -> None:
        self._router.close()


class _Unverified:
    """Whoever fetches a blob verifies it: hashing it here would let any peer's request hold up the worker's leases."""

    def __init__(self, blobs: BlobDirectory) -> None:
        self.contains = blobs.contains
        self._blobs = blobs

    def read(self, digest: Digest, offset: int, length: int) -> bytes:
        return self._blobs.read_unverified(digest, offset, length)
