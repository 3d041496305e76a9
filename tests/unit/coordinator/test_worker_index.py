"""The worker that is found is the one that a look at all workers would find, and finding it costs the same."""

from __future__ import annotations

from random import Random

import pytest

from tests.unit.coordinator.driver import Farm, action, broken, grants, success
from zbuild.coordinator.action_record import ActionRecord
from zbuild.coordinator.health import HealthState
from zbuild.coordinator.journal import Loss
from zbuild.coordinator.reassign import STRATEGIES, ReassignStrategy
from zbuild.coordinator.registry import WorkerSession
from zbuild.coordinator.worker_changes import WorkerChanges
from zbuild.coordinator.worker_index import capacity
from zbuild.coordinator.worker_shelf import HeapShelf
from zbuild.limits import FAILURE_THRESHOLD, STALE_WORKER_ENTRIES, WORKER_CHANGES
from zbuild.model.action import ActionId, decode_header
from zbuild.protocol.effects import Send

BODY = action("a")


def record(random: Random, worker_ids: list[int]) -> ActionRecord:
    made = ActionRecord(
        random.randbytes(32), BODY[1], decode_header(BODY[1]), (b"c", 1), random.choice((50, 100)), 1.0,
        random.choice((0.0, 0.001, 0.02, 1.0, 60.0)),
    )  # fmt: skip  # what varies stands out
    made.losses = [Loss(random.choice(worker_ids), 1) for _ in range(random.choice((0, 0, 1, 3)))]
    return made


def best(
    strategy: ReassignStrategy, record: ActionRecord, workers: list[WorkerSession], *, can_prefetch: bool
) -> WorkerSession | None:
    """The definition, by a look at all workers."""
    usable = [worker for worker in workers if worker.is_open]
    trusted = [worker for worker in usable if worker.health.state is not HealthState.FAILED]
    if not trusted:
        idle = (worker for worker in usable if not worker.held)
        return min(idle, key=lambda worker: record.has_failed_on(worker.worker_id), default=None)
    return min(
        (w for w in trusted if len(w.held) < capacity(w, record.expected_s, can_prefetch=can_prefetch)),
        key=lambda w: (record.has_failed_on(w.worker_id), STRATEGIES[strategy](record, w), w.number),
        default=None,
    )


def change(random: Random, worker: WorkerSession, turn: int, *, is_calm: bool) -> None:
    """Something that happens to a worker."""
    event = random.choice(("hold", "hold", "release", "release", "away", "drain", "fail", "succeed", "strain", "retry"))
    if event == "hold" and len(worker.held) < worker.queue_limit:
        worker.hold(ActionId(random.randbytes(32)))
        worker.last_turn = turn
    elif event == "release" and worker.held:
        worker.release(min(worker.held))
    elif event == "away" and not is_calm:
        worker.away_since_s = random.choice((None, 1.0))
    elif event == "drain" and not is_calm:
        worker.is_draining = random.random() < 0.3
    elif event == "fail" and not is_calm:
        worker.health.failed(0.0)
    elif event == "succeed":
        worker.health.succeeded()
    elif event == "strain":
        worker.health.strained(is_strained=random.random() < 0.5)
    elif event == "retry":
        worker.health.tick(1e9)


