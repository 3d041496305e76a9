"""One lease at a worker, and the table of its states."""

from __future__ import annotations

import enum
import math

from zbuild.fsm import TransitionTable
from zbuild.model.action import ActionResult
from zbuild.protocol.messages import Grant, LeaseId


class LeaseState(enum.Enum):
    """Where a lease is on this worker."""

    QUEUED = "queued"
    RUNNING = "running"
    COLLECTING = "collecting"
    STOPPING = "stopping"
    ENDED = "ended"
    GIVEN = "given"
    GONE = "gone"


class LeaseEvent(enum.Enum):
    """What can happen to a lease on this worker. GIVE: to a thief; RETAKE: back from one that has not got it."""

    START = "start"
    REVOKE = "revoke"
    EXIT = "exit"
    FINISH = "finish"
    ACKNOWLEDGE = "acknowledge"
    GIVE = "give"
    RETAKE = "retake"


LEASE_TABLE: TransitionTable[LeaseState, LeaseEvent] = TransitionTable(
    "lease",
    {
        (LeaseState.QUEUED, LeaseEvent.START): LeaseState.RUNNING,
        (LeaseState.QUEUED, LeaseEvent.REVOKE): LeaseState.GONE,
        (LeaseState.QUEUED, LeaseEvent.FINISH): LeaseState.ENDED,
        (LeaseState.QUEUED, LeaseEvent.GIVE): LeaseState.GIVEN,
        (LeaseState.GIVEN, LeaseEvent.RETAKE): LeaseState.QUEUED,
        (LeaseState.GIVEN, LeaseEvent.REVOKE): LeaseState.GONE,
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
        is_prepared: it is QUEUED, and its inputs are being staged.
        is_cut_short: its command was killed because the worker ends; that is no result.
        place: its place in the queue while it is QUEUED and not prepared.
        peer_blobs: where the worker that it was stolen from serves its inputs; empty: nowhere.
        mask: its inputs, see input_mask.py; None until somebody asks.
        transfer: while GIVEN, the StealResponse that carried it.
        thief: while GIVEN, the worker id of who has it.
        retake_s: while GIVEN and not accepted, when it is taken back.
        unclaimed: while GIVEN and accepted, reports since then that the broker has heard without its revoking it.
    """

    __slots__ = (
        "grant",
        "has_slot",
        "is_cut_short",
        "is_prepared",
        "mask",
        "peer_blobs",
        "place",
        "result",
        "retake_s",
        "state",
        "thief",
        "transfer",
        "unclaimed",
    )

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self.state = LeaseState.QUEUED
        self.has_slot = False
        self.is_cut_short = False
        self.is_prepared = False
        self.result: ActionResult | None = None
        self.place: tuple[int, float, int, LeaseId]
        self.peer_blobs = ""
        self.mask: int | None = None
        self.transfer = 0
        self.thief = 0
        self.retake_s = math.inf
        self.unclaimed = 0
