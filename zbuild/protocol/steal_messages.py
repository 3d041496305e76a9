"""What workers say to each other, and what the broker publishes so that they find each other.

A steal is a request and a response (REQ/REP, thief to victim), then an acceptance and its receipt. The broker
is not on the way: it learns of it by the thief's Claim. Announcements and metrics come over PUB/SUB; they are
absolute, the latest wins, and nothing depends on any one of them.
"""

from __future__ import annotations

import enum

import msgspec

from zbuild.protocol.message_type import MessageType
from zbuild.protocol.messages import Grant, LeaseId


class StealRefusal(enum.IntEnum):
    """Why a victim gives nothing. NONE: it does."""

    NONE = 0
    EMPTY = 1
    NOT_ELIGIBLE = 2
    LOW_PRIORITY = 3
    DRAINING = 4
    DISABLED = 5
    NOT_ME = 6
    NO_ROOM = 7


class StealRequest(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.STEAL_REQUEST)):
    """thief -> victim, when it has a free slot and next to nothing queued. Losing it costs steal_timeout.

    Attributes:
        thief, incarnation: the process that asks.
        victim: the worker that is meant; an endpoint may have another tenant by now.
        min_priority: nothing of a lower priority is wanted.
        room: leases that the thief can take.
        inputs: a mask of the inputs that it has, see worker/input_mask.py; empty: not told.
    """

    thief: int
    incarnation: int
    victim: int
    min_priority: int
    room: int
    inputs: bytes = b""


class StealResponse(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.STEAL_RESPONSE)):
    """victim -> thief, in answer to StealRequest.

    Losing it costs STEAL_CONFIRM_S for the leases in it, which the victim then takes back, and at worst one
    duplicate run.

    Attributes:
        transfer: numbers the responses of this victim that give something; 0 in one that gives nothing.
        refusal: why ``grants`` is empty.
        queue_depth, load_factor: the victim's, after it has given.
        backlog_s: when its queue will be empty if nobody takes from it, in seconds from now.
        blob_endpoint: where the victim serves the inputs that it has; empty: nowhere.
    """

    victim: int
    thief: int
    transfer: int = 0
    grants: tuple[Grant, ...] = ()
    refusal: StealRefusal = StealRefusal.NONE
    queue_depth: int = 0
    load_factor: float = 0.0
    backlog_s: float = 0.0
    blob_endpoint: str = ""


class StealAccept(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.STEAL_ACCEPT)):
    """thief -> victim, when it has the grants of a response.

    Losing it costs nothing while the broker is there, and one duplicate run of each while it is not.

    Attributes:
        declined: leases that the thief cannot run; the victim takes them back, and offers it no such again.
        returned: leases that it could run, but has no room for, or has already; the victim takes them back.
    """

    thief: int
    incarnation: int
    victim: int
    transfer: int
    declined: tuple[LeaseId, ...] = ()
    returned: tuple[LeaseId, ...] = ()


class StealNoted(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.STEAL_NOTED)):
    """victim -> thief, in answer to StealAccept: REP must answer. Losing it costs the thief a new socket."""

    victim: int


class PeerEntry(msgspec.Struct, frozen=True, array_like=True):
    """One worker of a PeerAnnounce; see StealResponse for its load."""

    worker_id: int
    endpoint: str
    queue_depth: int
    load_factor: float


class PeerAnnounce(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.PEER_ANNOUNCE)):
    """broker -> workers over PUB/SUB, every 10 s and soon after a worker has come: who is there, below 2 KB.

    A table of more workers goes in several. Losing one costs an interval.
    """

    epoch: int
    peers: tuple[PeerEntry, ...]


class PeerLoad(msgspec.Struct, frozen=True, array_like=True):
    """The load of one worker."""

    worker_id: int
    queue_depth: int
    load_factor: float


class PeerMetrics(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=int(MessageType.PEER_METRICS)):
    """broker -> workers over PUB/SUB, while anybody has a queue: the longest queues, below 2 KB.

    A worker that is not named has none worth stealing from. Losing it costs its interval.
    """

    epoch: int
    loads: tuple[PeerLoad, ...]


StealQuestion = StealRequest | StealAccept
StealAnswer = StealResponse | StealNoted
Announcement = PeerAnnounce | PeerMetrics
