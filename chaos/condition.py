"""What a link of the fault proxy does to the bytes that pass."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Condition:
    """One link, both directions alike unless said otherwise. ``up`` is from the peer to the broker.

    Attributes:
        delay_s, jitter_s: each piece arrives so much later, plus up to ``jitter_s``; order is kept, as TCP keeps it.
        stall_chance, stall_s: a lost segment as TCP shows it: everything behind it waits for the retransmission.
        reset_chance: the connection is reset (RST) when a piece comes.
        bytes_per_s: bandwidth of each direction; 0 for no bound.
        piece_bytes: bytes are passed on in pieces of this size.
        flip_chance: one bit of a piece is flipped, in spite of TCP's checksum.
        holds_up, holds_down: nothing passes that way; it waits, as in a link that is down or one-way.
        is_deaf: new connections are accepted and never go on.
        refuses: new connections are reset, and those that exist.
        hides_close: when one side closes, the other is not told: a half-open connection.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    stall_chance: float = 0.0
    stall_s: float = 0.0
    reset_chance: float = 0.0
    bytes_per_s: int = 0
    piece_bytes: int = 65_536
    flip_chance: float = 0.0
    holds_up: bool = False
    holds_down: bool = False
    is_deaf: bool = False
    refuses: bool = False
    hides_close: bool = False

    def to_json(self) -> str:
        return json.dumps({name: value for name, value in asdict(self).items() if value != getattr(CLEAR, name)})


CLEAR = Condition()

BLACK_HOLE = Condition(holds_up=True, holds_down=True, is_deaf=True)
