"""What the broker is about to send, batched by receiver.

Grants, results and revocations that arise between two calls of ``drain`` travel together: one
message of many costs a fraction of many messages of one.
"""

from __future__ import annotations

from zbuild.coordinator.action_record import ActionRecord
from zbuild.coordinator.registry import WorkerSession
from zbuild.limits import BATCH_ACTIONS, BATCH_BYTES
from zbuild.model.action import result_bytes
from zbuild.protocol.batches import batches
from zbuild.protocol.effects import Note, Publish, Send
from zbuild.protocol.messages import Finished, FinishedAction, Grant, Lease, LeaseId, Message, Revoke
from zbuild.protocol.steal_messages import Announcement


class Outbox:
    """Effects in the making."""

    def __init__(self) -> None:
        self._lease_messages = 0
        self._effects: list[Send | Note | Publish] = []
        self._grants: dict[bytes, _GrantBatch] = {}
        self._finished: dict[tuple[bytes, int], list[FinishedAction]] = {}
        self._revoked: dict[bytes, list[LeaseId]] = {}

    def send(self, peer: bytes, message: Message) -> None:
        self._effects.append(Send(message, peer))

    def note(self, event: str, **fields: object) -> None:
        self._effects.append(Note(event, tuple(fields.items())))

    def publish(self, message: Announcement) -> None:
        self._effects.append(Publish(message))

    def grant(self, worker: WorkerSession, lease: LeaseId, record: ActionRecord) -> int:
        """Add a grant; the answer is the sequence of the Lease message that will carry it."""
        batch = self._grants.get(worker.peer)
        if batch is None or not batch.has_room_for(record.body):
            if batch is not None:
                self._effects.append(batch.to_send())
            self._lease_messages += 1
            worker.grant_sequence = self._lease_messages
            batch = self._grants[worker.peer] = _GrantBatch(worker.peer, worker.grant_sequence)
        batch.add(Grant(lease, record.body, record.priority, record.weight_s, record.expected_s))
        return batch.sequence

    def finished(self, peer: bytes, build: int, action: FinishedAction) -> None:
        self._finished.setdefault((peer, build), []).append(action)

    def revoke(self, peer: bytes, lease: LeaseId) -> None:
        self._revoked.setdefault(peer, []).append(lease)

    def drop(self, peer: bytes) -> None:
        """Forget what was meant for a peer that is gone."""
        self._grants.pop(peer, None)
        self._revoked.pop(peer, None)
        for key in [key for key in self._finished if key[0] == peer]:
            del self._finished[key]

    def drain(self) -> list[Send | Note | Publish]:
        """Everything since the last call. Grants go before the revocations that may name them."""
        effects = self._effects
        effects.extend(batch.to_send() for batch in self._grants.values())
        for (peer, build), actions in self._finished.items():
            effects.extend(
                Send(Finished(build=build, actions=part), peer) for part in batches(actions, _finished_bytes)
            )
        for peer, leases in self._revoked.items():
            for start in range(0, len(leases), BATCH_ACTIONS):
                effects.append(Send(Revoke(leases=tuple(leases[start : start + BATCH_ACTIONS])), peer))
        self._effects = []
        self._grants = {}
        self._finished = {}
        self._revoked = {}
        return effects


class _GrantBatch:
    def __init__(self, peer: bytes, sequence: int) -> None:
        self.sequence = sequence
        self._peer = peer
        self._grants: list[Grant] = []
        self._size_bytes = 0

    def has_room_for(self, body: bytes) -> bool:
        return self._size_bytes + len(body) <= BATCH_BYTES and len(self._grants) < BATCH_ACTIONS

    def add(self, grant: Grant) -> None:
        self._grants.append(grant)
        self._size_bytes += len(grant.body)

    def to_send(self) -> Send:
        return Send(Lease(sequence=self.sequence, grants=tuple(self._grants)), self._peer)


def _finished_bytes(finished: FinishedAction) -> int:
    return result_bytes(finished.result)
