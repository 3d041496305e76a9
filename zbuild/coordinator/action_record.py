"""What the coordinator knows of one action in flight, and the table of its states."""

from __future__ import annotations

import enum

from zbuild.fsm import TransitionTable
from zbuild.model.action import ActionHeader, ActionId
from zbuild.protocol.messages import LeaseId


class ActionState(enum.Enum):
    """Where an action in flight is. One that is over has no record."""

    QUEUED = "queued"
    LEASED = "leased"
    OVER = "over"


class ActionEvent(enum.Enum):
    """What can happen to an action in flight."""

    GRANT = "grant"
    LOSE = "lose"
    FINISH = "finish"
    ABANDON = "abandon"


ACTION_TABLE: TransitionTable[ActionState, ActionEvent] = TransitionTable(
    "action",
    {
        (ActionState.QUEUED, ActionEvent.GRANT): ActionState.LEASED,
        (ActionState.QUEUED, ActionEvent.FINISH): ActionState.OVER,
        (ActionState.QUEUED, ActionEvent.ABANDON): ActionState.OVER,
        (ActionState.LEASED, ActionEvent.LOSE): ActionState.QUEUED,
        (ActionState.LEASED, ActionEvent.FINISH): ActionState.OVER,
        (ActionState.LEASED, ActionEvent.ABANDON): ActionState.OVER,
    },
)

Waiter = tuple[bytes, int]
"""(routing id of the client, its build number)."""


class ActionRecord:
    """One action that somebody waits for.

    Attributes:
        priority: the highest of its waiters'.
        attempt: counts leases from 1; 0 before the first.
        worker: the routing id of the lease's holder; empty while QUEUED.
        grant_sequence: the sequence of the Lease message that carried the grant.
        lost_on: ids of workers that failed it, one entry each time.
    """

    __slots__ = (
        "action",
        "attempt",
        "body",
        "expected_s",
        "grant_sequence",
        "header",
        "lost_on",
        "priority",
        "state",
        "waiters",
        "weight_s",
        "worker",
    )

    def __init__(
        self, action: ActionId, body: bytes, header: ActionHeader, priority: int, weight_s: float, expected_s: float
    ) -> None:
        self.action = action
        self.body = body
        self.header = header
        self.priority = priority
        self.weight_s = weight_s
        self.expected_s = expected_s
        self.state = ActionState.QUEUED
        self.waiters: set[Waiter] = set()
        self.attempt = 0
        self.worker = b""
        self.grant_sequence = 0
        self.lost_on: list[int] = []

    def apply(self, event: ActionEvent) -> None:
        """Take one step of ACTION_TABLE.

        Raises:
            IllegalTransition: a bug of the caller.
        """
        self.state = ACTION_TABLE.after(self.state, event)

    def is_held_under(self, lease: LeaseId, worker: bytes, epoch: int) -> bool:
        """Whether ``lease`` is the one lease of this action that is not fenced."""
        return (
            self.state is ActionState.LEASED
            and self.worker == worker
            and self.attempt == lease.attempt
            and lease.epoch == epoch
        )