@pytest.mark.parametrize("strategy", ReassignStrategy)
@pytest.mark.parametrize("seed", range(8))
def test_the_index_finds_the_best_of_all_workers(strategy: ReassignStrategy, seed: int) -> None:
    random = Random(seed)
    farm = Farm(strategy=strategy)
    for number in range(1, 2 + seed * 3):
        queue_limit = random.choice((1, 3, 64))
        farm.add_worker(b"w%d" % number, worker_id=number, slots=random.choice((1, 2, 4)), queue_limit=queue_limit)
    workers = list(farm.core.farm.registry.workers.values())
    platform_class = farm.core.farm.scheduler.class_of(record(random, [1]))
    for turn in range(1, 600):
        for _ in range(random.choice((0, 1, 1, 2, 40))):
            change(random, random.choice(workers), turn, is_calm=seed % 2 == 0)
        wanted = record(random, [worker.worker_id for worker in workers])
        can_prefetch = random.random() < 0.5
        found = platform_class.index.choose(wanted, can_prefetch=can_prefetch)
        expected = best(strategy, wanted, workers, can_prefetch=can_prefetch)
        if expected is not None and expected.health.state is HealthState.FAILED:
            assert found is not None
            assert (found.is_open, found.held, found.health.state) == (True, set(), HealthState.FAILED)
            assert wanted.has_failed_on(found.worker_id) == wanted.has_failed_on(expected.worker_id)
        elif expected is not None and expected.load >= 1.0:
            ranks = [STRATEGIES[strategy](wanted, worker) for worker in (found, expected) if worker is not None]
            assert ranks[1:] == ranks[:1], "which of two equally loaded ones prefetches is all the same"
        else:
            assert found is expected


class LargeFarm(Farm):
    """One whose tables are not compared after each step, which takes as long as the farm is large."""

    def dispatch(self) -> list[Send]:
        return [effect for effect in self.core.dispatch(self.now_s) if isinstance(effect, Send)]


def looks(farm: Farm) -> int:
    return sum(platform_class.index.looks for platform_class in farm.core.farm.scheduler.classes.values())


def looks_per_action(strategy: ReassignStrategy, workers: int, *, in_advance: int) -> float:
    """Looks at workers for each of 200 actions, on a farm of which a tenth cannot run them.

    Args:
        in_advance: actions that are submitted before, besides the one that makes their class known.
    """
    farm = LargeFarm(max_workers=workers, strategy=strategy)
    farm.join()
    for number in range(1, workers + 1):
        sandbox = "none" if number % 10 == 0 else "hermetic"
        farm.add_worker(b"w%d" % number, worker_id=number, slots=2, sandbox=sandbox)
    waiting = [action(f"before {number}") for number in range(1 + in_advance)]
    running = [(send.peer, grant) for send in farm.submit(*waiting) for grant in grants([send])]
    before = looks(farm)
    for number in range(200):
        sends = farm.submit(action(str(number)))
        running += [(send.peer, grant) for send in sends for grant in grants([send])]
        peer, grant = running.pop(0)
        sends = farm.complete(grant.lease, success(), peer)
        running += [(send.peer, grant) for send in sends for grant in grants([send])]
    return (looks(farm) - before) / 200


@pytest.mark.parametrize("strategy", ReassignStrategy)
@pytest.mark.parametrize("share", [0, 1, 4], ids=["idle", "half busy", "backlog"])
def test_an_action_costs_as_many_looks_at_workers_whatever_their_number(strategy: ReassignStrategy, share: int) -> None:
    few, many = (looks_per_action(strategy, workers, in_advance=share * workers) for workers in (10, 1000))
    assert many <= 1.5 * few
    assert many < 10


def test_a_full_farm_with_a_backlog_is_not_looked_at() -> None:
    farm = Farm()
    farm.join()
    for number in range(1, 51):
        farm.add_worker(b"w%d" % number, worker_id=number, slots=1, queue_limit=1)
    farm.submit(*[action(str(number)) for number in range(100)])
    before = looks(farm)
    for _ in range(100):
        farm.dispatch()
    assert looks(farm) == before


def test_workers_that_do_not_fit_are_not_looked_at_however_many_are_free() -> None:
    farm = Farm()
    farm.join()
    for number in range(1, 91):
        farm.add_worker(b"w%d" % number, worker_id=number, slots=1, queue_limit=1, sandbox="none")
    for number in range(91, 101):
        farm.add_worker(b"w%d" % number, worker_id=number, slots=1, queue_limit=1)
    farm.submit(*[action(str(number)) for number in range(20)])
    before = looks(farm)
    farm.submit(action("one more"))
    assert looks(farm) == before


