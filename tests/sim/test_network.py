"""The simulated network and clock themselves: what they promise the nodes, and what the faults take away."""

from __future__ import annotations

from random import Random

from zbuild.testing.clock import Clock
from zbuild.testing.network import CALM, PROBE, Network, Weather
from zbuild.testing.story import Story


class Wires:
    """A network with one peer; what arrives is kept as (instant, bytes)."""

    def __init__(self, weather: Weather = CALM) -> None:
        self.clock = Clock()
        self.at_broker: list[tuple[float, bytes]] = []
        self.at_peer: list[bytes] = []
        self.gone: list[bytes] = []
        self.network = Network(
            self.clock,
            Random(1),
            Story(),
            lambda _peer, data: self.at_broker.append((self.clock.now_s, data)) if data != PROBE else None,
            self.gone.append,
        )
        self.network.weather = weather
        self.link = self.network.connect("p", self.at_peer.append)

    def run(self, until_s: float) -> None:
        while self.clock.advance(until_s):
            continue

    def received(self) -> list[bytes]:
        return [data for _, data in self.at_broker]


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_calls_are_made_in_the_order_of_their_instants() -> None:
    clock = Clock()
    made: list[str] = []
    clock.call_at(2.0, lambda: made.append(f"late at {clock.now_s}"))
    clock.call_later(1.0, lambda: made.append(f"early at {clock.now_s}"))
    clock.call_later(1.0, lambda: made.append("early, too"))
    clock.call_at(-5.0, lambda: made.append(f"past at {clock.now_s}"))
    while clock.advance(1.5):
        continue
    assert made == ["past at 0.0", "early at 1.0", "early, too"]
    assert clock.now_s == 1.5


def test_in_calm_weather_everything_arrives_once_and_in_order() -> None:
    wires = Wires()
    for data in numbered(200):
        wires.link.send(data)
        wires.network.send_to_peer(wires.link.peer, data)
    wires.run(1.0)
    assert wires.received() == wires.at_peer == numbered(200)
    assert wires.at_broker[0][0] > 0.0


def test_each_kind_of_weather_does_what_it_says() -> None:
    lossy, doubling, mixing = Wires(Weather(drop=0.5)), Wires(Weather(duplicate=0.5)), Wires(Weather(reorder=0.5))
    slow = Wires(Weather(spike=1.0, spike_s=9.0))
    for wires in (lossy, doubling, mixing, slow):
        for data in numbered(200):
            wires.link.send(data)
        wires.run(100.0)
    assert 50 < len(lossy.received()) < 150
    assert len(doubling.received()) > 250
    assert set(doubling.received()) == set(numbered(200))
    assert mixing.received() != numbered(200)
    assert sorted(mixing.received()) == sorted(numbered(200))
    assert slow.received() == numbered(200)
    assert slow.at_broker[-1][0] > 5.0


def test_a_cut_link_loses_what_is_on_its_way_and_keeps_what_the_peer_sends_meanwhile() -> None:
    wires = Wires()
    wires.link.send(b"on its way")
    wires.network.cut(wires.link, down_s=1.0, is_seen=True)
    wires.link.send(b"queued")
    wires.network.send_to_peer(wires.link.peer, b"to nobody")
    wires.run(0.5)
    assert (wires.gone, wires.received()) == ([wires.link.peer], [])
    wires.run(2.0)
    assert wires.received() == [b"queued"]
    assert wires.at_peer == []


def test_a_cut_that_is_not_seen_is_not_told() -> None:
    wires = Wires()
    wires.network.cut(wires.link, down_s=1.0, is_seen=False)
    wires.run(2.0)
    assert wires.gone == []
    assert wires.link.is_up


def test_a_held_link_delivers_after_the_partition() -> None:
    wires = Wires()
    wires.network.hold(wires.link, 5.0)
    wires.link.send(b"late")
    wires.run(4.9)
    assert wires.received() == []
    wires.run(5.1)
    assert wires.received() == [b"late"]


def test_a_process_that_ends_in_order_is_heard_to_the_end() -> None:
    wires = Wires()
    wires.link.send(b"goodbye")
    wires.network.close(wires.link, is_orderly=True, is_seen=True)
    wires.network.send_to_peer(wires.link.peer, b"too late")
    wires.run(1.0)
    assert (wires.received(), wires.at_peer, wires.gone) == ([b"goodbye"], [], [wires.link.peer])


def test_a_killed_process_is_not() -> None:
    wires = Wires()
    wires.link.send(b"lost")
    wires.network.close(wires.link, is_orderly=False, is_seen=True)
    wires.run(1.0)
    assert (wires.received(), wires.gone) == ([], [wires.link.peer])


def test_peers_find_a_broker_that_comes_back() -> None:
    wires = Wires()
    wires.network.broker_went()
    wires.link.send(b"queued")
    wires.run(1.0)
    assert wires.received() == []
    wires.network.broker_came()
    wires.run(2.0)
    assert wires.received() == [b"queued"]


def test_a_story_is_hashed_by_what_happened_and_told_by_name() -> None:
    def told(*events: tuple[float, str, bytes]) -> Story:
        story = Story()
        story.names[b"\x01" * 32] = "a01"
        for at_s, what, data in events:
            story.tell(at_s, "w1", what, data, data)
        return story

    events = [(1.0, "runs", b"\x01" * 32), (2.0, "fault", b""), (3.0, "runs", b"\x02" * 32)]
    assert told(*events).trace_hash() == told(*events).trace_hash()
    assert told(*events).trace_hash() != told(*events[:2]).trace_hash()
    assert told(*events).trace_hash() != told((1.5, *events[0][1:]), *events[1:]).trace_hash()
    lines = list(told(*events).lines(b"\x01" * 32))
    assert len(lines) == 2
    assert "a01" in lines[0]
    assert len(list(told(*events).lines())) == 3
