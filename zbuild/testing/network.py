"""The links between the broker and its peers: slow, lossy, cut and mended, as the seed says.

A link is what a DEALER has to a ROUTER: what the peer sends while the link is down waits for it to
come up again; what the broker sends meanwhile is lost. Messages of one direction stay in order
unless a fault reorders them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from zbuild.testing.clock import Clock
from zbuild.testing.story import Story

LATENCY_S = (0.0001, 0.002)
"""A message on a LAN, shells included."""

NOTICE_S = 0.003
"""A closed connection is seen this soon: kill -9 was measured to be noticed after 2.8 ms."""

NOISE = b"\xc1"
"""What a garbled message becomes: the one byte that begins nothing in MessagePack."""

PROBE = b""
"""What ZMQ_PROBE_ROUTER has a DEALER send whenever its link comes up."""


@dataclass(frozen=True)
class Weather:
    """How likely one message is lost, comes twice, overtakes another, becomes noise, or takes up to ``spike_s``."""

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    spike: float = 0.0
    spike_s: float = 0.0
    garble: float = 0.0


CALM = Weather()


class Link:
    """One peer's connection, for as long as its process lives."""

    def __init__(self, network: Network, peer: bytes, name: str, deliver: Callable[[bytes], None]) -> None:
        self.peer = peer
        self.name = name
        self.deliver = deliver
        self.is_up = network.is_broker_up
        self.is_closed = False
        self.subscriber: Callable[[bytes], None] | None = None
        self.connection = 0
        self.held_until_s = {True: 0.0, False: 0.0}
        self.waiting: list[bytes] = []
        self.last_arrival_s = {True: 0.0, False: 0.0}
        self._network = network

    def send(self, data: bytes) -> None:
        """From the peer to the broker."""
        if self.is_up:
            self._network.transmit(self, data, is_upward=True)
        else:
            self.waiting.append(data)


@dataclass(frozen=True)
class Answering:
    """A worker that answers its peers. ``answer``: takes a question, gives the answer at once, as REP must."""

    link: Link
    answer: Callable[[bytes], bytes]


