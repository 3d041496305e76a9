"""Transfers against a store that answers as it should, late, wrongly, or not at all. No real store here."""

from __future__ import annotations

import msgpack
import pytest

from zbuild.digest import EMPTY, Digest, of_bytes
from zbuild.errors import BlobCorrupt, BlobMissing, ProtocolError, StoreFailed, ZbuildError
from zbuild.limits import (
    BLOB_CHUNK_BYTES,
    BLOB_MESSAGE_PARTS,
    FIND_MISSING_DIGESTS,
    TRANSFER_TIMEOUT_S,
    TRANSFER_WINDOW,
)
from zbuild.protocol.blob_messages import (
    BlobFailure,
    BlobPart,
    FindMissing,
    FromStore,
    Get,
    Missing,
    Parts,
    Put,
    Stored,
    ToStore,
    decode_to_store,
    encode_header,
)
from zbuild.storage.transfer import AbsentFound, Fetched, Transfer, TransferEvent, TransferFailed, Uploaded


class BytesSource:
    """The bytes of an upload."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


class BrokenSource:
    """A file that cannot be read, with one of the two kinds of error that a source may raise."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def read(self, _offset: int, _length: int) -> bytes:
        raise self.error


class MemorySink:
    """Where a fetch goes. ``fails_at``: the number of the write that fails."""

    def __init__(self, digest: Digest, fails_at: int = -1) -> None:
        self.digest = digest
        self.data = b""
        self.is_committed = False
        self.aborts = 0
        self._fails_at = fails_at

    def write(self, data: bytes) -> None:
        self._fails_at -= 1
        if self._fails_at == -1:
            raise StoreFailed("disk full")
        self.data += data

    def commit(self) -> None:
        if of_bytes(self.data) != self.digest:
            raise BlobCorrupt(f"other bytes than {self.digest.short}")
        self.is_committed = True

    def abort(self) -> None:
        self.aborts += 1


def requests(transfer: Transfer, now_s: float = 0.0) -> list[tuple[ToStore, list[bytes]]]:
    return [decode_to_store(frames) for frames in transfer.outgoing(now_s)]


def reply(transfer: Transfer, message: FromStore, *data: bytes) -> list[TransferEvent]:
    return transfer.receive([encode_header(message), *data])


def serve(request: Get, blobs: dict[Digest, bytes]) -> tuple[Parts, list[bytes]]:
    """What a store that has ``blobs`` answers."""
    parts = tuple(part for part in request.parts if part.digest in blobs)
    absent = tuple(
        BlobFailure(part.digest, BlobMissing.code, "it is not here")
        for part in request.parts
        if part.digest not in blobs
    )
    return Parts(request.request, parts, absent), [
        blobs[part.digest][part.offset : part.offset + part.length] for part in parts
    ]


def fetch(transfer: Transfer, digest: Digest, fails_at: int = -1) -> MemorySink:
    sink = MemorySink(digest, fails_at)
    transfer.fetch(digest, sink)
    return sink


