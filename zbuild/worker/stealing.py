"""A worker among its peers: both sides of every steal, on the leases of one book."""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass

from zbuild.errors import BadInput
from zbuild.limits import INPUT_MASK_ACTIONS, PROPERTY_QUERY_NAMES, STEAL_CONFIRM_S, USUAL_SHARE
from zbuild.model.action import Priority, decode_header
from zbuild.protocol.messages import Grant, Hello, LeaseId, StolenLease
from zbuild.protocol.steal_messages import (
    Announcement,
    PeerAnnounce,
    StealAccept,
    StealAnswer,
    StealNoted,
    StealQuestion,
    StealRequest,
    StealResponse,
)
from zbuild.worker.effects import Evaluate, WorkerEffect
from zbuild.worker.fitness import is_fit, unknown_properties
from zbuild.worker.input_mask import encode_mask, mask_of_action
from zbuild.worker.lease_book import LeaseBook
from zbuild.worker.peers import Peer, PeerTable
from zbuild.worker.steal_settings import StealSettings
from zbuild.worker.steal_strategy import Chance
from zbuild.worker.steal_telemetry import PeerSteals, StealTelemetry
from zbuild.worker.thief import Thief, ThiefState
from zbuild.worker.victim import Victim


@dataclass
class _Offer:
    """What a victim has given, until it is known whether it can run here."""

    peer: Peer
    response: StealResponse
    since_s: float


