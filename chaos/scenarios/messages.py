"""Control messages that are lost, doubled, swapped or garbled, by a proxy between the DEALERs and the ROUTER.

Within a connection TCP does none of this. Across reconnections a message may be lost or sent again, and the promise
is that each costs an interval and nothing else; so it is tried at the level of messages, where the chances are ours.
"""

from __future__ import annotations

from chaos.arena import Arena
from chaos.condition import Condition
from chaos.scenario import scenario
from chaos.workload import shell_actions

PEERS = ("worker-1", "worker-2", "client")


def spoil_messages(arena: Arena, *peers: str, **chances: float) -> None:
    """A build during which control messages of ``peers``, or of all, suffer with these chances, both ways."""
    arena.start(workers=2, has_links=True, has_messages=True, worker_timeout_s=12.0)
    build = arena.begin(arena.tree(shell_actions(arena.random, 100, seconds=0.05)))
    arena.progress(5)
    for peer in peers or PEERS:
        arena.fault(f"messages of {peer}")
        arena.links.spoil(peer, **chances)
    arena.pause(8.0 if arena.is_full else 4.0)
    at_s = arena.history.write("healed")
    arena.links.clear()
    arena.recovered(at_s)
    arena.end(build)
    arena.check()


@scenario("Reordering")
def reordering(arena: Arena) -> None:
    """A quarter of all control messages overtakes the one before it."""
    spoil_messages(arena, swaps=0.25)


@scenario("Duplication")
def duplication(arena: Arena) -> None:
    """A third of all control messages comes twice."""
    spoil_messages(arena, doubles=0.33)


@scenario("MessageLoss")
def message_loss(arena: Arena) -> None:
    """A twentieth of all control messages vanishes."""
    spoil_messages(arena, loses=0.05)


@scenario("Corruption")
def corruption(arena: Arena) -> None:
    """Control messages become noise that does not decode, and bits of blobs flip on the way, past TCP's checksum.

    A flipped bit that leaves a control message well-formed is not noticed: only authentication can do that.
    """
    arena.start(workers=2, has_links=True, has_messages=True, worker_timeout_s=12.0)
    build = arena.begin(arena.tree(shell_actions(arena.random, 100, seconds=0.05, size_bytes=3000)))
    arena.progress(5)
    for peer in PEERS:
        arena.fault(f"noise on the links of {peer}")
        arena.links.spoil(peer, garbles=0.05)
        arena.links.set(peer, Condition(flip_chance=0.02, piece_bytes=1460))
    arena.pause(4.0)
    at_s = arena.history.write("healed")
    arena.links.clear()
    arena.recovered(at_s)
    arena.end(build)
    arena.check()
