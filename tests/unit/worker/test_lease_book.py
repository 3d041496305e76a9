"""A worker's leases: what waits in which order, what has a slot, what is away at a thief."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.unit.worker.steal_driver import grant, grants
from zbuild.protocol.messages import Grant, LeaseId
from zbuild.worker.effects import Discard, Prepare, Start, WorkerEffect
from zbuild.worker.lease import HeldLease, LeaseEvent, LeaseState
from zbuild.worker.lease_book import LeaseBook

SLOTS = 2
LIMIT = 12
PRIORITIES = (0, 50, 100, 200)


def book_with(*waiting: Grant, slots: int = 1) -> LeaseBook:
    book = LeaseBook(slots, LIMIT)
    for each in waiting:
        book.add(each)
    return book


def waiting(book: LeaseBook) -> list[LeaseId]:
    return [held.grant.lease for held in [*book.prepared(), *book.unprepared(LIMIT)]]


def test_the_queue_goes_by_priority_then_by_weight_then_by_arrival() -> None:
    urgent, heavy, first, second = (
        grant("urgent", priority=100, weight_s=0.1),
        grant("heavy", weight_s=9.0),
        grant("first"),
        grant("second"),
    )
    assert waiting(book_with(second, heavy, first, urgent)) == [
        each.lease for each in (urgent, heavy, second, first)
    ]  # fmt: skip  # as a list of four


def test_what_comes_back_waits_by_its_priority_behind_its_equals() -> None:
    first, second, light = grant("first"), grant("second"), grant("light", weight_s=0.5)
    book = book_with(first, second, light)
    held = book.held[first.lease]
    book.give(held)
    assert waiting(book) == [second.lease, light.lease]
    assert list(book.given) == [first.lease]
    book.retake(held)
    assert waiting(book) == [second.lease, first.lease, light.lease]
    assert not book.given


def test_a_prepared_lease_that_is_given_away_is_discarded_and_prepared_anew() -> None:
    running, ahead = grants("running", "ahead")
    book = book_with(running, ahead)
    book.start_next()
    held = book.held[ahead.lease]
    assert book.prepared() == [held]
    assert book.give(held) == [Discard(ahead.lease)]
    assert book.queued == 0
    book.retake(held)
    assert book.start_next() == [Prepare(ahead)]


def test_a_lease_that_is_revoked_while_it_is_away_is_gone() -> None:
    (only,) = grants("only")
    book = book_with(only)
    held = book.held[only.lease]
    book.give(held)
    book.apply(held, LeaseEvent.REVOKE)
    assert not book.held
    assert not book.given
    assert book.room == LIMIT


def test_a_closed_book_starts_nothing() -> None:
    book = book_with(*grants("a", "b"))
    book.is_closed = True
    assert not book.start_next()
    assert book.queued == 2


def test_the_load_factor_is_the_seed_s_and_at_most_one() -> None:
    book = LeaseBook(2, 6)
    assert book.load_factor == 0.0
    for each in grants("a", "b", "c", "d"):
        book.add(each)
    book.start_next()
    assert book.load_factor == 0.7 * 2 / 4 + 0.3
    for each in grants(*"efghijkl"):
        book.add(each)
    assert book.load_factor == 1.0


def test_the_backlog_counts_unknown_durations_as_usual_ones() -> None:
    book = book_with(grant("known", expected_s=2.0), grant("unknown", expected_s=0.0), slots=2)
    assert book.backlog_s(0.5) == (2.0 + 0.5) / 2


def test_another_lease_of_an_action_that_is_here_is_known() -> None:
    book = book_with(grant("a"))
    assert book.has_action_of(grant("a", attempt=2).lease)
    assert not book.has_action_of(grant("b").lease)


class Events(RuleBasedStateMachine):
    """Every order of events, and after each the whole book looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.book = LeaseBook(SLOTS, LIMIT)
        self.count = 0
        self.prepared: set[LeaseId] = set()
        self.running: set[LeaseId] = set()

    def _held(self, *states: LeaseState) -> list[HeldLease]:
        return [held for held in self.book.held.values() if held.state in states]

    def _perform(self, effects: list[WorkerEffect]) -> None:
        """As the shell does: what is discarded was prepared, and what is started has a free slot."""
        for effect in effects:
            if isinstance(effect, Prepare):
                assert effect.grant.lease not in self.prepared | self.running
                self.prepared.add(effect.grant.lease)
            elif isinstance(effect, Discard):
                self.prepared.remove(effect.lease)
            elif isinstance(effect, Start):
                self.prepared.discard(effect.grant.lease)
                assert effect.grant.lease not in self.running
                self.running.add(effect.grant.lease)

    @precondition(lambda self: self.book.room)
    @rule(priority=st.sampled_from(PRIORITIES), weight_s=st.floats(0, 10))
    def comes(self, priority: int, weight_s: float) -> None:
        self.count += 1
        self.book.add(grant(f"a{self.count}", priority=priority, weight_s=weight_s))

    @rule()
    def starts(self) -> None:
        self._perform(self.book.start_next())
        assert len(self.running) == SLOTS or not self.book.queued

    @precondition(lambda self: self._held(LeaseState.QUEUED))
    @rule(data=st.data())
    def is_given(self, data: st.DataObject) -> None:
        self._perform(self.book.give(data.draw(st.sampled_from(self._held(LeaseState.QUEUED)))))

    @precondition(lambda self: self.book.given)
    @rule(data=st.data())
    def comes_back(self, data: st.DataObject) -> None:
        self.book.retake(data.draw(st.sampled_from(self._held(LeaseState.GIVEN))))

    @precondition(lambda self: self._held(LeaseState.QUEUED, LeaseState.GIVEN))
    @rule(data=st.data())
    def is_revoked(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self._held(LeaseState.QUEUED, LeaseState.GIVEN)))
        if held.state is LeaseState.QUEUED:
            self._perform(self.book.leave_queue(held))
        self.book.apply(held, LeaseEvent.REVOKE)

    @precondition(lambda self: self._held(LeaseState.RUNNING))
    @rule(data=st.data())
    def exits(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self._held(LeaseState.RUNNING)))
        self.book.apply(held, LeaseEvent.EXIT)
        self.book.free_slot(held)
        self.running.remove(held.grant.lease)

    @precondition(lambda self: self._held(LeaseState.COLLECTING))
    @rule(data=st.data())
    def ends_and_is_acknowledged(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self._held(LeaseState.COLLECTING)))
        self.book.free_slot(held)
        self.book.apply(held, LeaseEvent.FINISH)
        self.book.apply(held, LeaseEvent.ACKNOWLEDGE)

    @invariant()
    def every_lease_is_in_one_place(self) -> None:
        book = self.book
        queued = {held.grant.lease for held in self._held(LeaseState.QUEUED)}
        order = waiting(book)
        assert len(order) == len(set(order)) == book.queued
        assert set(order) == queued
        assert {held.grant.lease for held in self._held(LeaseState.GIVEN)} == book.given.keys()
        assert {held.grant.lease for held in self._held(LeaseState.RUNNING)} == self.running
        assert book.running == len(self.running) <= SLOTS
        assert {held.grant.lease for held in book.prepared()} == self.prepared
        assert len(self.prepared) <= SLOTS
        assert all(held.is_prepared for held in book.prepared())
        assert book.room == LIMIT - len(book.held)
        assert 0.0 <= book.load_factor <= 1.0

    @invariant()
    def what_is_not_prepared_is_in_order(self) -> None:
        places = [held.place for held in self.book.unprepared(LIMIT)]
        assert places == sorted(places)


TestEvents = Events.TestCase
