"""What ``zbuild status`` is told: everything that is counted, and never more than one message holds."""

from __future__ import annotations

from tests.unit.coordinator.driver import CLIENT, Farm, messages
from zbuild.limits import PROPERTY_VALUE_BYTES, WORKER_COUNTERS
from zbuild.protocol.codec import encode
from zbuild.protocol.messages import PROTOCOL_VERSION, Hello, Properties, Report, Role
from zbuild.protocol.status_messages import Status, StatusRequest


def status_of(farm: Farm) -> Status:
    (status,) = messages(farm.receive(CLIENT, StatusRequest()), Status)
    return status


def report(farm: Farm, worker: bytes, *counters: tuple[str, int]) -> None:
    farm.receive(worker, Report(sequence=0, held=(), running=0, is_draining=False, counters=counters))


def test_the_counters_of_all_parts_are_shown() -> None:
    farm = Farm()
    farm.join()
    for number in (1, 2):
        farm.add_worker(b"w%d" % number, worker_id=number)
        report(farm, b"w%d" % number, ("refused", number))
    farm.core.farm.counters["executed"] = 3
    farm.core.farm.counted_by["store"] = {"blobs_stored": 4}

    counters = dict(status_of(farm).counters)

    assert counters["worker_refused"] == 3
    assert counters["executed"] == 3
    assert counters["store_blobs_stored"] == 4


def test_a_report_replaces_what_the_last_one_counted() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker()
    report(farm, b"w1", ("refused", 1))
    report(farm, b"w1", ("refused", 5))
    assert dict(status_of(farm).counters)["worker_refused"] == 5


def test_a_worker_cannot_make_up_counters_without_end() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker()
    report(farm, b"w1", ("x" * (WORKER_COUNTERS + 1), 1), *((f"c{number}", 1) for number in range(1000)))
    assert len([name for name, _ in status_of(farm).counters if name.startswith("worker_")]) < WORKER_COUNTERS


def test_a_thousand_workers_with_many_properties_fit_one_message() -> None:
    farm = Farm(max_workers=1000)
    farm.join()
    values = tuple((f"file:/usr/lib/{number:02}" + "x" * 1000, "y" * PROPERTY_VALUE_BYTES) for number in range(3))
    small = tuple((f"file:/usr/lib/lib{number}.so", "0123456789abcdef" * 4) for number in range(60))
    for number in range(1000):
        worker = b"w%d" % number
        farm.core.receive(worker, _hello(number), 0.0)
        farm.core.receive(worker, Properties(values=small if number % 2 else values), 0.0)

    status = status_of(farm)

    assert len(encode(status)) > 0
    assert len(status.workers) == 1000
    assert {worker.properties for worker in status.workers} == {len(small) + 1, len(values) + 1}


def _hello(number: int) -> Hello:
    return Hello(
        protocol_version=PROTOCOL_VERSION,
        role=Role.WORKER,
        name="w" * 5000,
        incarnation=number,
        worker_id=number + 1,
        slots=8,
        queue_limit=64,
        sandbox="hermetic",
        platform=(("os", "linux"),),
    )
