"""What goes wrong in one simulation, drawn from its seed before it begins."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from random import Random

from zbuild.testing.network import CALM, Weather


class FaultKind(enum.Enum):
    """What can happen. Each names what it happens to."""

    WORKER_CRASH = "worker crash"
    WORKER_DRAIN = "worker drain"
    CLIENT_CRASH = "client crash"
    CLIENT_INTERRUPT = "client interrupt"
    WORKER_CUT = "worker's link cut"
    CLIENT_CUT = "client's link cut"
    WORKER_PARTITION = "worker's link held"
    CLIENT_PARTITION = "client's link held"
    ONE_WAY = "one direction of a worker's link held"
    FLAPPING = "worker's link up and down"
    SWIZZLE = "links held one after the other, and freed in another order"
    BROKER_RESTART = "broker restart"
    TWIN = "a second worker with the same worker id"
    BLOB_LOSS = "blob lost"
    DISK_FULL = "action cache full"


WEIGHTS = {
    FaultKind.WORKER_CRASH: 5,
    FaultKind.WORKER_DRAIN: 2,
    FaultKind.CLIENT_CRASH: 1,
    FaultKind.CLIENT_INTERRUPT: 1,
    FaultKind.WORKER_CUT: 4,
    FaultKind.CLIENT_CUT: 3,
    FaultKind.WORKER_PARTITION: 3,
    FaultKind.CLIENT_PARTITION: 2,
    FaultKind.ONE_WAY: 3,
    FaultKind.FLAPPING: 2,
    FaultKind.SWIZZLE: 1,
    FaultKind.BROKER_RESTART: 2,
    FaultKind.TWIN: 1,
    FaultKind.BLOB_LOSS: 4,
    FaultKind.DISK_FULL: 1,
}


SPIKES_S = (0.1, 2.0, 10.0, 30.0)
"""How late a message may be when the weather has spikes."""


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        target: which worker or client; taken modulo their number.
        for_s: how long it lasts, or until what has ended starts again.
        is_seen: whether the broker's transport notices; a machine that loses power is not seen.
    """

    at_s: float
    kind: FaultKind
    target: int
    for_s: float
    is_seen: bool


@dataclass(frozen=True)
class FaultPlan:
    """Everything that goes wrong.

    Attributes:
        until_s: when the last thing begins to go wrong.
        late_answers: workers whose answers about properties come late or not at all.
        flakiness: how likely a run fails for want of a sandbox.
    """

    until_s: float = 0.0
    weather: Weather = CALM
    faults: tuple[Fault, ...] = ()
    late_answers: frozenset[int] = field(default_factory=frozenset)
    flakiness: float = 0.0

    @property
    def is_empty(self) -> bool:
        return self == FaultPlan(until_s=self.until_s)

    @property
    def over_s(self) -> float:
        """When the last fault has ended; the farm must then recover."""
        return max([self.until_s, *(fault.at_s + fault.for_s for fault in self.faults)])

    def lines(self) -> list[str]:
        """For the reader of a story."""
        return [
            f"weather {self.weather} until {self.until_s:.1f} s, flakiness {self.flakiness:g}",
            f"late answers of workers {sorted(self.late_answers)}",
            *(f"{fault.at_s:10.4f}  {fault}" for fault in self.faults),
        ]


def draw_faults(random: Random, workers: int) -> FaultPlan:
    """A tenth of all simulations have none, so that nothing is excused by them."""
    until_s = random.uniform(10.0, 60.0)
    if random.random() < 0.1:
        return FaultPlan(until_s=until_s)
    kinds = list(WEIGHTS)
    weights = list(WEIGHTS.values())
    faults = [
        Fault(
            at_s=random.uniform(0.1, until_s),
            kind=random.choices(kinds, weights)[0],
            target=random.randrange(1000),
            for_s=random.choice((0.05, 0.5, 1.0, 3.0, 10.0, 25.0)),
            is_seen=random.random() < 0.7,
        )
        for _ in range(random.choice((0, 1, 2, 4, 8, 16)))
    ]
    return FaultPlan(
        until_s=until_s,
        weather=_draw_weather(random),
        faults=tuple(sorted(faults, key=lambda fault: fault.at_s)),
        late_answers=frozenset(number for number in range(workers) if random.random() < 0.2),
        flakiness=random.choice((0.0, 0.0, 0.02, 0.2)),
    )


def _draw_weather(random: Random) -> Weather:
    return Weather(
        drop=random.choice((0.0, 0.0, 0.0, 0.01, 0.05, 0.2)),
        duplicate=random.choice((0.0, 0.0, 0.0, 0.02, 0.1)),
        reorder=random.choice((0.0, 0.0, 0.0, 0.05, 0.2)),
        spike=random.choice((0.0, 0.0, 0.01, 0.1)),
        spike_s=random.choice(SPIKES_S),
        garble=random.choice((0.0, 0.0, 0.0, 0.02, 0.1)),
    )
