"""What must hold after every event of a simulation. A Checker only looks; it keeps its own books where it must."""

from __future__ import annotations

from collections.abc import Iterable

from zbuild.coordinator.action_record import ActionRecord, Holding
from zbuild.coordinator.core import BrokerCore
from zbuild.coordinator.journal import Granted
from zbuild.errors import NoEligibleWorker, WorkerIdTaken, ZbuildError
from zbuild.limits import ATTEMPTS_BY_PRIORITY, ELIGIBILITY_GRACE_S, ONE_WORKER_FACTOR
from zbuild.model.action import ActionId, ResultStatus
from zbuild.protocol.effects import Note, Publish, Send
from zbuild.protocol.messages import (
    Claim,
    Complete,
    Finished,
    FinishedAction,
    Hello,
    Lease,
    LeaseId,
    Outcome,
    StolenLease,
    Submit,
    ToBroker,
)
from zbuild.testing.broker_books import check_books
from zbuild.testing.conservation import Conservation
from zbuild.testing.fairness import Fairness
from zbuild.testing.journal import MemoryJournal
from zbuild.testing.store import MemoryResults
from zbuild.testing.violation import Violation
from zbuild.testing.workload import ModelledAction, is_same_result
from zbuild.worker.core import WorkerCore

JOURNAL_CHECKED_EACH = 50
"""Checks between two replays of the whole journal, which cost as much as fifty checks of the books."""

_RESULTS = (ResultStatus.SUCCESS, ResultStatus.FAILURE, ResultStatus.TIMEOUT)
"""What a command itself can come to."""


class _Judged:
    """One outcome of a Complete, and what the broker's books said about its lease before it came."""

    def __init__(self, outcome: Outcome, record: ActionRecord | None, *, is_current: bool) -> None:
        self.outcome = outcome
        self.record = record
        self.is_current = is_current


