"""What the coordinator knows of one action in flight, and the table of its states."""

from __future__ import annotations

import enum

from zbuild.coordinator.journal import Loss
from zbuild.fsm import TransitionTable
from zbuild.model.action import ActionHeader, ActionId
from zbuild.protocol.messages import LeaseId


class ActionState(enum.Enum):
    """Where an action in flight is. One that is over has no record."""

    QUEUED = "queued"
    LEASED = "leased"
    OVER = "over"


class ActionEvent(enum.Enum):
    """What can happen to an action in flight. LOSE: its last lease is lost."""

    GRANT = "grant"
    COPY = "copy"
    LOSE = "lose"
    FINISH = "finish"
    ABANDON = "abandon"


ACTION_TABLE: TransitionTable[ActionState, ActionEvent] = TransitionTable(
    "action",
    {
        (ActionState.QUEUED, ActionEvent.GRANT): ActionState.LEASED,
        (ActionState.QUEUED, ActionEvent.FINISH): ActionState.OVER,
        (ActionState.QUEUED, ActionEvent.ABANDON): ActionState.OVER,
        (ActionState.LEASED, ActionEvent.COPY): ActionState.LEASED,
        (ActionState.LEASED, ActionEvent.LOSE): ActionState.QUEUED,
        (ActionState.LEASED, ActionEvent.FINISH): ActionState.OVER,
        (ActionState.LEASED, ActionEvent.ABANDON): ActionState.OVER,
    },
)

Waiter = tuple[bytes, int]
"""(routing id of the client, its build number)."""


ANOTHER = "another worker"
"""Stands for the name of a worker that a journal names by its id only."""


class Holding:
    """One lease of an action, and who holds it.

    Attributes:
        worker_id, incarnation: the process that it was granted to, as the journal names it.
        peer: that process's routing id; empty from a restart of the broker until it has come back.
        grant_sequence: the sequence of the Lease message that carried the grant.
        since_s: when it was granted, or stolen.
        hops: how often it has gone from worker to worker.
        stolen_from: the name of the worker that it was granted to, when that has it no more; or ANOTHER.
    """

    __slots__ = ("grant_sequence", "hops", "incarnation", "lease", "peer", "since_s", "stolen_from", "worker_id")

    def __init__(self, lease: LeaseId, worker_id: int, incarnation: int, peer: bytes, since_s: float) -> None:
        self.lease = lease
        self.worker_id = worker_id
        self.incarnation = incarnation
        self.peer = peer
        self.grant_sequence = 0
        self.since_s = since_s
        self.hops = 0
        self.stolen_from = ""


class ActionRecord:
    """One action that somebody waits for.

    Attributes:
        priority: the highest of its waiters'.
        owner: who asked for it first; its leases count as that build's.
        arrival: its place in the order of queueing, new each time.
        attempt: counts leases from 1; 0 before the first.
        holdings: attempt -> its lease, for those that are neither over nor fenced.
        losses: the attempts that have failed.
    """

    __slots__ = (
        "action",
        "arrival",
        "attempt",
        "body",
        "expected_s",
        "header",
        "holdings",
        "losses",
        "owner",
        "priority",
        "state",
        "waiters",
        "weight_s",
    )

    def __init__(
        self,
        action: ActionId,
        body: bytes,
        header: ActionHeader,
        owner: Waiter,
        priority: int,
        weight_s: float,
        expected_s: float,
    ) -> None:
        self.action = action
        self.body = body
        self.header = header
        self.owner = owner
        self.priority = priority
        self.weight_s = weight_s
        self.expected_s = expected_s
        self.state = ActionState.QUEUED
        self.waiters: set[Waiter] = {owner}
        self.arrival = 0
        self.attempt = 0
        self.holdings: dict[int, Holding] = {}
        self.losses: list[Loss] = []

    def apply(self, event: ActionEvent) -> None:
        """Take one step of ACTION_TABLE.

        Raises:
            IllegalTransition: a bug of the caller.
        """
        self.state = ACTION_TABLE.after(self.state, event)

    def held_under(self, lease: LeaseId, peer: bytes) -> Holding | None:
        """What ``peer`` holds under ``lease``, if that lease is not fenced. The only judge of leases."""
        holding = self.holdings.get(lease.attempt)
        return holding if holding is not None and holding.lease == lease and holding.peer == peer else None

    def holding_of(self, peer: bytes) -> Holding | None:
        """The lease that this worker has; it never has two of one action."""
        return next((holding for holding in self.holdings.values() if holding.peer == peer), None)

    def has_failed_on(self, worker_id: int) -> bool:
        return any(loss.worker_id == worker_id for loss in self.losses)
