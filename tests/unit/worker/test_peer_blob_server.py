"""What a worker gives to peers that ask for what they may, and to those that ask for anything else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.polling import wait_until
from tests.unit.worker.scripted_peer import Thief
from zbuild.digest import HASH_BYTES, Digest, of_bytes
from zbuild.errors import BlobMissing, FarmUnreachable
from zbuild.limits import BLOB_CHUNK_BYTES, BLOB_MESSAGE_PARTS, FIND_MISSING_DIGESTS, PEER_BLOB_REQUESTS
from zbuild.protocol.blob_messages import (
    BlobPart,
    FindMissing,
    FromStore,
    Get,
    Missing,
    Parts,
    Put,
    ToStore,
    decode_from_store,
    encode_header,
)
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.transport.loop import Context, Socket, has_input, new_context, try_send
from zbuild.transport.sockets import blob_dealer, peer_blob_dealer, peer_blob_router
from zbuild.worker.peer_blob_server import PeerBlobServer

ANYWHERE = "tcp://127.0.0.1:*"
DATA = bytes(range(256)) * 4
DIGEST = of_bytes(DATA)
LACKING = of_bytes(b"lacking")


@pytest.fixture
def context() -> Iterator[Context]:
    made = new_context()
    yield made
    made.destroy(linger=0)


class Served:
    """A server, and a raw socket of a peer."""

    def __init__(self, context: Context, directory: Path) -> None:
        self.blobs = BlobDirectory(directory, is_durable=False)
        self.blobs.put_bytes(DATA)
        self.counters: Counter[str] = Counter()
        self.server = PeerBlobServer(peer_blob_router(context, ANYWHERE), self.blobs, self.counters)
        self.peer: Socket = blob_dealer(context, self.server.endpoint)

    def ask(self, message: ToStore, *data: bytes) -> tuple[FromStore, list[bytes]]:
        self.peer.send_multipart([encode_header(message), *data])
        return self.answer()

    def answer(self) -> tuple[FromStore, list[bytes]]:
        def answered() -> bool:
            self.server.serve()
            return has_input(self.peer)

        wait_until(answered, "an answer")
        return decode_from_store(self.peer.recv_multipart())

    def refuses(self, frames: list[bytes]) -> None:
        """It answers with nothing, and goes on answering."""
        before = self.counters["peer_requests_refused"]
        self.peer.send_multipart(frames)
        assert self.ask(FindMissing(99, (DIGEST,))) == (Missing(99, ()), [])
        assert self.counters["peer_requests_refused"] == before + 1


@pytest.fixture
def served(context: Context, tmp_path: Path) -> Iterator[Served]:
    made = Served(context, tmp_path / "blobs")
    yield made
    made.peer.close(0)
    made.server.close()


def test_parts_of_what_is_here_and_failures_for_the_rest(served: Served) -> None:
    parts = (BlobPart(DIGEST, 0, 1024), BlobPart(LACKING, 0, 7), BlobPart(DIGEST, 1000, 24))
    reply, data = served.ask(Get(1, parts))
    assert isinstance(reply, Parts)
    assert (reply.parts, data) == ((parts[0], parts[2]), [DATA, DATA[1000:]])
    assert [(failure.digest, failure.code) for failure in reply.failures] == [(LACKING, BlobMissing.code)]
    assert served.counters == {"peer_bytes_sent": 1048, "peer_gets_failed": 1}


def test_a_put_is_refused_and_stores_nothing(served: Served) -> None:
    served.refuses([encode_header(Put(1, (BlobPart(LACKING, 0, 7),))), b"lacking"])
    assert served.counters["peer_puts_refused"] == 1
    assert not served.blobs.contains(LACKING)


def test_a_put_of_a_chunk_does_not_even_come_in(served: Served) -> None:
    """libzmq closes the link at a frame that is longer than any request."""
    data = bytes(BLOB_CHUNK_BYTES)
    served.peer.send_multipart([encode_header(Put(1, (BlobPart(of_bytes(data), 0, len(data)),))), data])
    reply, _ = served.ask(FindMissing(2, (LACKING,)))
    assert reply == Missing(2, (LACKING,))
    assert served.counters["peer_puts_refused"] == 0


HUGE = Digest(bytes(HASH_BYTES), 1 << 62)


@pytest.mark.parametrize(
    "message",
    [
        Get(1, (BlobPart(HUGE, 0, BLOB_CHUNK_BYTES + 1),)),
        Get(1, (BlobPart(HUGE, 0, 1 << 61),)),
        Get(1, (BlobPart(HUGE, 0, BLOB_CHUNK_BYTES), BlobPart(DIGEST, 0, 1))),
        Get(1, (BlobPart(DIGEST, -1, 5),)),
        Get(1, (BlobPart(DIGEST, 5, -1),)),
        Get(1, (BlobPart(DIGEST, 1020, 5),)),
        Get(1, (BlobPart(Digest(b"", 5), 0, 5),)),
        Get(1, (BlobPart(Digest(b"../../../../../etc/passwd", 5), 0, 5),)),
        Get(1, (BlobPart(Digest(bytes(HASH_BYTES), -5), 0, 0),)),
        Get(1, (BlobPart(DIGEST, 0, 0),) * (BLOB_MESSAGE_PARTS + 1)),
        FindMissing(1, (DIGEST,) * (FIND_MISSING_DIGESTS + 1)),
        FindMissing(1, (Digest(b"short", 5),)),
    ],
    ids=repr,
)
def test_a_request_that_cannot_be_meant_is_refused(served: Served, message: ToStore) -> None:
    served.refuses([encode_header(message)])


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [b"\xc1 nonsense"],
        [b"\x93\x04\x01"],
        [encode_header(Missing(1, ()))],
        [encode_header(Get(1, ())), b"more"],
        [encode_header(Get(1, ()))] + [b""] * 100,
    ],
    ids=["empty", "an empty frame", "nonsense", "cut short", "a reply", "with data", "many frames"],
)
def test_bytes_that_are_no_request_are_refused(served: Served, frames: list[bytes]) -> None:
    served.refuses(frames or [b"", b""])


def test_a_question_of_any_size_that_is_allowed_comes_in(served: Served) -> None:
    lacking = tuple(of_bytes(b"%d" % number) for number in range(FIND_MISSING_DIGESTS))
    assert served.ask(FindMissing(1 << 62, lacking)) == (Missing(1 << 62, lacking), [])


def test_a_blob_of_another_size_than_its_file_is_missing(served: Served) -> None:
    other = Digest(DIGEST.hash, DIGEST.size_bytes + 1)
    reply, _ = served.ask(Get(1, (BlobPart(other, 0, 1),)))
    assert isinstance(reply, Parts)
    assert [failure.code for failure in reply.failures] == [BlobMissing.code]
    assert served.blobs.read(DIGEST) == DATA


def test_one_turn_answers_so_many_requests_and_no_more(served: Served) -> None:
    """The worker's own leases are never behind a peer that asks on and on."""
    asked = 3 * PEER_BLOB_REQUESTS
    for number in range(asked):
        served.peer.send_multipart([encode_header(Get(number, (BlobPart(DIGEST, 0, 1024),)))])
    served.ask(Get(asked, (BlobPart(DIGEST, 0, 1024),)))
    wait_until(lambda: served.counters["peer_bytes_sent"] >= PEER_BLOB_REQUESTS * 1024)
    before = served.counters["peer_bytes_sent"]
    while served.server.has_work():
        served.server.serve()
        assert served.counters["peer_bytes_sent"] - before <= PEER_BLOB_REQUESTS * 1024
        before = served.counters["peer_bytes_sent"]

    def all_came() -> bool:
        served.server.serve()
        return served.counters["peer_bytes_sent"] == (asked + 1) * 1024

    wait_until(all_came, "every answer")