class Checker:
    """All invariants.

    Args:
        platforms: worker id -> the properties that it truly has.
        has_faults: whether this simulation has any; without, nothing of the farm may fail.
    """

    def __init__(
        self, results: MemoryResults, platforms: dict[int, dict[str, str]], workload: dict[ActionId, ModelledAction]
    ) -> None:
        self.has_faults = False
        self.checks = 0
        self._results = results
        self._platforms = platforms
        self._workload = workload
        self._core: BrokerCore
        self._granted: dict[ActionId, dict[LeaseId, bytes]] = {}
        self._journal: MemoryJournal
        self._sessions: dict[bytes, int] = {}
        self._peers: dict[tuple[int, int], bytes] = {}
        self._departed_s: dict[int, float] = {}
        self._judged: list[_Judged] = []
        self._claimed: set[ActionId] = set()
        self._given: set[tuple[LeaseId, int, int]] = set()
        self._claims: list[StolenLease] = []
        self._stale: list[StolenLease] = []
        self._claimant = b""
        self._ran: dict[LeaseId, str] = {}
        self._conservation = Conservation()
        self._fairness = Fairness(workload)

    def broker_started(self, core: BrokerCore, journal: MemoryJournal) -> None:
        """A broker begins a life, with what its journal says of the one before."""
        self._core = core
        self._journal = journal
        self._sessions = {}
        self._departed_s = {}
        for action, journaled in core.journal_state().actions.items():
            for granted in journaled.leases.values():
                if granted.lease not in self._granted.get(action, {}):
                    raise Violation(f"restored {granted.lease}, which was never granted", action)
                # Of a theft a torn journal may know nothing: then the victim has the lease again.
                holder = self._peers.get((granted.worker_id, granted.incarnation))
                if holder is not None:
                    self._granted[action][granted.lease] = holder

    def before(self, peer: bytes, message: ToBroker) -> None:
        """Judge the outcomes of a message that the broker is about to take."""
        self._fairness.before(peer, message)
        self._judged = []
        self._claimed = set()
        self._claims, self._claimant = [], peer
        self._stale = []
        if isinstance(message, Hello):
            self._peers[message.worker_id, message.incarnation] = peer
        if isinstance(message, Claim):
            self._claims = list(message.leases)
            self._stale = [each for each in self._claims if self._is_stale(each, peer)]
        if isinstance(message, Submit):
            former = self._core.farm.recovery.former
            for submission in message.actions:
                if submission.action in former and former[submission.action].outcomes:
                    self._claimed.add(submission.action)
        if isinstance(message, Complete):
            for outcome in message.outcomes:
                record = self._core.farm.actions.get(outcome.lease.action)
                if outcome.hops:
                    self._note_claim(StolenLease(outcome.lease, outcome.hops), peer)
                is_current = record is not None and self._is_current(outcome.lease, peer, record)
                self._judged.append(_Judged(outcome, record, is_current=is_current))

    def after(self) -> None:
        """Compare what the broker did about them with the judgement."""
        self._fairness.after(self._core)
        for stolen in self._stale:
            if self._holder(stolen.lease) == self._claimant:
                raise Violation("moved back by a claim that is older than the last one", stolen.lease.action)
        for stolen in self._claims:
            if self._holder(stolen.lease) == self._claimant:
                self._note_claim(stolen, self._claimant)
        current = {judged.outcome.lease.action: judged for judged in self._judged if judged.is_current}
        for judged in self._judged:
            action, result = judged.outcome.lease.action, judged.outcome.result
            present = self._core.farm.actions.get(action)
            if action not in current and present is not judged.record:
                raise Violation("a fenced result has ended its action", action)
            is_final = result.status in _RESULTS and not self._results.absent(result.blobs())
            if judged.is_current and is_final and present is judged.record:
                text = f"exit code {result.exit_code} is a result, and was retried"
                if result.status is not ResultStatus.FAILURE:
                    text = f"its {result.status.name} was taken under a current lease, and it is not over"
                raise Violation(text, action)
        puts, self._results.puts = self._results.puts, []
        for action, was_present in puts:
            if was_present:
                raise Violation("published twice", action)
            if action not in current and action not in self._claimed:
                raise Violation("published without a current lease", action)
            published = self._results.results[action]
            if published.status is not ResultStatus.SUCCESS or self._results.absent(published.blobs()):
                raise Violation("published without being a success whose blobs are all there", action)

    def dispatching(self) -> None:
        """The broker is about to grant what it can."""
        self._fairness.dispatching(self._core)

    def dispatched(self, effects: Iterable[Send | Note | Publish], now_s: float) -> None:
        """Note the leases that the broker grants, and what it tells its clients. Its journal is not taken yet."""
        leases: list[LeaseId] = []
        for effect in effects:
            message = effect.message if isinstance(effect, Send) else None
            if isinstance(message, Lease) and isinstance(effect, Send):
                for grant in message.grants:
                    self._grant(grant.lease, effect.peer)
                    leases.append(grant.lease)
            elif isinstance(message, Finished):
                for finished in message.actions:
                    self._check_answer(finished, now_s)
        self._fairness.dispatched(self._core, leases)

    def check(self, now_s: float) -> None:
        """The invariants of the broker's own books."""
        self.checks += 1
        farm = self._core.farm
        check_books(farm)
        if (
            not farm.journal
            and self.checks % JOURNAL_CHECKED_EACH == 0
            and (self._journal.state() != self._core.journal_state())
        ):
            raise Violation("the journal comes to another state than the broker is in")
        sessions = {peer: worker.worker_id for peer, worker in farm.registry.workers.items()}
        if sessions != self._sessions:
            for peer, worker_id in self._sessions.items():
                if peer not in sessions:
                    self._departed_s[worker_id] = now_s
            self._sessions = sessions

    def worker(self, name: str, peer: bytes, core: WorkerCore, runs: int, slots: int) -> None:
        """A worker runs no more than it has slots, and knows how many."""
        if not self.has_faults:
            self._conservation.check(name, peer, core.lease_states(), self._core)
        if runs > slots:
            raise Violation(f"{name} runs {runs} actions in {slots} slots")
        if core.active_actions != runs:
            raise Violation(f"{name} runs {runs} actions and thinks that it runs {core.active_actions}")

    def gave(self, lease: LeaseId, hops: int, thief: int) -> None:
        """A victim has put a lease into its answer to a thief."""
        self._given.add((lease, hops, thief))

    def runs(self, name: str, lease: LeaseId) -> None:
        """A worker begins to run a lease. Without faults nobody else has, stolen or not."""
        if not self.has_faults and lease in self._ran:
            raise Violation(f"run by {self._ran[lease]} and by {name} under one lease", lease.action)
        self._ran[lease] = name

    def discarded(self, name: str, lease: LeaseId, prepared: set[LeaseId]) -> None:
        """Only what was prepared, and has not begun, is discarded."""
        if lease not in prepared:
            raise Violation(f"{name} discards a lease that it has not prepared", lease.action)

    def worker_stopped(self, name: str, error: ZbuildError | None) -> None:
        """A worker stops by request only, or because another one has its id."""
        if error is not None and not isinstance(error, WorkerIdTaken):
            raise Violation(f"{name} gave up: {error}")

    def told(self, action: ModelledAction, finished: FinishedAction, *, is_again: bool) -> None:
        """A client has been told what became of an action.

        Args:
            is_again: the client has already asked for it as often as it may.
        """
        result = finished.result
        match result.status:
            case ResultStatus.SUCCESS | ResultStatus.FAILURE | ResultStatus.TIMEOUT:
                if not is_same_result(result, action.result):
                    raise Violation(f"a client was told {result}, but a run gives {action.result}", action.action)
            case ResultStatus.ERROR if result.code == NoEligibleWorker.code or self.has_faults or is_again:
                return
            case ResultStatus.CANCELLED:
                return
            case _:
                raise Violation(f"failed without a fault: {result.message}", action.action)

    def _holder(self, lease: LeaseId) -> bytes | None:
        """The routing id of whom the broker takes for the holder of a lease; None for nobody."""
        farm = self._core.farm
        record, former = farm.actions.get(lease.action), farm.recovery.former.get(lease.action)
        if record is not None:
            holding = record.holdings.get(lease.attempt)
            return holding.peer if holding is not None and holding.lease == lease else None
        granted = former.journaled.leases.get(lease.attempt) if former is not None else None
        worker = farm.registry.session_of(granted.worker_id) if granted is not None else None
        is_same = granted is not None and granted.lease == lease and worker is not None and worker.is_process(granted)
        return worker.peer if is_same and worker is not None else None

    def _note_claim(self, stolen: StolenLease, peer: bytes) -> None:
        """Whoever claims a lease has been given it by a worker that had it."""
        if self._granted.get(stolen.lease.action, {}).get(stolen.lease) == peer:
            return
        worker = self._core.farm.registry.workers.get(peer)
        if worker is None or stolen.lease not in self._granted.get(stolen.lease.action, {}):
            return
        if (stolen.lease, stolen.hops, worker.worker_id) not in self._given:
            raise Violation(f"moved to {worker.name}, which nobody has given it", stolen.lease.action)
        if not self._can_run(worker.worker_id, stolen.lease.action):
            raise Violation(f"stolen by {worker.name}, which lacks a property", stolen.lease.action)
        record = self._core.farm.actions.get(stolen.lease.action)
        copy = record.holding_of(peer) if record is not None else None
        if copy is not None and copy.lease != stolen.lease:
            return
        if self._holder(stolen.lease) == peer or stolen.hops > self._hops(stolen.lease):
            self._granted[stolen.lease.action][stolen.lease] = peer

    def _is_stale(self, stolen: StolenLease, peer: bytes) -> bool:
        """Whether somebody else is known to have the lease, and to have it from further on."""
        return self._holder(stolen.lease) not in (None, peer) and stolen.hops <= self._hops(stolen.lease)

    def _hops(self, lease: LeaseId) -> int:
        """How far the broker knows a lease to have gone; -1 for one that it does not know."""
        farm = self._core.farm
        record, former = farm.actions.get(lease.action), farm.recovery.former.get(lease.action)
        found: Holding | Granted | None = None
        if record is not None:
            found = record.holdings.get(lease.attempt)
        elif former is not None:
            found = former.journaled.leases.get(lease.attempt)
        return found.hops if found is not None else -1

    def _is_current(self, lease: LeaseId, peer: bytes, record: ActionRecord) -> bool:
        """By our own list of grants to this peer; the record's list only says which of them were ended since."""
        holding = record.holdings.get(lease.attempt)
        return (
            self._granted.get(lease.action, {}).get(lease) == peer
            and holding is not None
            and holding.lease.epoch == lease.epoch
            and peer in self._core.farm.registry.workers
        )

    def _grant(self, lease: LeaseId, peer: bytes) -> None:
        record = self._core.farm.actions.get(lease.action)
        if record is not None and lease.attempt in record.holdings:
            is_one_workers = len({loss.worker_id for loss in record.losses}) == 1
            bound = ATTEMPTS_BY_PRIORITY[record.priority] * (ONE_WORKER_FACTOR if is_one_workers else 1)
            if len(record.losses) >= bound and len(record.holdings) == 1:
                raise Violation(f"granted after {len(record.losses)} lost attempts of {bound}", lease.action)
        self._granted.setdefault(lease.action, {})[lease] = peer
        self._ran.pop(lease, None)  # one that was granted before, to an action that is over
        worker = self._core.farm.registry.workers.get(peer)
        if worker is not None and not self._can_run(worker.worker_id, lease.action):
            raise Violation(f"granted to {worker.name}, which lacks a property", lease.action)

    def _check_answer(self, finished: FinishedAction, now_s: float) -> None:
        """A success can be fetched whole, and "no worker can run it" is true of all that are here or were just now."""
        result = finished.result
        if result.status is ResultStatus.SUCCESS and self._results.absent(result.blobs()):
            raise Violation("a client is told of a success whose blobs are not all there", finished.action)
        if result.status is not ResultStatus.ERROR or result.code != NoEligibleWorker.code:
            return
        for worker in self._core.farm.registry.workers.values():
            if self._can_run(worker.worker_id, finished.action):
                raise Violation(f"said that no worker can ever run it, but {worker.name} can", finished.action)
        for worker_id, departed_s in self._departed_s.items():
            if self._can_run(worker_id, finished.action) and now_s - departed_s < ELIGIBILITY_GRACE_S:
                text = f"said that no worker can ever run it {now_s - departed_s:.1f} s after w{worker_id} left"
                raise Violation(text, finished.action)

    def _can_run(self, worker_id: int, action: ActionId) -> bool:
        has = self._platforms[worker_id]
        return all(has.get(name) == value for name, value in self._workload[action].platform.items())


def check_nothing_left(core: BrokerCore, workers: Iterable[tuple[str, WorkerCore]]) -> None:
    """After the last build nothing may be left of any."""
    farm = core.farm
    scheduler = farm.scheduler
    left = {
        "actions": len(farm.actions),
        "queued": scheduler.queued,
        "clients": len(farm.registry.clients),
        "leases held": sum(len(worker.held) for worker in farm.registry.workers.values()),
        "classes unplaced": core.unplaced,
        "actions journalled": len(core.journal_state().actions),
        "actions not taken up again": len(farm.recovery.former) + len(farm.recovery.unheld),
        "builds with leases": len(scheduler.leased),
    }
    for platform_class in scheduler.classes.values():
        left["entries queued"] = max(left.get("entries queued", 0), len(list(platform_class.entries())))
    for what, count in left.items():
        if count:
            raise Violation(f"after all builds the broker has {count} {what}")
    for name, worker in workers:
        if worker.queue_depth or worker.active_actions or worker.held_leases:
            raise Violation(f"after all builds worker {name} has {worker.held_leases} leases")
