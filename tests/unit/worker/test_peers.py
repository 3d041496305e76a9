"""What a worker knows of the others, from whatever it is told."""

from __future__ import annotations

import math

import pytest

from tests.unit.worker.steal_driver import EPOCH, announcement, endpoint, response
from zbuild.limits import (
    ANNOUNCE_INTERVAL_S,
    ENDPOINT_BYTES,
    MAX_PEERS,
    PEER_QUIET_MAX_S,
    PEER_QUIET_MIN_S,
    PEER_STALE_S,
)
from zbuild.protocol.steal_messages import PeerAnnounce, PeerEntry, PeerLoad, PeerMetrics, StealResponse
from zbuild.worker.peers import Peer, PeerTable
from zbuild.worker.steal_strategy import Load

OWN = 1


def table(*worker_ids: int, now_s: float = 0.0) -> PeerTable:
    peers = PeerTable(OWN)
    peers.announced(announcement(*worker_ids), now_s)
    return peers


def peer_of(peers: PeerTable, worker_id: int) -> Peer:
    found = peers.get(worker_id)
    assert found is not None
    return found


def entry(worker_id: int, at: str, queue_depth: int = 9, load_factor: float = 0.5) -> PeerAnnounce:
    return PeerAnnounce(epoch=EPOCH, peers=(PeerEntry(worker_id, at, queue_depth, load_factor),))


def test_it_knows_everybody_but_itself() -> None:
    assert {peer.worker_id for peer in table(OWN, 2, 3)} == {2, 3}


@pytest.mark.parametrize("at", ["", "tcp://" + "x" * ENDPOINT_BYTES])
def test_whoever_cannot_be_reached_is_no_peer(at: str) -> None:
    peers = PeerTable(OWN)
    peers.announced(entry(2, at), 0.0)
    assert len(peers) == 0


def test_it_knows_no_more_than_the_bound_and_those_that_it_knows_stay() -> None:
    peers = table(*range(2, 2 + MAX_PEERS))
    peers.announced(announcement(99_999), 1.0)
    assert len(peers) == MAX_PEERS
    assert peers.get(99_999) is None
    peers.announced(announcement(2, queue_depth=4), 2.0)
    assert peer_of(peers, 2).load.queue_depth == 4


def test_one_that_announcements_leave_out_is_stale_in_time() -> None:
    peers = table(2, 3)
    stale: list[int] = []
    now_s = 0.0
    while not stale:
        now_s += ANNOUNCE_INTERVAL_S
        stale = peers.announced(announcement(3), now_s)
    assert (stale, peers.get(2)) == ([2], None)
    assert PEER_STALE_S < now_s <= PEER_STALE_S + ANNOUNCE_INTERVAL_S


def test_one_that_answers_is_not_stale() -> None:
    peers = table(2, 3)
    for step in range(1, 10):
        peer_of(peers, 2).answered(0.001, step * ANNOUNCE_INTERVAL_S)
        assert not peers.announced(announcement(3), step * ANNOUNCE_INTERVAL_S)


def test_nobody_is_stale_because_the_broker_was_silent() -> None:
    """Those that have not come back to it when it announces again have as long as always."""
    peers = table(2, 3)
    back_s = 10 * PEER_STALE_S
    assert len(peers.candidates(back_s, is_blind=True)) == 2
    assert not peers.announced(announcement(3), back_s)
    assert not peers.announced(announcement(3), back_s + PEER_STALE_S)
    assert peers.announced(announcement(3), back_s + PEER_STALE_S + 1) == [2]


def test_a_table_that_comes_in_parts_is_one_table() -> None:
    peers = PeerTable(OWN)
    for step in range(10):
        for part in (range(2, 30), range(30, 60)):
            assert not peers.announced(announcement(*part), step * ANNOUNCE_INTERVAL_S)
    assert len(peers) == 58


def test_another_tenant_of_an_id_starts_anew() -> None:
    peers = table(2)
    peer_of(peers, 2).timed_out(0.0)
    assert not peers.candidates(0.1, is_blind=True)
    peers.announced(entry(2, "tcp://10.0.0.9:9100"), 0.1)
    assert [peer.endpoint for peer in peers.candidates(0.1, is_blind=False)] == ["tcp://10.0.0.9:9100"]


