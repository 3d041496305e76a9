"""One lease at a worker, and the table of its states."""

from __future__ import annotations

import enum

from zbuild.fsm import TransitionTable
from zbuild.model.action import ActionResult
from zbuild.protocol.messages import Grant


class LeaseState(enum.Enum):
    """Where a lease is on this worker."""

    QUEUED = "queued"
    RUNNING = "running"
    COLLECTING = "collecting"
    STOPPING = "stopping"
    ENDED = "ended"
    GONE = "gone"


class LeaseEvent(enum.Enum):
    """What can happen to a lease on this worker."""

    START = "start"
    REVOKE = "revoke"
    EXIT = "exit"
    FINISH = "finish"
    ACKNOWLEDGE = "acknowledge"


LEASE_TABLE: TransitionTable[LeaseState, LeaseEvent] = TransitionTable(
    "lease",
    {
        (LeaseState.QUEUED, LeaseEvent.START): LeaseState.RUNNING,
        (LeaseState.QUEUED, LeaseEvent.REVOKE): LeaseState.GONE,
        (LeaseState.QUEUED, LeaseEvent.FINISH): LeaseState.ENDED,
        (LeaseState.RUNNING, LeaseEvent.EXIT): LeaseState.COLLECTING,
        (LeaseState.RUNNING, LeaseEvent.FINISH): LeaseState.ENDED,
        (LeaseState.RUNNING, LeaseEvent.REVOKE): LeaseState.STOPPING,
        (LeaseState.STOPPING, LeaseEvent.REVOKE): LeaseState.STOPPING,
        (LeaseState.COLLECTING, LeaseEvent.REVOKE): LeaseState.STOPPING,
        (LeaseState.COLLECTING, LeaseEvent.FINISH): LeaseState.ENDED,
        (LeaseState.STOPPING, LeaseEvent.EXIT): LeaseState.STOPPING,
        (LeaseState.STOPPING, LeaseEvent.FINISH): LeaseState.GONE,
        (LeaseState.ENDED, LeaseEvent.REVOKE): LeaseState.GONE,
        (LeaseState.ENDED, LeaseEvent.ACKNOWLEDGE): LeaseState.GONE,
    },
)


class HeldLease:
    """A lease and what became of it.

    Attributes:
        has_slot: its command has not ended yet.
        is_cut_short: its command was killed because the worker ends; that is no result.
    """

    __slots__ = ("grant", "has_slot", "is_cut_short", "is_prepared", "result", "state")

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self.state = LeaseState.QUEUED
        self.has_slot = False
        self.is_cut_short = False
        self.is_prepared = False
        self.result: ActionResult | None = None
