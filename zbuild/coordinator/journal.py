"""What the broker writes down before it acts, so that its next life can go on where this one ended.

Only what nobody else can tell again is written. Clients keep their actions and submit them to every new
broker; workers keep their leases and results and report them. What neither knows is which of the leases
that workers hold are still good: an action may have been leased again, finished, or given up since. So the
journal has the leases that are not fenced, and the failures that count towards giving an action up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from zbuild.errors import ProtocolError
from zbuild.model.action import UNDECODABLE, ActionId
from zbuild.protocol.messages import LeaseId


class Loss(msgspec.Struct, frozen=True, array_like=True):
    """An attempt that ended without a result. ``code``: the wire code of the error."""

    worker_id: int
    code: int


class Granted(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A lease was granted to a process of a worker, or was stolen by it from the one that had it.

    ``hops``: how often it has gone from worker to worker.
    """

    lease: LeaseId
    worker_id: int
    incarnation: int
    hops: int = 0


class Ended(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A lease is fenced from now on. ``loss``: the failure that ended it; None when it was given back."""

    lease: LeaseId
    loss: Loss | None


class Over(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """An action is finished or given up, and all its leases with it."""

    action: ActionId


class Standing(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """How one action stands; what a compacted journal consists of."""

    action: ActionId
    attempt: int
    leases: tuple[Granted, ...]
    losses: tuple[Loss, ...]


JournalRecord = Granted | Ended | Over | Standing

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(JournalRecord)


def encode_record(record: JournalRecord) -> bytes:
    return _encoder.encode(record)


@dataclass
class JournaledAction:
    """What the journal says of one action; as the attributes of ActionRecord."""

    attempt: int = 0
    leases: dict[int, Granted] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)


@dataclass
class JournalState:
    """All actions that have been leased and are not over."""

    actions: dict[ActionId, JournaledAction] = field(default_factory=dict)

    def apply(self, record: JournalRecord) -> None:
        """Take one record in. Records that contradict the earlier ones cannot be: the journal is a chain."""
        match record:
            case Granted():
                entry = self.actions.setdefault(record.lease.action, JournaledAction())
                entry.attempt = max(entry.attempt, record.lease.attempt)
                entry.leases[record.lease.attempt] = record
            case Ended():
                entry = self.actions.setdefault(record.lease.action, JournaledAction())
                entry.leases.pop(record.lease.attempt, None)
                if record.loss is not None:
                    entry.losses.append(record.loss)
            case Over():
                self.actions.pop(record.action, None)
            case Standing():
                leases = {lease.lease.attempt: lease for lease in record.leases}
                self.actions[record.action] = JournaledAction(record.attempt, leases, list(record.losses))

    def standing(self) -> Iterator[Standing]:
        """The shortest journal with this state."""
        for action, entry in self.actions.items():
            yield Standing(action, entry.attempt, tuple(entry.leases.values()), tuple(entry.losses))


def replay(payloads: Iterable[bytes]) -> JournalState:
    """The state that a journal's records lead to.

    Raises:
        ProtocolError: a record that this version does not know; a record's checksum is the caller's affair.
    """
    state = JournalState()
    for payload in payloads:
        try:
            record = _decoder.decode(payload)
        except UNDECODABLE as error:
            raise ProtocolError(f"a journal record of {len(payload)} B cannot be decoded: {error}") from error
        state.apply(record)
    return state
