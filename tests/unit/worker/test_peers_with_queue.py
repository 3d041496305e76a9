"""Which peers are worth asking is kept up to date: it is what a look at all of them would find."""

from __future__ import annotations

from random import Random

from zbuild.protocol.steal_messages import PeerAnnounce, PeerEntry, PeerLoad, PeerMetrics, StealResponse
from zbuild.worker.peers import PeerTable

OWN_ID = 1


def test_the_candidates_are_those_that_a_look_at_all_peers_finds() -> None:
    random = Random(5)
    table = PeerTable(OWN_ID)
    former = []
    now_s = 0.0
    for _ in range(2000):
        now_s += random.uniform(0.0, 4.0)
        table.usual_s = random.choice((0.0, 3.0))
        some = random.sample(range(1, 30), random.randint(0, 6))
        match random.choice(("announced", "measured", "responded", "timed out")):
            case "announced":
                entries = [
                    PeerEntry(each, f"tcp://w{each}:{random.randint(1, 3)}", random.randint(-1, 2), 0.5)
                    for each in some
                ]
                table.announced(PeerAnnounce(epoch=1, peers=tuple(entries)), now_s)
                former += list(table)
            case "measured":
                loads = [PeerLoad(each, random.randint(-1, 2), 2.0) for each in some]
                table.measured(PeerMetrics(epoch=1, loads=tuple(loads)), now_s)
            case "responded" if former:
                # It may have been forgotten, or have come back elsewhere, since it was asked.
                answer = StealResponse(
                    victim=2, thief=OWN_ID, queue_depth=random.randint(0, 2), backlog_s=random.uniform(0, 3)
                )
                table.responded(random.choice(former[-40:]), answer, now_s)
            case "timed out" if former:
                random.choice(former[-40:]).timed_out(now_s)
        found = [peer for peer in table if peer.is_worth_asking(now_s)]
        assert sorted(map(id, table.candidates(now_s, is_blind=False))) == sorted(map(id, found))