def test_a_peer_that_goes_before_its_answer_costs_nothing(served: Served, context: Context) -> None:
    going = blob_dealer(context, served.server.endpoint)
    for number in range(10):
        going.send_multipart([encode_header(Get(number, (BlobPart(DIGEST, 0, 1024),)))])
    wait_until(served.server.has_work, "requests")
    going.close(0)
    assert served.ask(FindMissing(1, (DIGEST,))) == (Missing(1, ()), [])


def test_a_peer_that_does_not_read_holds_bounded_memory(served: Served, context: Context) -> None:
    chunk = served.blobs.put_bytes(bytes(BLOB_CHUNK_BYTES))
    request = encode_header(Get(1, (BlobPart(chunk, 0, BLOB_CHUNK_BYTES),)))
    deaf = peer_blob_dealer(context, served.server.endpoint)

    def blocked() -> bool:
        try_send(deaf, [request])
        served.server.serve()
        return served.counters["peer_send_blocked"] > 0

    wait_until(blocked, "the high-water mark")
    deaf.close(0)
    assert served.counters["peer_bytes_sent"] < 200 * BLOB_CHUNK_BYTES
    assert served.ask(FindMissing(1, (DIGEST,))) == (Missing(1, ()), []), "and others are served"


def test_a_place_that_cannot_be_listened_on_is_named(context: Context, tmp_path: Path) -> None:
    thief = Thief(tmp_path / "thief", context)
    with pytest.raises(FarmUnreachable, match="cannot listen on ipc:///nowhere/socket"):
        thief.peers.open(context, ["ipc:///nowhere/socket"], Counter())


def test_another_place_is_taken_when_the_first_is_not_free(served: Served, context: Context, tmp_path: Path) -> None:
    other = Thief(tmp_path / "other", context, [served.server.endpoint, ANYWHERE])
    assert other.peers.endpoint not in ("", served.server.endpoint)
    other.peers.close()