def test_an_action_that_has_failed_somewhere_looks_at_no_more_workers_than_that() -> None:
    farm = Farm()
    farm.join()
    for number in range(1, 51):
        farm.add_worker(b"w%d" % number, worker_id=number, slots=1)
    (sent,) = farm.submit(action("bad"))
    for attempt in range(2):
        (grant,) = grants([sent])
        before = looks(farm)
        sent = next(send for send in farm.complete(grant.lease, broken(), sent.peer) if grants([send]))
        assert looks(farm) - before <= 6, f"attempt {attempt}"


def test_a_class_that_is_far_behind_looks_at_each_of_its_workers_once() -> None:
    farm = Farm()
    farm.join()
    for number in (1, 2, 3):
        farm.add_worker(b"w%d" % number, worker_id=number)
    index = farm.core.farm.scheduler.class_of(record(Random(1), [1])).index
    one = farm.core.farm.registry.workers[b"w1"]
    for _ in range(WORKER_CHANGES):
        one.touch()
    before = index.looks
    assert index.choose(record(Random(1), [9]), can_prefetch=False) is not None
    assert index.looks - before <= 4


def test_the_list_of_changes_is_bounded() -> None:
    changes: WorkerChanges[int] = WorkerChanges()
    for number in range(3 * WORKER_CHANGES):
        changes.append(number)
    assert changes.since(changes.end - 3) == [3 * WORKER_CHANGES - 3, 3 * WORKER_CHANGES - 2, 3 * WORKER_CHANGES - 1]
    assert changes.since(changes.end) == []
    assert changes.since(0) is None
    assert changes.since(changes.end - WORKER_CHANGES // 2) is not None


def test_entries_that_do_not_count_are_swept_out() -> None:
    farm = Farm()
    farm.add_worker(b"w1")
    (worker,) = farm.core.farm.registry.workers.values()
    shelf = HeapShelf(lambda each: -each.version)
    for _ in range(10 * STALE_WORKER_ENTRIES):
        shelf.add(worker)
        worker.touch()
        shelf.remove(worker)
    assert shelf.entries <= STALE_WORKER_ENTRIES
    assert shelf.first(record(Random(1), [1]), ()) is None


def test_no_session_of_a_worker_that_has_left_is_kept() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(b"w1")
    farm.submit(action("a"))
    farm.disconnect(b"w1")
    (platform_class,) = farm.core.farm.scheduler.classes.values()
    assert not platform_class.verdicts
    assert not platform_class.eligible
    assert len(platform_class.index.pending()) == 0


def test_what_classes_keep_of_workers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zbuild.coordinator.scheduler.CLASS_WORKERS", 100)
    farm = Farm()
    farm.join()
    platform = {f"p{number}": "1" for number in range(60)}
    for number in range(1, 6):
        farm.add_worker(b"w%d" % number, worker_id=number, platform=platform)
    for number in range(60):
        (sent,) = farm.submit(action(str(number), {f"p{number}": "1"}))
        (grant,) = grants([sent])
        farm.complete(grant.lease, success(), sent.peer)
        assert len(farm.core.farm.scheduler.classes) * 5 <= 100


def test_a_farm_in_quarantine_runs_one_action_on_each_worker() -> None:
    farm = Farm()
    farm.join()
    for number in (1, 2):
        farm.add_worker(b"w%d" % number, worker_id=number, slots=4)
    for worker in farm.core.farm.registry.workers.values():
        for _ in range(FAILURE_THRESHOLD):
            worker.health.failed(0.0)
    sends = farm.submit(*[action(str(number)) for number in range(10)])
    assert sorted(send.peer for send in sends) == [b"w1", b"w2"]
    assert len(grants(sends)) == 2


def test_a_farm_in_quarantine_tries_an_action_elsewhere_when_it_has_failed() -> None:
    farm = Farm()
    farm.join()
    (sent,) = [*farm.add_worker(b"w1", worker_id=1), *farm.submit(BODY)][-1:]
    (grant,) = grants([sent])
    farm.add_worker(b"w2", worker_id=2)
    for worker in farm.core.farm.registry.workers.values():
        for _ in range(FAILURE_THRESHOLD):
            worker.health.failed(0.0)
    assert [send.peer for send in farm.complete(grant.lease, broken(), sent.peer) if grants([send])] == [b"w2"]
