"""A worker's backlog is kept in step with its queue: it is what adding the queue up would give."""

from __future__ import annotations

from random import Random

import pytest

from zbuild.protocol.messages import Grant, LeaseId
from zbuild.worker.lease import LeaseState
from zbuild.worker.lease_book import LeaseBook

USUAL_S = 0.7


def test_the_backlog_is_the_sum_of_what_waits() -> None:
    random = Random(3)
    book = LeaseBook(2, 100)
    for number in range(3000):
        waiting = [held for held in book.held.values() if held.state is LeaseState.QUEUED]
        running = [held for held in book.held.values() if held.has_slot]
        match random.choice(("add", "add", "give", "retake", "start", "free")):
            case "add" if book.room:
                expected_s = random.choice((0.0, 0.3, 2.5))
                book.add(Grant(LeaseId(b"%d" % number, 1, 1), b"", 50, random.random(), expected_s))
            case "give" if waiting:
                book.give(random.choice(waiting))
            case "retake" if book.given:
                book.retake(random.choice(list(book.given.values())))
            case "start":
                book.start_next()
            case "free" if running:
                book.free_slot(random.choice(running))
        queued = [held for held in book.held.values() if held.state is LeaseState.QUEUED]
        added_up_s = sum(held.grant.expected_s or USUAL_S for held in queued) / 2
        assert book.queued == len(queued)
        assert book.backlog_s(USUAL_S) == pytest.approx(added_up_s, abs=1e-6)
