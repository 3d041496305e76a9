"""Links that are slow, lossy, cut, one-way or deaf, by the TCP fault proxy between peers and broker.

TCP keeps order and delivers once: below it, a lost or reordered packet is a stall, and that is what these scenarios
inflict. What a protocol would see without TCP's promises is in messages.py.
"""

from __future__ import annotations

from chaos.arena import Arena
from chaos.condition import BLACK_HOLE, CLEAR, Condition
from chaos.scenario import scenario
from chaos.workload import shell_actions

PEERS = ("worker-1", "worker-2", "client")


def spoil_all(arena: Arena, condition: Condition, *, count: int = 100, size_bytes: int = 0, for_s: float = 3.0) -> None:
    """A build during which every link is like that for a while; nobody may be declared lost for it."""
    farm = arena.start(workers=2, has_links=True, worker_timeout_s=12.0)
    build = arena.begin(arena.tree(shell_actions(arena.random, count, seconds=0.1, size_bytes=size_bytes)))
    arena.progress(5)
    arena.fault("links")
    for peer in PEERS:
        arena.links.set(peer, condition)
    arena.pause(for_s)
    at_s = arena.history.write("healed")
    arena.links.clear()
    arena.recovered(at_s)
    arena.end(build)
    if farm.broker is not None and "silent for" in farm.broker.log:
        arena.outcome.violations.append("a peer was declared lost for a slow link")
    arena.check()


@scenario("NetworkDelay")
def network_delay(arena: Arena) -> None:
    """Half a second more each way, on the links of one worker and the client."""
    arena.start(workers=2, has_links=True, worker_timeout_s=12.0)
    build = arena.begin(arena.tree(shell_actions(arena.random, 60, seconds=0.1)))
    arena.progress(5)
    arena.fault("delay")
    for peer in (arena.draw_worker(), "client"):
        arena.links.set(peer, Condition(delay_s=0.5))
    arena.end(build)
    arena.check()


@scenario("Latency")
def latency(arena: Arena) -> None:
    """200 ms each way on every link."""
    spoil_all(arena, Condition(delay_s=0.2))


@scenario("Jitter")
def jitter(arena: Arena) -> None:
    """0 to 300 ms, anew for each piece, on every link; order is kept, as TCP keeps it."""
    spoil_all(arena, Condition(jitter_s=0.3, piece_bytes=4096))


@scenario("PacketLoss")
def packet_loss(arena: Arena) -> None:
    """Loss as TCP shows it: a tenth of the pieces, and all behind them, wait 0.2 to 1 s for retransmission."""
    stall_s = arena.random.uniform(0.2, 1.0)
    spoil_all(arena, Condition(stall_chance=0.1, stall_s=stall_s, piece_bytes=1460))


@scenario("Bandwidth")
def bandwidth(arena: Arena) -> None:
    """1 Mbit/s in each direction of every link while outputs of 20 KB pass."""
    spoil_all(arena, Condition(bytes_per_s=125_000, piece_bytes=1460), count=60, size_bytes=20_000)


@scenario("Trickle")
def trickle(arena: Arena) -> None:
    """Every link passes a few bytes at a time: each message comes in many pieces."""
    spoil_all(arena, Condition(piece_bytes=arena.random.choice((1, 3, 7))))


@scenario("NetworkDrop")
def network_drop(arena: Arena) -> None:
    """Connections are reset (RST), those of one peer after the other, again and again."""
    arena.start(workers=2, has_links=True)
    build = arena.begin(arena.tree(shell_actions(arena.random, 80, seconds=0.15, size_bytes=5_000)))
    arena.progress(5)
    for number in range(6):
        peer = PEERS[number % 3] if arena.is_full else arena.random.choice(PEERS)
        at_s = arena.fault(f"reset of {peer}")
        arena.links.flicker(peer, CLEAR)
        arena.recovered(at_s)
    arena.end(build)
    arena.check()


@scenario("RandomResets")
def random_resets(arena: Arena) -> None:
    """One piece in a hundred resets its connection, on every link."""
    spoil_all(arena, Condition(reset_chance=0.01, piece_bytes=1460), for_s=4.0)


@scenario("BlackHole")
def black_hole(arena: Arena) -> None:
    """Everything to and from a worker vanishes, new connections too, for longer than the broker waits; then it ends."""
    farm = arena.start(workers=2, has_links=True, worker_timeout_s=6.0)
    build = arena.begin(arena.tree(shell_actions(arena.random, 60, seconds=0.3)))
    arena.progress(5)
    victim = arena.draw_worker()
    at_s = arena.fault(f"black hole round {victim}")
    arena.links.set(victim, BLACK_HOLE)
    arena.history.wait_for("requeue", 1, 120.0, at_s)
    arena.recovered(arena.history.first("requeue", at_s) or at_s)
    arena.links.clear()
    farm.await_workers(2)
    arena.end(build)
    arena.check()


@scenario("SplitBrain")
def split_brain(arena: Arena) -> None:
    """A worker that is cut off goes on with actions that another runs by then; its late results are fenced."""
    farm = arena.start(workers=2, has_links=True, worker_timeout_s=6.0)
    build = arena.begin(arena.tree(shell_actions(arena.random, 24, seconds=7.0 if arena.is_full else 2.0)))
    arena.history.wait_for("run", 4)
    victim = arena.draw_worker()
    at_s = arena.fault(f"{victim} cut off")
    arena.links.set(victim, BLACK_HOLE)
    arena.history.wait_for("requeue", 1, 120.0, at_s)
    lost = {each["action"] for each in arena.history.read() if each["event"] == "requeue"}
    arena.links.clear()
    arena.recovered(arena.history.write("healed"))
    farm.await_workers(2)
    arena.end(build)
    arena.check()
    arena.outcome.figures["fenced"] = farm.counter("fenced_results")
    again = {each["action"] for each in arena.history.read() if each["event"] == "grant" and each["attempt"] > 1}
    if not lost <= again:
        arena.outcome.violations.append(f"{len(lost - again)} actions of the lost side were not granted again")


@scenario("Asymmetric")
def asymmetric(arena: Arena) -> None:
    """One-way: first nothing reaches a worker and all it says is heard, then the other way round."""
    farm = arena.start(workers=2, has_links=True, worker_timeout_s=6.0)
    build = arena.begin(arena.tree(shell_actions(arena.random, 80, seconds=0.25)))
    arena.progress(5)
    for condition in (Condition(holds_down=True), Condition(holds_up=True)):
        victim = arena.draw_worker()
        at_s = arena.fault(f"one-way link of {victim}")
        arena.links.set(victim, condition)
        arena.pause(arena.random.uniform(1.0, 3.0))
        arena.recovered(at_s)
        arena.links.clear()
    farm.await_workers(2)
    arena.end(build)
    arena.check()


@scenario("HalfOpen")
def half_open(arena: Arena) -> None:
    """A worker is killed and its end of the connections is never heard of; silence gives it away."""
    farm = arena.start(workers=2, has_links=True, worker_timeout_s=6.0)
    build = arena.begin(arena.tree(shell_actions(arena.random, 60, seconds=0.2)))
    arena.progress(5)
    victim = arena.draw_worker()
    at_s = arena.fault(f"half-open links of {victim}")
    arena.links.set(victim, Condition(hides_close=True))
    farm.kill_worker(victim)
    arena.history.wait_for("requeue", 1, 120.0, at_s)
    arena.recovered(arena.history.first("requeue", at_s) or at_s)
    del farm.workers[victim]
    arena.links.clear()
    arena.end(build)
    arena.check()