class Network:
    """All links.

    Args:
        receive: takes a message that has reached the broker.
        notice: told of a peer whose connection the broker has seen closing.
    """

    def __init__(
        self,
        clock: Clock,
        random: Random,
        story: Story,
        receive: Callable[[bytes, bytes], None],
        notice: Callable[[bytes], None],
    ) -> None:
        self.weather = CALM
        self.is_broker_up = True
        self.links: dict[bytes, Link] = {}
        self.answering: dict[str, Answering] = {}
        self._clock = clock
        self._random = random
        self._story = story
        self._receive = receive
        self._notice = notice

    def connect(self, name: str, deliver: Callable[[bytes], None]) -> Link:
        """A link under a fresh routing id, as each start of a process draws one."""
        peer = self._random.randbytes(5)
        self._story.names[peer] = f"<{name}>"
        link = self.links[peer] = Link(self, peer, name, deliver)
        if link.is_up:
            self.transmit(link, PROBE, is_upward=True)
        return link

    def send_to_peer(self, peer: bytes, data: bytes) -> None:
        """From the broker. To a peer that is not connected: lost, as ROUTER_MANDATORY reports."""
        link = self.links.get(peer)
        if link is not None and link.is_up:
            self.transmit(link, data, is_upward=False)

    def transmit(self, link: Link, data: bytes, *, is_upward: bool) -> None:
        """Put a message on the way, or lose it."""
        weather, random = self.weather, self._random
        if weather is not CALM:
            if random.random() < weather.drop:
                self._story.tell(self._clock.now_s, link.name, "lost", (is_upward, data))
                return
            if weather.garble and random.random() < weather.garble:
                self._story.tell(self._clock.now_s, link.name, "garbled", (is_upward, data))
                data = NOISE
            if random.random() < weather.duplicate:
                self._schedule(link, data, is_upward, random.uniform(0.0, 1.0))
        delay_s = random.uniform(*LATENCY_S)
        if weather is not CALM and random.random() < weather.spike:
            delay_s += random.uniform(0.0, weather.spike_s)
        arrival_s = max(self._clock.now_s, link.held_until_s[is_upward]) + delay_s
        if weather is CALM or random.random() >= weather.reorder:
            arrival_s = link.last_arrival_s[is_upward] = max(arrival_s, link.last_arrival_s[is_upward])
        self._schedule(link, data, is_upward, arrival_s - self._clock.now_s)

    def publish(self, data: bytes) -> None:
        """From the broker, over PUB/SUB, to every peer that is connected."""
        for link in list(self.links.values()):
            if link.is_up and not link.is_closed and link.subscriber is not None:
                for delay_s in self._peer_delays([link]):
                    self._clock.call_later(delay_s, partial(link.subscriber, data))

    def ask(self, link: Link, endpoint: str, data: bytes, take: Callable[[bytes], None]) -> None:
        """From one worker to the one that answers at ``endpoint``, and the answer back to ``take``.

        Either may be lost, come twice or late; a link that is held keeps what its worker says to its peers, too.
        """
        for delay_s in self._peer_delays([link]):
            self._clock.call_later(delay_s, partial(self._put_question, link, endpoint, data, take))

    def _put_question(self, link: Link, endpoint: str, data: bytes, take: Callable[[bytes], None]) -> None:
        answering = self.answering.get(endpoint)
        if answering is not None and not answering.link.is_closed:
            answer = answering.answer(data)
            for delay_s in self._peer_delays([answering.link, link]):
                self._clock.call_later(delay_s, partial(take, answer))

    def _peer_delays(self, links: list[Link]) -> list[float]:
        """When each copy of one message arrives; none for a lost one."""
        weather, random = self.weather, self._random
        held_s = max(0.0, *(until_s - self._clock.now_s for link in links for until_s in link.held_until_s.values()))
        delays = [held_s + random.uniform(*LATENCY_S)]
        if weather is not CALM:
            if random.random() < weather.drop:
                return []
            if random.random() < weather.spike:
                delays[0] += random.uniform(0.0, weather.spike_s)
            if random.random() < weather.duplicate:
                delays.append(delays[0] + random.uniform(0.0, 1.0))
        return delays

    def hold(self, link: Link, until_s: float, directions: tuple[bool, ...] = (True, False)) -> None:
        """A partition that nobody sees: what is sent from now on arrives after it.

        ``directions``: True for what goes up to the broker, False for what comes down from it.
        """
        for is_upward in directions:
            link.held_until_s[is_upward] = max(link.held_until_s[is_upward], until_s)

    def cut(self, link: Link, *, down_s: float, is_seen: bool) -> None:
        """Break the connection; what was on the way is lost. The peer connects again under the same routing id."""
        if link.is_closed or not link.is_up:
            return
        self._drop_connection(link)
        if is_seen:
            self._clock.call_later(NOTICE_S, partial(self._notice, link.peer))
        self._clock.call_later(NOTICE_S + down_s, partial(self._mend, link, link.connection))

    def close(self, link: Link, *, is_orderly: bool, is_seen: bool) -> None:
        """The peer's process has ended. In order: what it sent still arrives. Not seen: its machine went, too."""
        link.is_closed = True
        link.is_up = False
        if not is_orderly:
            link.connection += 1
        if is_seen:
            at_s = max(self._clock.now_s, link.last_arrival_s[True] if is_orderly else 0.0) + NOTICE_S
            self._clock.call_at(at_s, partial(self._notice, link.peer))

    def broker_went(self) -> None:
        """The broker's process has ended: every connection is broken."""
        self.is_broker_up = False
        for link in self.links.values():
            if not link.is_closed:
                self._drop_connection(link)

    def broker_came(self) -> None:
        """A broker listens again, and the peers find it one after the other."""
        self.is_broker_up = True
        for link in self.links.values():
            if not link.is_closed:
                delay_s = self._random.uniform(0.0, 0.3)
                self._clock.call_later(delay_s, partial(self._mend, link, link.connection))

    def _drop_connection(self, link: Link) -> None:
        link.is_up = False
        link.connection += 1
        link.last_arrival_s = {True: 0.0, False: 0.0}

    def _mend(self, link: Link, connection: int) -> None:
        if link.is_closed or link.is_up or link.connection != connection or not self.is_broker_up:
            return
        link.is_up = True
        self.transmit(link, PROBE, is_upward=True)
        waiting, link.waiting = link.waiting, []
        for data in waiting:
            self.transmit(link, data, is_upward=True)

    def _schedule(self, link: Link, data: bytes, is_upward: bool, delay_s: float) -> None:
        self._clock.call_later(delay_s, partial(self._arrive, link, link.connection, data, is_upward))

    def _arrive(self, link: Link, connection: int, data: bytes, is_upward: bool) -> None:
        if link.connection != connection:
            return
        if is_upward:
            self._receive(link.peer, data)
        elif not link.is_closed:
            link.deliver(data)
