"""Fetching from a peer that lacks, lies, breaks off, is silent or slow: the worker goes on, and keeps nothing wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from tests.unit.worker.scripted_peer import ScriptedPeer, Thief, having, reply
from zbuild.digest import EMPTY, Digest, of_bytes
from zbuild.errors import BlobMissing
from zbuild.limits import (
    BLOB_CHUNK_BYTES,
    PEER_BLOB_BACK_OFF_S,
    PEER_BLOB_IDLE_S,
    PEER_BLOB_LINKS,
    PEER_BLOB_TIMEOUT_S,
)
from zbuild.protocol.blob_messages import BlobPart, Get, Missing, Parts, decode_to_store, encode_header
from zbuild.transport.loop import Context, new_context

SMALL = {of_bytes(b"%d" % number): b"%d" % number for number in range(150)}
ONE, TWO, *_ = SMALL
LARGE_DATA = os.urandom(BLOB_CHUNK_BYTES) * 11 + b"the end"
LARGE = of_bytes(LARGE_DATA)
LATE_S = PEER_BLOB_TIMEOUT_S + 0.1


@pytest.fixture
def context() -> Iterator[Context]:
    made = new_context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def thief(tmp_path: Path, context: Context) -> Iterator[Thief]:
    made = Thief(tmp_path / "thief", context)
    yield made
    made.peers.close()


@pytest.fixture
def peer(context: Context) -> Iterator[ScriptedPeer]:
    made = ScriptedPeer(context, having({**SMALL, LARGE: LARGE_DATA, EMPTY: b""}))
    yield made
    made.close()


def unfinished(thief: Thief) -> list[str]:
    return [name for _, _, names in os.walk(os.path.join(thief.blobs.path, "tmp")) for name in names]


def test_what_the_peer_has_comes_from_it(thief: Thief, peer: ScriptedPeer) -> None:
    assert thief.fetch(peer, *SMALL, LARGE, EMPTY) == []
    assert thief.blobs.read(LARGE) == LARGE_DATA
    assert all(thief.blobs.read(digest) == data for digest, data in SMALL.items())
    size_bytes = sum(digest.size_bytes for digest in (*SMALL, LARGE))
    assert thief.counters == {"peer_blobs": len(SMALL) + 2, "peer_blob_bytes": size_bytes}
    assert thief.peers.open_links == 1


def test_what_the_peer_lacks_is_told_and_the_rest_comes(thief: Thief, peer: ScriptedPeer) -> None:
    peer.script = having({ONE: SMALL[ONE]})
    assert thief.fetch(peer, TWO, ONE) == [TWO]
    assert thief.blobs.contains(ONE)
    assert (thief.counters["peer_blobs"], thief.counters["peer_blobs_missing"]) == (1, 1)


@pytest.mark.parametrize(("digest", "data"), [(ONE, b"?"), (LARGE, LARGE_DATA[:-1] + b"?")], ids=["small", "large"])
def test_other_bytes_are_never_committed(thief: Thief, peer: ScriptedPeer, digest: Digest, data: bytes) -> None:
    peer.script = having({digest: data, TWO: SMALL[TWO]})
    assert thief.fetch(peer, digest, TWO) == [digest]
    assert not thief.blobs.contains(digest)
    assert not unfinished(thief)
    assert thief.counters["peer_blobs_corrupt"] == 1
    peer.script = having({digest: SMALL.get(digest, LARGE_DATA)})
    assert thief.fetch(peer, digest) == [], "one blob that is wrong says nothing of the next"


def test_a_peer_that_does_not_answer_costs_its_time_out_and_the_rest_comes_from_elsewhere(
    thief: Thief, peer: ScriptedPeer
) -> None:
    peer.script = lambda get: None
    greenlet = thief.begin(peer.endpoint, ONE, LARGE)
    thief.until(lambda: bool(peer.asked), peer)
    assert thief.peers.next_deadline_s() == thief.now_s + PEER_BLOB_TIMEOUT_S
    assert not greenlet.ready()
    thief.now_s += LATE_S
    thief.until(greenlet.ready, peer)
    assert greenlet.get() == [ONE, LARGE]
    assert thief.counters["peer_blob_timeouts"] == 1
    assert (thief.peers.open_links, unfinished(thief)) == (0, [])


def test_a_peer_that_failed_is_left_alone_for_a_while(thief: Thief, peer: ScriptedPeer) -> None:
    """Each further action that was stolen from it would wait for the time-out once more."""
    script, peer.script = peer.script, lambda get: None
    greenlet = thief.begin(peer.endpoint, ONE)
    thief.until(lambda: bool(peer.asked), peer)
    thief.now_s += LATE_S
    thief.until(greenlet.ready, peer)
    peer.script = script
    assert thief.fetch(peer, ONE) == [ONE]
    assert thief.counters["peer_blobs_not_asked"] == 1
    thief.now_s += PEER_BLOB_BACK_OFF_S
    assert thief.fetch(peer, ONE) == []


def test_nobody_listens_there(thief: Thief, peer: ScriptedPeer) -> None:
    peer.close()
    greenlet = thief.begin(peer.endpoint, ONE)
    thief.until(lambda: thief.peers.open_links == 1)
    thief.now_s += LATE_S
    thief.until(greenlet.ready)
    assert greenlet.get() == [ONE]


@pytest.mark.parametrize(
    "endpoint", ["nonsense", "", "inproc://monitor", "tcp://", "udp://127.0.0.1:1", "ipc://" + 200 * "x", "tcp://a:b"]
)
def test_an_endpoint_that_is_none_is_no_error(thief: Thief, endpoint: str) -> None:
    greenlet = thief.begin(endpoint, ONE)
    thief.until(greenlet.ready)
    assert greenlet.get() == [ONE]
    assert (thief.counters["peer_blob_errors"], thief.peers.open_links) == (1, 0)


def test_a_peer_that_dies_in_the_middle_leaves_nothing(thief: Thief, peer: ScriptedPeer) -> None:
    answered: list[Get] = []

    def dying(get: Get) -> list[bytes] | None:
        answered.append(get)
        return having({LARGE: LARGE_DATA})(get) if len(answered) < 3 else None

    peer.script = dying
    greenlet = thief.begin(peer.endpoint, LARGE, ONE)
    thief.until(lambda: bool(unfinished(thief)), peer)
    peer.close()
    thief.now_s += LATE_S
    thief.until(greenlet.ready)
    assert greenlet.get() == [LARGE, ONE]
    assert (thief.blobs.contains(LARGE), unfinished(thief)) == (False, [])


def test_a_slow_peer_that_stays_within_the_time_out_is_waited_for(thief: Thief, peer: ScriptedPeer) -> None:
    waiting: list[Get] = []
    quick = peer.script

    def slow(get: Get) -> list[bytes] | None:
        waiting.append(get)
        return None

    peer.script = slow
    greenlet = thief.begin(peer.endpoint, ONE)
    thief.until(lambda: bool(waiting), peer)
    thief.now_s += PEER_BLOB_TIMEOUT_S - 0.1
    thief.peers.step(thief.now_s)
    answer = quick(waiting[0])
    assert answer is not None
    peer.script = quick
    second = thief.begin(peer.endpoint, ONE, TWO)
    peer.send_last(answer)
    thief.until(lambda: greenlet.ready() and second.ready(), peer)
    assert (greenlet.get(), second.get()) == ([], [])
    assert peer.asked == [ONE, TWO], "two greenlets that want one blob share its transfer"
    assert "peer_blob_timeouts" not in thief.counters


def misnumbered(get: Get) -> list[bytes]:
    return reply(Parts(get.request + 1000, (), ()))


def another_kind(get: Get) -> list[bytes]:
    return reply(Missing(get.request, ()))


def too_short(get: Get) -> list[bytes]:
    return reply(Parts(get.request, (BlobPart(LARGE, 0, 5),), ()), LARGE_DATA[:5])


def unasked(get: Get) -> list[bytes]:
    return reply(Parts(get.request, (BlobPart(ONE, 0, 1),), ()), b"0")


def without_data(get: Get) -> list[bytes]:
    return reply(Parts(get.request, get.parts, ()))


def nonsense(_get: Get) -> list[bytes]:
    return [b"\xc1 nonsense"]


@pytest.mark.parametrize("script", [misnumbered, another_kind, too_short, unasked, without_data, nonsense])
def test_a_peer_that_breaks_the_protocol_is_given_up(thief: Thief, peer: ScriptedPeer, script: object) -> None:
    peer.script = script  # type: ignore[assignment]  # parametrize tells no types
    assert thief.fetch(peer, LARGE) == [LARGE]
    assert (thief.counters["peer_blob_errors"], thief.counters["peer_blobs_failed"]) == (1, 1)
    assert (thief.peers.open_links, unfinished(thief)) == (0, [])


def test_a_peer_that_leaves_out_what_was_asked_for_ends_the_fetch(thief: Thief, peer: ScriptedPeer) -> None:
    peer.script = lambda get: reply(Parts(get.request, (), ()))
    assert thief.fetch(peer, ONE, TWO) == [ONE, TWO]


def test_the_links_are_bounded_and_the_least_recently_used_makes_room(thief: Thief, context: Context) -> None:
    peers = [ScriptedPeer(context, having(SMALL)) for _ in range(PEER_BLOB_LINKS + 2)]
    digests = list(SMALL)
    for peer, digest in zip(peers, digests[: len(peers)], strict=True):
        assert thief.fetch(peer, digest) == []
        assert thief.peers.open_links <= PEER_BLOB_LINKS
    assert thief.peers.open_links == PEER_BLOB_LINKS
    for peer in peers:
        peer.script = lambda get: None
    busy = [thief.begin(peer.endpoint, digests[100 + number]) for number, peer in enumerate(peers)]
    thief.until(lambda: sum(greenlet.ready() for greenlet in busy) == 2, *peers)
    assert thief.peers.open_links == PEER_BLOB_LINKS
    assert thief.counters["peer_blobs_not_asked"] == 2, "the farm's store is there for these"
    thief.now_s += LATE_S
    thief.until(lambda: all(greenlet.ready() for greenlet in busy), *peers)
    for peer in peers:
        peer.close()


def test_a_link_that_nobody_uses_is_closed(thief: Thief, peer: ScriptedPeer) -> None:
    assert thief.fetch(peer, ONE) == []
    assert thief.peers.next_deadline_s() == thief.now_s + PEER_BLOB_IDLE_S
    thief.now_s += PEER_BLOB_IDLE_S
    thief.peers.step(thief.now_s)
    assert thief.peers.open_links == 0
    assert thief.fetch(peer, TWO) == [], "and opened again when it is wanted"


def test_what_comes_from_the_store_already_is_not_asked_of_a_peer(thief: Thief, peer: ScriptedPeer) -> None:
    from_store = gevent.spawn(thief.link.fetch, [ONE])
    gevent.sleep(0)
    greenlet = thief.begin(peer.endpoint, ONE, TWO)
    thief.until(lambda: thief.blobs.contains(TWO), peer)
    assert not greenlet.ready()
    answer_as_store(thief)
    thief.until(greenlet.ready, peer)
    assert (greenlet.get(), from_store.get(timeout=10)) == ([], None)
    assert peer.asked == [TWO]


def test_what_a_peer_could_not_give_is_asked_of_the_store_by_whoever_waits(thief: Thief, peer: ScriptedPeer) -> None:
    peer.script = having({TWO: SMALL[TWO]})
    greenlet = thief.begin(peer.endpoint, ONE, TWO)
    from_store = gevent.spawn(thief.link.fetch, [ONE, TWO])
    gevent.sleep(0)
    assert not list(thief.link.transfer.outgoing(0.0)), "it waits for the peer"
    thief.until(greenlet.ready, peer)
    assert greenlet.get() == [ONE]
    gevent.sleep(0)
    answer_as_store(thief)
    from_store.get(timeout=10)
    assert thief.blobs.read(ONE) == SMALL[ONE]


def test_a_store_that_fails_is_no_error_of_the_peers_fetch(thief: Thief, peer: ScriptedPeer) -> None:
    from_store = gevent.spawn(thief.link.fetch, [ONE])
    gevent.sleep(0)
    greenlet = thief.begin(peer.endpoint, ONE)
    list(thief.link.transfer.outgoing(0.0))
    thief.link.arrivals.fail(ONE, BlobMissing("not in the store"))
    assert greenlet.get(timeout=10) == [ONE]
    with pytest.raises(BlobMissing):
        from_store.get(timeout=10)


def test_who_waits_when_the_worker_ends_is_woken(thief: Thief, peer: ScriptedPeer) -> None:
    started = thief.begin(peer.endpoint, ONE)
    thief.peers.step(thief.now_s)
    ordered = thief.begin(peer.endpoint, TWO)
    thief.peers.close()
    assert (started.get(timeout=10), ordered.get(timeout=10)) == ([ONE], [TWO])
    assert thief.peers.fetch(peer.endpoint, [ONE]) == [ONE]


def answer_as_store(thief: Thief) -> None:
    (frames,) = thief.link.transfer.outgoing(0.0)
    get, _ = decode_to_store(frames)
    assert isinstance(get, Get)
    data = [SMALL[part.digest] for part in get.parts]
    thief.link.settle(thief.link.transfer.receive([encode_header(Parts(get.request, get.parts, ())), *data]))
