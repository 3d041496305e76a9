"""A proxy between DEALERs and the broker's ROUTER that loses, doubles, swaps and garbles whole messages.

``python -m chaos.message_proxy SEED PORT TO_ENDPOINT``, driven through stdin as chaos/proxy.py is: {"listen": HOST,
"link": NAME} opens a link, {"link": NAME, "spoil": {...}} changes what becomes of its messages. TCP does none of this
within a connection; it is what a protocol must bear that promises to be level-triggered.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from random import Random

from zbuild.transport.loop import Context, Poller, Socket, drain, new_context
from zbuild.transport.router import Router
from zbuild.transport.sockets import control_dealer, control_router

TICK_S = 0.2
"""A message that is held back to be swapped with the next one goes on after this."""

Frames = list[bytes]


@dataclass(frozen=True)
class Spoil:
    """Chances, each message for itself."""

    loses: float = 0.0
    doubles: float = 0.0
    swaps: float = 0.0
    garbles: float = 0.0


class Direction:
    """One direction of one peer."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._held: list[Frames] = []

    def passed(self, frames: Frames, spoil: Spoil) -> list[Frames]:
        """What goes on in place of one message."""
        random = self._random
        if random.random() < spoil.loses:
            return []
        if random.random() < spoil.garbles:
            frames = [random.randbytes(len(frames[-1]) or 1)]
        if not self._held and random.random() < spoil.swaps:
            self._held.append(frames)
            return []
        out = [frames, *self.released()]
        if random.random() < spoil.doubles:
            out.append(frames)
        return out

    def released(self) -> list[Frames]:
        """What was held back."""
        held, self._held = self._held, []
        return held


class Peer:
    """A peer of a link: its way to the broker, which takes the proxy's socket for the peer's."""

    def __init__(self, context: Context, broker: str, random: Random) -> None:
        self.socket: Socket = control_dealer(context, broker)
        self.up = Direction(random)
        self.down = Direction(random)


class Link:
    """The control port of one address."""

    def __init__(self, context: Context, endpoint: str) -> None:
        self.router = Router(control_router(context, endpoint))
        self.peers: dict[bytes, Peer] = {}
        self.spoil = Spoil()


class MessageProxy:
    """All links of one process."""

    def __init__(self, seed: int, port: int, broker: str) -> None:
        self._context = new_context()
        self._random = Random(seed)
        self._port = port
        self._broker = broker
        self._links: dict[str, Link] = {}
        self._poller = Poller()
        self._commands = b""

    def run(self) -> None:
        """Carry messages until stdin is closed."""
        os.set_blocking(0, False)
        self._poller.register(0)
        while True:
            events = self._poller.wait(TICK_S)
            if 0 in events and not self._obey():
                return
            for link in self._links.values():
                self._carry(link, is_idle=not events)

    def _obey(self) -> bool:
        data = os.read(0, 65_536)
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if "spoil" in command:
                self._links[command["link"]].spoil = Spoil(**command["spoil"])
            else:
                link = Link(self._context, f"tcp://{command['listen']}:{self._port}")
                link.router.register(self._poller)
                self._links[command["link"]] = link
            print("ok", flush=True)
        return bool(data)

    def _carry(self, link: Link, *, is_idle: bool) -> None:
        messages, gone = link.router.receive()
        for peer_id, frames in messages:
            peer = link.peers.get(peer_id)
            if peer is None:
                peer = link.peers[peer_id] = Peer(self._context, self._broker, self._random)
                self._poller.register(peer.socket)
            for each in peer.up.passed(frames, link.spoil):
                peer.socket.send_multipart(each)
        for peer_id, peer in link.peers.items():
            for frames in drain(peer.socket):
                for each in peer.down.passed(frames, link.spoil):
                    link.router.send(peer_id, each)
            if is_idle:
                for each in peer.up.released():
                    peer.socket.send_multipart(each)
                for each in peer.down.released():
                    link.router.send(peer_id, each)
        for peer_id in gone:
            left = link.peers.pop(peer_id, None)
            if left is not None:
                self._poller.unregister(left.socket)
                left.socket.close(0)


if __name__ == "__main__":
    MessageProxy(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]).run()