def test_one_that_does_not_answer_is_left_alone_for_longer_each_time() -> None:
    peer = peer_of(table(2), 2)
    pauses = []
    for _ in range(10):
        peer.timed_out(100.0)
        pauses.append(peer.quiet_until_s - 100.0)
    assert pauses[:4] == [PEER_QUIET_MIN_S, 2 * PEER_QUIET_MIN_S, 4 * PEER_QUIET_MIN_S, 8 * PEER_QUIET_MIN_S]
    assert pauses[-1] == PEER_QUIET_MAX_S
    assert not peer.is_worth_asking(100.0)
    peer.answered(0.001, 101.0)
    assert peer.is_worth_asking(101.0)
    peer.timed_out(101.0)
    assert peer.quiet_until_s == 101.0 + PEER_QUIET_MIN_S


def test_the_round_trip_is_a_moving_average() -> None:
    peer = peer_of(table(2), 2)
    peer.answered(0.008, 1.0)
    assert peer.round_trip_s == 0.008
    peer.answered(0.016, 2.0)
    assert peer.round_trip_s == pytest.approx(0.009)


@pytest.mark.parametrize(
    ("queue_depth", "load_factor", "expected"),
    [
        (3, 0.25, Load(3, 0.25)),
        (-5, 0.5, Load(0, 0.5)),
        (3, math.nan, Load(3, 1.0)),
        (3, math.inf, Load(3, 1.0)),
        (3, -0.1, Load(3, 1.0)),
        (3, 7.0, Load(3, 1.0)),
    ],
)
def test_loads_that_cannot_be_are_taken_for_bad_ones(queue_depth: int, load_factor: float, expected: Load) -> None:
    peers = PeerTable(OWN)
    peers.announced(entry(2, endpoint(2), queue_depth, load_factor), 0.0)
    assert peer_of(peers, 2).load == expected


def test_whoever_is_not_among_the_longest_queues_has_none() -> None:
    peers = table(2, 3, 4)
    peers.measured(
        PeerMetrics(epoch=EPOCH, loads=(PeerLoad(3, 4, 0.5), PeerLoad(OWN, 9, 1.0), PeerLoad(99, 9, 1.0))), 0.0
    )
    assert [(peer.worker_id, peer.load.queue_depth) for peer in peers] == [(2, 0), (3, 4), (4, 0)]
    assert [peer.worker_id for peer in peers.candidates(0.0, is_blind=False)] == [3]
    assert len(peers.candidates(0.0, is_blind=True)) == 3


def test_a_queue_is_thought_to_last_as_long_as_its_worker_says() -> None:
    peers = table(2)
    peer = peer_of(peers, 2)
    peers.responded(peer, StealResponse(victim=2, thief=OWN, queue_depth=4, backlog_s=2.0), 10.0)
    assert peer.is_worth_asking(11.9)
    assert not peer.is_worth_asking(12.0)
    peers.measured(PeerMetrics(epoch=EPOCH, loads=(PeerLoad(2, 1, 0.5),)), 12.0)
    assert peer.is_worth_asking(12.0), "what the broker says is newer"


@pytest.mark.parametrize("backlog_s", [math.nan, math.inf, -1.0])
def test_a_backlog_that_cannot_be_is_not_known(backlog_s: float) -> None:
    peers = table(2)
    peer = peer_of(peers, 2)
    peers.responded(peer, StealResponse(victim=2, thief=OWN, queue_depth=4, backlog_s=backlog_s), 10.0)
    assert peer.backlog_ends_s == math.inf
    peers.responded(peer, response(victim=2), 10.0)
    assert peer.backlog_ends_s == 70.0


def test_a_queue_that_must_be_empty_by_now_is_not_asked_for() -> None:
    """By what actions take here: the worker that has it does not tell."""
    peers = PeerTable(OWN)
    peers.usual_s = 0.1
    peers.announced(announcement(2, queue_depth=4), 10.0)
    assert peers.candidates(10.0, is_blind=False)
    assert not peers.candidates(10.0 + 4 * 0.1 + 0.001, is_blind=False)
    assert peers.candidates(20.0, is_blind=True)


def test_one_that_is_forgotten_while_its_answer_is_on_the_way_stays_forgotten() -> None:
    peers = table(2, 3)
    peer = peer_of(peers, 2)
    for step in range(1, 5):
        peers.announced(announcement(3), step * ANNOUNCE_INTERVAL_S)
    peers.responded(peer, response(victim=2), 41.0)
    assert [each.worker_id for each in peers.candidates(41.0, is_blind=False)] == [3]
