"""Transfer and StoreCore back to back over real directories: whatever is lost, every transfer ends exactly once."""

from __future__ import annotations

import tempfile
from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from zbuild.digest import Digest, of_bytes
from zbuild.limits import BLOB_CHUNK_BYTES, TRANSFER_TIMEOUT_S, TRANSFER_WINDOW
from zbuild.protocol.blob_messages import decode_to_store, encode_header
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.transfer import AbsentFound, Fetched, FetchFailed, Transfer, TransferEvent, TransferFailed, Uploaded
from zbuild.store.core import StoreCore

SIZES = st.sampled_from([0, 1, 100, BLOB_CHUNK_BYTES - 1, BLOB_CHUNK_BYTES, BLOB_CHUNK_BYTES + 1, 3 * BLOB_CHUNK_BYTES])


class BytesSource:
    """The bytes of an upload."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


class Peer:
    """One peer with a directory of its own, and a store; frames between them wait in two queues."""

    def __init__(self, directory: str) -> None:
        self.blobs = BlobDirectory(f"{directory}/peer", is_durable=False)
        self.stored = BlobDirectory(f"{directory}/store", is_durable=False)
        self.store = StoreCore(self.stored)
        self.transfer = Transfer()
        self.upward: deque[list[bytes]] = deque()
        self.downward: deque[list[bytes]] = deque()
        self.events: list[TransferEvent] = []

    def step(self, *, is_answered: bool, now_s: float = 0.0) -> None:
        """Send what the window allows; the store takes one request, and its answer is lost or kept."""
        self.upward.extend(self.transfer.outgoing(now_s))
        assert len(self.upward) + len(self.downward) <= TRANSFER_WINDOW
        if self.upward:
            message, data = decode_to_store(self.upward.popleft())
            reply, frames = self.store.answer(b"peer", message, data)
            if is_answered:
                self.downward.append([encode_header(reply), *frames])
        if self.downward:
            self.events += self.transfer.receive(self.downward.popleft())

    def drain(self, now_s: float) -> None:
        """Go on until nothing moves, then past the deadline of what was lost."""
        while True:
            self.step(is_answered=True, now_s=now_s)
            if not self.upward and not self.downward:
                break
        self.events += self.transfer.expire(now_s + TRANSFER_TIMEOUT_S + 1.0)


def blob(number: int, size_bytes: int) -> bytes:
    return (b"%08d" % number * (size_bytes // 8 + 1))[:size_bytes]


@settings(max_examples=60)
@given(
    uploads=st.lists(SIZES, max_size=12),
    fetches=st.lists(SIZES, max_size=12),
    absent=st.sets(st.integers(0, 11)),
    answered=st.lists(st.booleans(), max_size=40),
)
def test_every_transfer_ends_exactly_once(
    uploads: list[int], fetches: list[int], absent: set[int], answered: list[bool]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        peer = Peer(directory)
        to_upload = {of_bytes(data): data for data in (blob(n, size) for n, size in enumerate(uploads))}
        to_fetch: dict[Digest, bytes] = {}
        there: set[Digest] = set()
        for number, size_bytes in enumerate(fetches):
            data = blob(100 + number, size_bytes)
            digest = of_bytes(data)
            to_fetch[digest] = data
            if number not in absent or digest in there:
                peer.stored.put_bytes(data)
                there.add(digest)
        peer.transfer.find_missing(1, [*to_upload, *to_fetch])
        for digest, data in to_upload.items():
            peer.transfer.upload(digest, BytesSource(data))
        for digest in to_fetch:
            peer.transfer.fetch(digest, peer.blobs.writer(digest))
        for is_answered in answered:
            peer.step(is_answered=is_answered)
        peer.drain(0.0)
        uploaded = [event.digest for event in peer.events if isinstance(event, Uploaded)]
        fetched = [event.digest for event in peer.events if isinstance(event, Fetched)]
        failed = [event.digest for event in peer.events if isinstance(event, TransferFailed)]
        assert sum(isinstance(event, AbsentFound) for event in peer.events) == 1
        assert sorted(uploaded + fetched + failed) == sorted([*to_upload, *to_fetch])
        assert all(peer.stored.read(digest) == to_upload[digest] for digest in uploaded)
        assert all(peer.blobs.read(digest) == to_fetch[digest] for digest in fetched)
        unfetched = {event.digest for event in peer.events if isinstance(event, FetchFailed)}
        assert not [digest for digest in unfetched if peer.blobs.contains(digest)]
        if all(answered):
            # What is fetched and uploaded at once may be there in time, or not.
            assert to_fetch.keys() - there - to_upload.keys() <= unfetched <= to_fetch.keys() - there


@given(st.binary(max_size=400))
def test_any_reply_is_taken_or_refused(header: bytes) -> None:
    """Whatever a store sends, only ProtocolError comes out; nothing that was asked is then left hanging."""
    transfer = Transfer()
    transfer.find_missing(1, [of_bytes(b"x")])
    list(transfer.outgoing(0.0))
    try:
        events = transfer.receive([header])
    except Exception as error:
        assert type(error).__name__ == "ProtocolError"
        events = transfer.reset(str(error))
    assert events == [AbsentFound(1, (of_bytes(b"x"),))] or events == []
