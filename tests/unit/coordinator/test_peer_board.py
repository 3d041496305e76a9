"""What the broker publishes of its workers, how large it is, and when."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.unit.coordinator.driver import EPOCH, Farm
from zbuild.coordinator.health import HealthRecords
from zbuild.coordinator.peer_board import PeerBoard, is_reachable
from zbuild.coordinator.registry import WorkerSession
from zbuild.limits import (
    ANNOUNCE_AGAIN_S,
    ANNOUNCE_INTERVAL_S,
    ANNOUNCE_SOON_S,
    ANNOUNCEMENT_BYTES,
    ENDPOINT_BYTES,
    MAX_PEERS,
    METRICS_INTERVAL_S,
    METRICS_PEERS,
)
from zbuild.protocol.codec import announcement, encode
from zbuild.protocol.effects import Publish
from zbuild.protocol.messages import PROTOCOL_VERSION, HeartBeat, Hello, Refused, Role, WorkerState
from zbuild.protocol.steal_messages import Announcement, PeerAnnounce, PeerMetrics

LARGEST_ID = 2**64 - 1


def session(worker_id: int, endpoint: str = "", queue: int = 0, slots: int = 1) -> WorkerSession:
    """A worker of whose leases ``queue`` wait."""
    hello = Hello(
        protocol_version=PROTOCOL_VERSION,
        role=Role.WORKER,
        name="w",
        incarnation=1,
        worker_id=worker_id,
        slots=slots,
        queue_limit=256,
        steal_endpoint=endpoint or f"tcp://10.0.0.1:{worker_id % 60_000}",
    )
    worker = WorkerSession(str(worker_id).encode(), hello, HealthRecords().of(worker_id), 30.0, 0.0)
    for number in range(queue + slots if queue else 0):
        worker.hold(number.to_bytes(32, "big"))
    return worker


def announcements(found: Iterable[Announcement]) -> list[PeerAnnounce]:
    return [each for each in found if isinstance(each, PeerAnnounce)]


def metrics(found: Iterable[Announcement]) -> list[PeerMetrics]:
    return [each for each in found if isinstance(each, PeerMetrics)]


@pytest.mark.parametrize("endpoint", ["tcp://1.2.3.4:9100", "ipc://" + "x" * (ENDPOINT_BYTES - 6)])
def test_announcements_are_below_the_bound_and_name_everybody_once(endpoint: str) -> None:
    workers = [session(LARGEST_ID - number, endpoint, queue=255) for number in range(MAX_PEERS)]
    found = announcements(PeerBoard(EPOCH, 0.0).due(workers, ANNOUNCE_INTERVAL_S))
    assert max(len(encode(each)) for each in found) < ANNOUNCEMENT_BYTES
    assert sum(len(each.peers) for each in found) == MAX_PEERS
    assert {entry.worker_id for each in found for entry in each.peers} == {worker.worker_id for worker in workers}
    assert all(announcement.decode(encode(each)) == each for each in found)


def test_metrics_are_below_the_bound_and_name_the_longest_queues() -> None:
    workers = [session(LARGEST_ID - number, queue=1 + number % 250) for number in range(MAX_PEERS)]
    (found,) = metrics(PeerBoard(EPOCH, 0.0).due(workers, 0.0))
    assert len(encode(found)) < ANNOUNCEMENT_BYTES
    assert len(found.loads) == METRICS_PEERS
    assert min(load.queue_depth for load in found.loads) > 230


def test_a_worker_that_has_come_is_announced_soon_and_those_that_come_together_together() -> None:
    board = PeerBoard(EPOCH, 0.0)
    workers = [session(1)]
    board.worker_came(3.0)
    workers.append(session(2))
    board.worker_came(3.0 + ANNOUNCE_SOON_S / 2)
    assert not announcements(board.due(workers, 3.0 + ANNOUNCE_SOON_S - 0.01))
    (found,) = announcements(board.due(workers, 3.0 + ANNOUNCE_SOON_S))
    assert [entry.worker_id for entry in found.peers] == [1, 2]
    assert not announcements(board.due(workers, 3.0 + ANNOUNCE_AGAIN_S))


def test_what_a_worker_that_has_come_may_have_missed_is_announced_again() -> None:
    """What is published before its subscription has arrived, it never hears."""
    board = PeerBoard(EPOCH, 0.0)
    workers = [session(1), session(2)]
    board.worker_came(5.0)
    heard = [at_s / 10 for at_s in range(50, 200) if announcements(board.due(workers, at_s / 10))]
    assert heard == [5.0 + ANNOUNCE_SOON_S, 5.0 + ANNOUNCE_AGAIN_S, 5.0 + ANNOUNCE_AGAIN_S + ANNOUNCE_INTERVAL_S]


def test_metrics_come_only_while_there_are_queues_and_once_more_after_that() -> None:
    board = PeerBoard(EPOCH, 0.0)
    busy, idle = session(1, queue=3), session(2)
    now_s = 0.0
    found = []
    for workers in ([idle], [busy, idle], [busy, idle], [idle], [idle]):
        found.append(metrics(board.due(workers, now_s)))
        now_s += METRICS_INTERVAL_S
    assert [len(each) for each in found] == [0, 1, 1, 1, 0]
    assert [load.worker_id for load in found[1][0].loads] == [1]
    assert found[3][0].loads == ()


def test_nobody_is_sent_to_a_worker_that_drains_or_is_away() -> None:
    board = PeerBoard(EPOCH, 0.0)
    draining, away = session(1, queue=3), session(2, queue=3)
    draining.is_draining, away.away_since_s = True, 0.0
    assert not metrics(board.due([draining, away], 0.0))


def test_a_worker_that_nobody_can_reach_is_not_published() -> None:
    alone = session(1, queue=3)
    alone.steal_endpoint = ""
    assert PeerBoard(EPOCH, 0.0).due([alone], ANNOUNCE_INTERVAL_S) == []


@pytest.mark.parametrize(
    ("endpoint", "is_good"),
    [
        ("tcp://10.0.0.1:9100", True),
        ("ipc:///run/steal-1", True),
        ("inproc://worker", False),
        ("pgm://eth0;239.1.1.1:5555", False),
        ("10.0.0.1:9100", False),
        ("tcp://" + "é" * (ENDPOINT_BYTES // 2), False),
        ("tcp://" + "x" * (ENDPOINT_BYTES - 6), True),
        ("tcp://" + "x" * (ENDPOINT_BYTES - 5), False),
    ],
)
def test_endpoints_that_may_be_announced(endpoint: str, is_good: bool) -> None:
    assert is_reachable(endpoint) == is_good


def test_a_worker_whose_endpoint_is_none_is_refused() -> None:
    farm = Farm()
    hello = Hello(
        protocol_version=PROTOCOL_VERSION, role=Role.WORKER, name="w", incarnation=1, worker_id=1, slots=1,
        queue_limit=1, steal_endpoint="inproc://x",
    )  # fmt: skip  # nine lines say no more
    (refusal,) = farm.receive(b"w", hello)
    assert isinstance(refusal.message, Refused)
    assert "inproc://x" in refusal.message.message


def test_the_broker_publishes_with_its_ticks_by_its_own_books_before_a_heartbeat() -> None:
    farm = Farm()
    hello = Hello(
        protocol_version=PROTOCOL_VERSION, role=Role.WORKER, name="w", incarnation=1, worker_id=1, slots=2,
        queue_limit=10, sandbox="hermetic", platform=(("os", "linux"),), steal_endpoint="tcp://10.0.0.1:9100",
    )  # fmt: skip  # nine lines say no more
    farm.receive(b"w1", hello)
    farm.core.tick(ANNOUNCE_SOON_S)
    (published,) = [each.message for each in farm.core.dispatch(ANNOUNCE_SOON_S) if isinstance(each, Publish)]
    assert isinstance(published, PeerAnnounce)
    assert [(entry.endpoint, entry.load_factor) for entry in published.peers] == [("tcp://10.0.0.1:9100", 0.0)]
    beat = HeartBeat(
        worker_id=1, incarnation=1, sequence=1, state=WorkerState.IDLE, queue_depth=0, active_actions=0,
        cpu_usage=0.1, memory_usage=0.1, disk_usage=0.1, load_factor=0.75,
    )  # fmt: skip  # eleven lines say no more
    farm.core.receive_heartbeat(beat)
    farm.core.tick(2 * ANNOUNCE_INTERVAL_S)
    published = next(each.message for each in farm.core.dispatch(20.0) if isinstance(each, Publish))
    assert isinstance(published, PeerAnnounce)
    assert published.peers[0].load_factor == 0.75