def blob(number: int, size_bytes: int) -> tuple[Digest, bytes]:
    data = (b"%08d" % number) * (size_bytes // 8 + 1)
    return of_bytes(data[:size_bytes]), data[:size_bytes]


LARGE, LARGE_DATA = blob(1, 3 * BLOB_CHUNK_BYTES + 5)


def test_small_blobs_share_a_request() -> None:
    blobs = dict(blob(number, 100) for number in range(10))
    transfer = Transfer()
    sinks = [fetch(transfer, digest) for digest in blobs]
    ((request, _),) = requests(transfer)
    assert isinstance(request, Get)
    message, data = serve(request, blobs)
    assert reply(transfer, message, *data) == [Fetched(digest) for digest in blobs]
    assert all(sink.is_committed for sink in sinks)
    assert transfer.fetched_bytes == 1000


def test_a_request_has_a_bounded_number_of_parts() -> None:
    transfer = Transfer()
    for number in range(BLOB_MESSAGE_PARTS + 1):
        digest, data = blob(number, 8)
        fetch(transfer, digest)
        transfer.upload(digest, BytesSource(data))
    sizes = [len(request.parts) for request, _ in requests(transfer) if isinstance(request, Get | Put)]
    assert sizes == [BLOB_MESSAGE_PARTS, 1, BLOB_MESSAGE_PARTS, 1]


def test_a_large_blob_goes_in_chunks_and_in_order() -> None:
    transfer = Transfer()
    sink = fetch(transfer, LARGE)
    events = []
    for request, _ in requests(transfer):
        assert isinstance(request, Get)
        assert sum(part.length for part in request.parts) <= BLOB_CHUNK_BYTES
        message, data = serve(request, {LARGE: LARGE_DATA})
        events += reply(transfer, message, *data)
    assert events == [Fetched(LARGE)]
    assert sink.data == LARGE_DATA


def test_the_window_bounds_what_is_in_flight_and_replies_open_it() -> None:
    transfer = Transfer()
    digests = [blob(number, BLOB_CHUNK_BYTES) for number in range(TRANSFER_WINDOW + 3)]
    for digest, _ in digests:
        fetch(transfer, digest)
    first = requests(transfer)
    assert len(first) == TRANSFER_WINDOW
    assert not requests(transfer)
    request, _ = first[0]
    assert isinstance(request, Get)
    message, data = serve(request, dict(digests))
    reply(transfer, message, *data)
    assert len(requests(transfer)) == 1


def test_the_empty_blob_can_be_fetched_and_uploaded() -> None:
    transfer = Transfer()
    sink = fetch(transfer, EMPTY)
    transfer.upload(EMPTY, BytesSource(b""))
    (get, _), (put, put_data) = requests(transfer)
    assert reply(transfer, Parts(get.request, (BlobPart(EMPTY, 0, 0),), ()), b"") == [Fetched(EMPTY)]
    assert sink.is_committed
    assert put_data == [b""]
    assert reply(transfer, Stored(put.request, ())) == [Uploaded(EMPTY)]


def test_an_upload_is_sent_whole_and_confirmed_once() -> None:
    transfer = Transfer()
    transfer.upload(LARGE, BytesSource(LARGE_DATA))
    transfer.upload(LARGE, BytesSource(b"never read"))
    sent = requests(transfer)
    assert all(sum(map(len, frames)) <= BLOB_CHUNK_BYTES for _, frames in sent)
    assert b"".join(data for _, frames in sent for data in frames) == LARGE_DATA
    events = [event for request, _ in sent for event in reply(transfer, Stored(request.request, ()))]
    assert events == [Uploaded(LARGE)]
    assert transfer.uploaded_bytes == LARGE.size_bytes


def test_a_digest_is_not_fetched_twice_at_a_time() -> None:
    transfer = Transfer()
    fetch(transfer, LARGE)
    with pytest.raises(ValueError, match="already"):
        fetch(transfer, LARGE)


def test_questions_are_cut_into_pieces_and_answered_as_one() -> None:
    digests = [blob(number, 8)[0] for number in range(2 * FIND_MISSING_DIGESTS + 1)]
    transfer = Transfer()
    transfer.find_missing(7, digests)
    sent = [request for request, _ in requests(transfer) if isinstance(request, FindMissing)]
    assert [len(request.digests) for request in sent] == [FIND_MISSING_DIGESTS, FIND_MISSING_DIGESTS, 1]
    events = [event for each in sent for event in reply(transfer, Missing(each.request, each.digests[:1]))]
    assert events == [AbsentFound(7, (digests[0], digests[FIND_MISSING_DIGESTS], digests[-1]))]


def test_an_empty_question_is_answered() -> None:
    transfer = Transfer()
    transfer.find_missing(7, [])
    ((request, _),) = requests(transfer)
    assert reply(transfer, Missing(request.request, ())) == [AbsentFound(7, ())]


@pytest.mark.parametrize(
    ("code", "kind"),
    [(BlobMissing.code, BlobMissing), (BlobCorrupt.code, BlobMissing), (StoreFailed.code, StoreFailed)],
)
def test_a_blob_that_the_store_cannot_give_fails_alone(code: int, kind: type[ZbuildError]) -> None:
    (good, data), (bad, _) = blob(1, 10), blob(2, 10)
    transfer = Transfer()
    fetch(transfer, good)
    sink = fetch(transfer, bad)
    ((request, _),) = requests(transfer)
    message = Parts(request.request, (BlobPart(good, 0, 10),), (BlobFailure(bad, code, "no"),))
    failed, fetched = reply(transfer, message, data)
    assert isinstance(failed, TransferFailed)
    assert (failed.digest, type(failed.error), str(failed.error)) == (bad, kind, "no")
    assert fetched == Fetched(good)
    assert (sink.is_committed, sink.aborts) == (False, 1)


def test_bytes_with_another_hash_are_never_committed() -> None:
    transfer = Transfer()
    sink = fetch(transfer, of_bytes(b"right"))
    ((request, _),) = requests(transfer)
    (event,) = reply(transfer, Parts(request.request, (BlobPart(sink.digest, 0, 5),), ()), b"wrong")
    assert isinstance(event, TransferFailed)
    assert isinstance(event.error, BlobCorrupt)
    assert (sink.is_committed, sink.aborts) == (False, 1)


def test_a_part_that_the_store_leaves_out_fails_its_fetch() -> None:
    """Or the fetch would wait for ever: its request is answered."""
    transfer = Transfer()
    fetch(transfer, Digest(bytes(32), 20 * BLOB_CHUNK_BYTES))
    (request, _), *_ = requests(transfer)
    (event,) = reply(transfer, Parts(request.request, (), ()))
    assert not requests(transfer), "the rest of it is not asked for"
    assert isinstance(event, TransferFailed)
    assert "left out" in str(event.error)


def test_replies_to_a_fetch_that_has_failed_do_not_touch_the_next_of_the_same_blob() -> None:
    transfer = Transfer()
    first = fetch(transfer, LARGE, fails_at=1)
    old = [request for request, _ in requests(transfer) if isinstance(request, Get)]
    blobs = {LARGE: LARGE_DATA}
    (event,) = [event for each in old[:2] for event in _answer(transfer, each, blobs)]
    assert isinstance(event, TransferFailed)
    second = fetch(transfer, LARGE)
    new = [request for request, _ in requests(transfer) if isinstance(request, Get)]
    events = [event for each in old[2:] + new for event in _answer(transfer, each, blobs)]
    assert events == [Fetched(LARGE)]
    assert (first.aborts, second.data) == (1, LARGE_DATA)


def test_replies_to_an_upload_that_has_failed_do_not_touch_the_next_of_the_same_blob() -> None:
    transfer = Transfer()
    transfer.upload(LARGE, BytesSource(LARGE_DATA))
    old = requests(transfer)
    failure = BlobFailure(LARGE, StoreFailed.code, "disk full")
    (event,) = reply(transfer, Stored(old[0][0].request, (failure,)))
    assert isinstance(event, TransferFailed)
    transfer.upload(LARGE, BytesSource(LARGE_DATA))
    new = requests(transfer)
    assert not [event for request, _ in old[1:] for event in reply(transfer, Stored(request.request, (failure,)))]
    assert [event for request, _ in new for event in reply(transfer, Stored(request.request, ()))] == [Uploaded(LARGE)]


def test_a_file_that_became_shorter_fails_its_upload_and_no_other() -> None:
    transfer = Transfer()
    good, data = blob(7, 50)
    transfer.upload(LARGE, BytesSource(LARGE_DATA[:100]))
    transfer.upload(good, BytesSource(data))
    ((put, _),) = requests(transfer)
    failed, uploaded = reply(transfer, Stored(put.request, ()))
    assert isinstance(failed, TransferFailed)
    assert "became shorter" in str(failed.error)
    assert uploaded == Uploaded(good)


@pytest.mark.parametrize("error", [BlobMissing("gone"), PermissionError(13, "Permission denied")])
def test_a_source_that_cannot_be_read_fails_its_upload_and_no_other(error: Exception) -> None:
    transfer = Transfer()
    good, data = blob(7, 50)
    transfer.upload(LARGE, BrokenSource(error))
    transfer.upload(good, BytesSource(data))
    ((put, frames),) = requests(transfer)
    assert frames == [data]
    assert transfer.next_deadline_s() == 0.0, "there is something to tell at once"
    (failed,) = transfer.expire(0.0)
    assert isinstance(failed, TransferFailed)
    assert failed.digest == LARGE
    assert reply(transfer, Stored(put.request, ())) == [Uploaded(good)]


def test_silence_fails_everything_at_its_deadline() -> None:
    transfer = Transfer()
    sink = fetch(transfer, LARGE)
    good, data = blob(7, 50)
    transfer.upload(good, BytesSource(data))
    transfer.find_missing(3, [good])
    requests(transfer, now_s=100.0)
    assert transfer.next_deadline_s() == 100.0 + TRANSFER_TIMEOUT_S
    assert not transfer.expire(100.0 + TRANSFER_TIMEOUT_S)
    events = transfer.expire(100.1 + TRANSFER_TIMEOUT_S)
    assert [event.digest for event in events if isinstance(event, TransferFailed)] == [LARGE, good]
    assert AbsentFound(3, (good,)) in events, "the store is not known to have it, so it is sent"
    assert sink.aborts == 1
    assert transfer.next_deadline_s() is None


def test_after_a_reset_nothing_of_before_is_sent_or_told_again() -> None:
    transfer = Transfer()
    for number in range(2 * TRANSFER_WINDOW):
        digest, data = blob(number, BLOB_CHUNK_BYTES)
        fetch(transfer, digest)
        transfer.upload(digest, BytesSource(data))
        transfer.find_missing(number, [digest])
    requests(transfer)
    assert len(transfer.reset("the link has failed")) == 6 * TRANSFER_WINDOW
    assert not requests(transfer)
    assert not transfer.reset("again")


def test_what_has_ended_may_begin_again_and_is_not_failed_later() -> None:
    transfer = Transfer()
    small, data = blob(1, 10)
    for _ in range(2):
        sink = fetch(transfer, small)
        transfer.upload(small, BytesSource(data))
        transfer.find_missing(1, [small])
        question, get, put = (request for request, _ in requests(transfer))
        assert isinstance(get, Get)
        assert reply(transfer, Missing(question.request, ())) == [AbsentFound(1, ())]
        assert _answer(transfer, get, {small: data}) == [Fetched(small)]
        assert reply(transfer, Stored(put.request, ())) == [Uploaded(small)]
        assert sink.aborts == 0
    assert not transfer.reset("the link has failed")
    assert sink.aborts == 0


def test_an_answer_after_the_deadline_is_ignored() -> None:
    transfer = Transfer()
    fetch(transfer, LARGE)
    late = [request for request, _ in requests(transfer) if isinstance(request, Get)]
    transfer.expire(1.0 + TRANSFER_TIMEOUT_S)
    again = fetch(transfer, LARGE)
    new = [request for request, _ in requests(transfer, 40.0) if isinstance(request, Get)]
    events = [event for each in late + new for event in _answer(transfer, each, {LARGE: LARGE_DATA})]
    assert events == [Fetched(LARGE)]
    assert again.is_committed


def test_an_answer_to_nothing_is_a_protocol_error() -> None:
    transfer = Transfer()
    for request in (0, 1, -1, 99):
        with pytest.raises(ProtocolError, match="never made"):
            reply(transfer, Stored(request, ()))


def test_an_answer_of_the_wrong_kind_is_a_protocol_error() -> None:
    transfer = Transfer()
    fetch(transfer, LARGE)
    (request, _), *_ = requests(transfer)
    with pytest.raises(ProtocolError, match="answered Get with Stored"):
        reply(transfer, Stored(request.request, ()))


def test_a_part_that_was_not_asked_for_is_a_protocol_error() -> None:
    transfer = Transfer()
    fetch(transfer, LARGE)
    (request, _), *_ = requests(transfer)
    other, data = blob(9, 4)
    with pytest.raises(ProtocolError, match="not asked for"):
        reply(transfer, Parts(request.request, (BlobPart(other, 0, 4),), ()), data)


def test_headers_are_plain_msgpack() -> None:
    transfer = Transfer()
    fetch(transfer, of_bytes(b"x"))
    ((header,),) = list(transfer.outgoing(0.0))
    assert msgpack.unpackb(header) == [4, 1, [[[of_bytes(b"x").hash, 1], 0, 1]]]


def _answer(transfer: Transfer, request: Get, blobs: dict[Digest, bytes]) -> list[TransferEvent]:
    message, data = serve(request, blobs)
    return reply(transfer, message, *data)