class Stealing:
    """Decides; it owns no socket.

    Args:
        platform: the values of this worker's properties that are known; it grows.
        counters: the worker's.
        blob_endpoint: where this worker serves blobs to its peers; empty: nowhere.
    """

    def __init__(
        self,
        hello: Hello,
        book: LeaseBook,
        platform: dict[str, str],
        settings: StealSettings,
        chance: Chance,
        counters: Counter[str],
        blob_endpoint: str,
    ) -> None:
        self.peers = PeerTable(hello.worker_id)
        self._hello = hello
        self._book = book
        self._platform = platform
        self._settings = settings
        self._telemetry = StealTelemetry(counters)
        self._thief = Thief(settings, self.peers, chance, self._telemetry)
        self._victim = Victim(hello, book, settings, self._telemetry, lambda: self.usual_s, blob_endpoint)
        self._offers: list[_Offer] = []
        self._claims: list[StolenLease] = []
        self._unread: deque[Grant] = deque(maxlen=INPUT_MASK_ACTIONS)
        self._masks: deque[int] = deque(maxlen=INPUT_MASK_ACTIONS)
        self._inputs = b""
        self.usual_s = 0.0

    @property
    def is_asking(self) -> bool:
        return self._thief.state is ThiefState.ASKING

    @property
    def by_peer(self) -> dict[int, PeerSteals]:
        """Attempts and what came of them, for each peer."""
        return self._telemetry.peers

    def requested(self, question: StealQuestion, now_s: float) -> tuple[StealAnswer, list[WorkerEffect]]:
        """A peer asks; it must be answered at once."""
        if isinstance(question, StealRequest):
            return self._victim.answer(question, now_s)
        return StealNoted(victim=self._hello.worker_id), self._victim.accepted(question)

    def answered(self, endpoint: str, answer: StealAnswer, now_s: float) -> list[WorkerEffect]:
        """A peer has answered, in time or late."""
        peer, effects = self._thief.answered(endpoint, answer, now_s)
        if peer is None or not isinstance(answer, StealResponse) or not answer.grants:
            return effects
        if answer.victim != peer.worker_id or answer.thief != self._hello.worker_id:
            self._telemetry.count("misdirected")
            return effects
        self._offers.append(_Offer(peer, answer, now_s))
        return effects + self.evaluated(now_s)

    def announced(self, announcement: Announcement, now_s: float) -> None:
        """The broker has published who is there, or who has work."""
        if isinstance(announcement, PeerAnnounce):
            for stale in self.peers.announced(announcement, now_s):
                self._telemetry.forget(stale)
        else:
            self.peers.measured(announcement, now_s)
        if self.peers.candidates(now_s, is_blind=False):
            self._thief.heard_of_work(now_s)

    def evaluated(self, now_s: float) -> list[WorkerEffect]:
        """Properties may be known now that were not: take what can run here, decline what cannot."""
        offers, self._offers = self._offers, []
        effects: list[WorkerEffect] = []
        for offer in offers:
            unknown = self._unknown(offer.response.grants)
            if unknown and now_s - offer.since_s < STEAL_CONFIRM_S / 2:
                if offer.since_s == now_s:
                    effects.append(Evaluate(tuple(unknown[:PROPERTY_QUERY_NAMES])))
                self._offers.append(offer)
            else:
                effects += self._take(offer, now_s)
        return effects

    def tick(self, now_s: float, *, is_open: bool, is_blind: bool) -> list[WorkerEffect]:
        """Steal if there is nothing better to do.

        Args:
            is_open: this worker takes leases at all.
            is_blind: the broker is not heard, so nobody tells who has work.
        """
        effects = self._victim.tick(now_s)
        if any(now_s - offer.since_s >= STEAL_CONFIRM_S / 2 for offer in self._offers):
            effects += self.evaluated(now_s)
        is_idle = (
            is_open
            and self._settings.is_enabled
            and self._book.free_slots > 0
            and self._book.queued < self._settings.min_local_queue
            and self._book.room > 0
            and not self._offers
        )
        if is_idle:
            self._read_inputs()
        more, victim = self._thief.tick(now_s, is_idle=is_idle, is_blind=is_blind)
        effects += more
        if victim is not None:
            effects.append(self._thief.ask(victim, self._request(victim), now_s))
        return effects

    def next_deadline_s(self) -> float:
        offers_s = min((offer.since_s + STEAL_CONFIRM_S / 2 for offer in self._offers), default=math.inf)
        return min(offers_s, self._thief.next_deadline_s(), self._victim.next_deadline_s())

    def reported(self) -> list[WorkerEffect]:
        """The broker has heard a report."""
        return self._victim.reported()

    def drain(self) -> None:
        """Give nothing away any more: it all goes back to the broker."""
        self._victim.is_draining = True

    def granted(self, grant: Grant) -> None:
        """A lease has come, from whomever: its inputs will be here."""
        self._unread.append(grant)

    def ran(self, run_s: float) -> None:
        """A command has run for so long."""
        self.usual_s += (run_s - self.usual_s) * (USUAL_SHARE if self.usual_s else 1.0)
        self.peers.usual_s = self.usual_s

    def take_claims(self) -> tuple[StolenLease, ...]:
        """What the broker has not been told of yet."""
        claims, self._claims = tuple(self._claims), []
        return claims

    def all_claims(self) -> tuple[StolenLease, ...]:
        """Every stolen lease that is held."""
        self._claims = []
        held = self._book.held.values()
        return tuple(StolenLease(each.grant.lease, each.grant.hops) for each in held if each.grant.hops)

    def _request(self, victim: Peer) -> StealRequest:
        return StealRequest(
            thief=self._hello.worker_id,
            incarnation=self._hello.incarnation,
            victim=victim.worker_id,
            min_priority=int(Priority.LOW),
            room=self._book.room,
            inputs=self._inputs,
        )

    def _read_inputs(self) -> None:
        """Each action is decoded once, in the pause before an attempt: an attempt is not to wait for it."""
        if not self._unread:
            return
        while self._unread:
            self._masks.append(mask_of_action(self._unread.popleft().body))
        mask = 0
        for each in self._masks:
            mask |= each
        self._inputs = encode_mask(mask)

    def _unknown(self, grants: tuple[Grant, ...]) -> list[str]:
        names: dict[str, None] = {}
        for grant in grants:
            try:
                names.update(dict.fromkeys(unknown_properties(decode_header(grant.body), self._platform)))
            except BadInput:
                continue
        return list(names)

    def _take(self, offer: _Offer, now_s: float) -> list[WorkerEffect]:
        declined: list[LeaseId] = []
        returned: list[LeaseId] = []
        for grant in offer.response.grants:
            if not self._can_run(grant):
                declined.append(grant.lease)
                continue
            if self._victim.is_draining or not self._book.room or self._book.has_action_of(grant.lease):
                returned.append(grant.lease)
                continue
            held = self._book.add(grant)
            held.peer_blobs = offer.response.blob_endpoint
            self.granted(grant)
            self._claims.append(StolenLease(grant.lease, grant.hops))
        taken = len(offer.response.grants) - len(declined) - len(returned)
        if taken:
            self._telemetry.took(offer.peer.worker_id, taken)
        else:
            self._thief.came_to_nothing(now_s)
        if declined:
            self._telemetry.count("unfit", len(declined))
        if returned:
            self._telemetry.count("returned", len(returned))
        accept = StealAccept(
            thief=self._hello.worker_id,
            incarnation=self._hello.incarnation,
            victim=offer.peer.worker_id,
            transfer=offer.response.transfer,
            declined=tuple(declined),
            returned=tuple(returned),
        )
        return [*self._thief.accept(offer.peer, accept, now_s), *self._book.start_next()]

    def _can_run(self, grant: Grant) -> bool:
        if grant.hops < 1 or not math.isfinite(grant.weight_s) or not math.isfinite(grant.expected_s):
            return False
        try:
            header = decode_header(grant.body)
        except BadInput:
            return False
        return not unknown_properties(header, self._platform) and is_fit(header, self._hello, self._platform)
