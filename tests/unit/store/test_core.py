"""The store's answers over a real directory: what fits is stored, what does not is named, nothing partial shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zbuild.digest import EMPTY, Digest, of_bytes
from zbuild.errors import BlobCorrupt, BlobMissing, ProtocolError, StoreFailed
from zbuild.limits import BLOB_CHUNK_BYTES, UPLOADS_PER_PEER
from zbuild.protocol.blob_messages import BlobPart, FindMissing, Get, Missing, Parts, Put, Stored
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.store.core import StoreCore

PEER = b"peer"
DATA = bytes(range(256)) * 4
DIGEST = of_bytes(DATA)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobDirectory:
    return BlobDirectory(tmp_path / "blobs", is_durable=False)


@pytest.fixture
def store(blobs: BlobDirectory) -> StoreCore:
    return StoreCore(blobs)


def put(store: StoreCore, digest: Digest, offset: int, data: bytes, peer: bytes = PEER) -> Stored:
    reply, frames = store.answer(peer, Put(1, (BlobPart(digest, offset, len(data)),)), [data])
    assert isinstance(reply, Stored)
    assert not frames
    return reply


def get(store: StoreCore, *parts: BlobPart) -> tuple[Parts, list[bytes]]:
    reply, frames = store.answer(PEER, Get(1, parts), [])
    assert isinstance(reply, Parts)
    return reply, frames


def files_in(directory: str) -> int:
    return sum(len(names) for _, _, names in os.walk(directory))


def test_a_blob_in_parts_is_there_when_the_last_has_come(store: StoreCore, blobs: BlobDirectory) -> None:
    assert not put(store, DIGEST, 0, DATA[:100]).failures
    assert not blobs.contains(DIGEST)
    assert not put(store, DIGEST, 100, DATA[100:]).failures
    assert blobs.read(DIGEST) == DATA


def test_find_missing_names_what_is_not_there(store: StoreCore, blobs: BlobDirectory) -> None:
    blobs.put_bytes(DATA)
    other = of_bytes(b"other")
    reply, _ = store.answer(PEER, FindMissing(7, (DIGEST, other)), [])
    assert reply == Missing(7, (other,))


def test_the_empty_blob_is_stored_and_read(store: StoreCore) -> None:
    assert not put(store, EMPTY, 0, b"").failures
    reply, frames = get(store, BlobPart(EMPTY, 0, 0))
    assert (reply.parts, frames) == ((BlobPart(EMPTY, 0, 0),), [b""])


def test_wrong_bytes_are_refused_by_name_and_leave_nothing(store: StoreCore, blobs: BlobDirectory) -> None:
    """Defect 15 of the original: nothing was verified."""
    (failure,) = put(store, DIGEST, 0, DATA[:-1] + b"?").failures
    assert (failure.digest, failure.code) == (DIGEST, BlobCorrupt.code)
    assert not blobs.contains(DIGEST)
    assert files_in(blobs.path) == 0
    assert not put(store, DIGEST, 0, DATA).failures, "and the right bytes are welcome"


@pytest.mark.parametrize("offset", [1, 50, 150])
def test_a_part_that_does_not_continue_is_refused(store: StoreCore, blobs: BlobDirectory, offset: int) -> None:
    put(store, DIGEST, 0, DATA[:100])
    (failure,) = put(store, DIGEST, offset, DATA[offset:]).failures
    assert failure.code == ProtocolError.code
    assert "does not continue" in failure.message
    assert not blobs.contains(DIGEST)
    assert files_in(blobs.path) == 0


def test_an_upload_that_begins_again_is_a_new_one(store: StoreCore, blobs: BlobDirectory) -> None:
    put(store, DIGEST, 0, DATA[:100])
    assert not put(store, DIGEST, 0, DATA).failures
    assert blobs.read(DIGEST) == DATA


def test_two_peers_may_send_the_same_blob(store: StoreCore, blobs: BlobDirectory) -> None:
    put(store, DIGEST, 0, DATA[:100], peer=b"one")
    put(store, DIGEST, 0, DATA[:200], peer=b"two")
    assert not put(store, DIGEST, 100, DATA[100:], peer=b"one").failures
    assert not put(store, DIGEST, 200, DATA[200:], peer=b"two").failures
    assert blobs.read(DIGEST) == DATA


def test_a_peer_that_goes_leaves_nothing(store: StoreCore, blobs: BlobDirectory) -> None:
    put(store, DIGEST, 0, DATA[:100])
    store.disconnected(PEER)
    assert files_in(blobs.path) == 0
    assert store.counters["uploads_aborted"] == 1
    assert put(store, DIGEST, 100, DATA[100:]).failures


def test_unfinished_uploads_are_bounded(store: StoreCore) -> None:
    digests = [of_bytes(b"%d" % number * 10) for number in range(UPLOADS_PER_PEER + 1)]
    replies = [put(store, digest, 0, b"x") for digest in digests]
    assert [len(reply.failures) for reply in replies] == [0] * UPLOADS_PER_PEER + [1]
    assert "unfinished" in replies[-1].failures[0].message


def test_one_bad_part_does_not_spoil_the_others(store: StoreCore, blobs: BlobDirectory) -> None:
    bad, good = of_bytes(b"right"), of_bytes(b"good")
    message = Put(1, (BlobPart(bad, 0, 5), BlobPart(good, 0, 4)))
    reply, _ = store.answer(PEER, message, [b"wrong", b"good"])
    assert isinstance(reply, Stored)
    assert [failure.digest for failure in reply.failures] == [bad]
    assert blobs.read(good) == b"good"


def test_get_answers_parts_and_names_what_it_lacks(store: StoreCore, blobs: BlobDirectory) -> None:
    blobs.put_bytes(DATA)
    lacking = of_bytes(b"lacking")
    reply, frames = get(store, BlobPart(DIGEST, 10, 20), BlobPart(lacking, 0, 7))
    assert (reply.parts, frames) == ((BlobPart(DIGEST, 10, 20),), [DATA[10:30]])
    ((digest, code),) = [(failure.digest, failure.code) for failure in reply.failures]
    assert (digest, code) == (lacking, BlobMissing.code)


def test_a_corrupt_blob_is_never_served(store: StoreCore, blobs: BlobDirectory) -> None:
    path = blobs.path_of(blobs.put_bytes(DATA))
    os.chmod(path, 0o644)
    Path(path).write_bytes(DATA[:-1] + b"?")
    reopened = BlobDirectory(blobs.path, is_durable=False)
    reply, frames = get(StoreCore(reopened), BlobPart(DIGEST, 0, len(DATA)))
    assert (reply.parts, frames) == ((), [])
    assert reply.failures[0].code == BlobCorrupt.code
    reply, _ = get(StoreCore(reopened), BlobPart(DIGEST, 0, len(DATA)))
    assert reply.failures[0].code == BlobMissing.code


def test_a_get_of_more_than_a_chunk_is_refused(store: StoreCore) -> None:
    huge = Digest(bytes(32), 4 * BLOB_CHUNK_BYTES)
    with pytest.raises(ProtocolError, match="more than"):
        store.answer(PEER, Get(1, (BlobPart(huge, 0, BLOB_CHUNK_BYTES + 1),)), [])


def test_a_blob_that_the_disk_cannot_look_for_is_missing(store: StoreCore, blobs: BlobDirectory) -> None:
    """The error ended the store, and with it the broker."""
    Path(blobs.path, DIGEST.hash.hex()[:1]).write_text("a file in the place of a directory")
    reply, _ = store.answer(PEER, FindMissing(7, (DIGEST,)), [])
    assert reply == Missing(7, (DIGEST,))
    (failure,) = put(store, DIGEST, 0, DATA).failures
    assert failure.code == StoreFailed.code, "and storing it says why"


def test_a_wrong_size_in_a_request_does_not_cost_the_blob(store: StoreCore, blobs: BlobDirectory) -> None:
    """The blob was taken for corrupt, and moved away."""
    blobs.put_bytes(DATA)
    other = Digest(DIGEST.hash, DIGEST.size_bytes + 1)
    reply, _ = get(store, BlobPart(other, 0, 1))
    assert [failure.code for failure in reply.failures] == [BlobMissing.code]
    assert blobs.read(DIGEST) == DATA


def test_after_a_bad_part_the_rest_of_the_same_blob_is_passed_over(store: StoreCore, blobs: BlobDirectory) -> None:
    message = Put(1, (BlobPart(DIGEST, 5, 5), BlobPart(DIGEST, 0, len(DATA))))
    reply, _ = store.answer(PEER, message, [DATA[5:10], DATA])
    assert isinstance(reply, Stored)
    assert len(reply.failures) == 1
    assert not blobs.contains(DIGEST)
    lacking = BlobPart(of_bytes(b"lacking"), 0, 7)
    assert len(get(store, lacking, lacking)[0].failures) == 1
    assert store.counters["puts_failed"] == store.counters["gets_failed"] == 1


def test_what_was_stored_and_sent_is_counted(store: StoreCore) -> None:
    put(store, DIGEST, 0, DATA)
    get(store, BlobPart(DIGEST, 0, 100))
    assert store.counters["blobs_stored"] == 1
    assert store.counters["bytes_stored"] == len(DATA)
    assert store.counters["bytes_sent"] == 100


def test_an_upload_that_was_cut_short_gives_its_place_back(store: StoreCore, blobs: BlobDirectory) -> None:
    """It was held until the peer disconnected, which a worker does not do for weeks."""
    for number in range(UPLOADS_PER_PEER):
        assert not put(store, of_bytes(b"%d" % number + DATA), 0, b"%d" % number).failures
    assert put(store, DIGEST, 0, DATA[:9]).failures
    store.sweep()
    assert put(store, DIGEST, 0, DATA[:9]).failures
    assert not put(store, of_bytes(b"0" + DATA), 1, DATA).failures

    store.sweep()

    assert store.counters["uploads_expired"] == UPLOADS_PER_PEER - 1
    assert not put(store, DIGEST, 0, DATA).failures
    assert blobs.read(DIGEST) == DATA


def test_an_upload_that_goes_on_slowly_is_left_alone(store: StoreCore, blobs: BlobDirectory) -> None:
    for offset in range(0, len(DATA), 256):
        assert not put(store, DIGEST, offset, DATA[offset : offset + 256]).failures
        store.sweep()
    assert blobs.read(DIGEST) == DATA
