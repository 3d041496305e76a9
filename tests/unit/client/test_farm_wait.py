"""What a build says of its wait for the farm."""

from __future__ import annotations

import pytest

from zbuild.client.farm_wait import FarmWait
from zbuild.protocol.messages import BuildState


def state(workers: int) -> BuildState:
    return BuildState(build=1, unknown=(), running=2, queued=3, workers=workers)


@pytest.fixture
def wait() -> FarmWait:
    return FarmWait("tcp://host:9000", 100.0)


def test_a_broker_that_never_answered_is_named_with_the_time(wait: FarmWait) -> None:
    text = wait.text(5, 12.0, 112.0)

    assert text == "for the broker at tcp://host:9000, which has not answered for 12 s; it is given up after 20 s"
    assert wait.unconnected_s(112.0) == 12.0


def test_a_broker_that_answers_no_more_is_named_with_the_time(wait: FarmWait) -> None:
    wait.is_connected = True
    wait.told(state(2), 101.0)

    text = wait.text(5, 31.0, 140.0)

    assert "5 actions with the farm, whose broker at tcp://host:9000 has not answered for 31 s" in text
    assert text.endswith("it is given up after 60 s")
    assert wait.unconnected_s(140.0) == 0.0


def test_a_farm_without_workers_is_told_of_from_the_first_time_until_one_comes(wait: FarmWait) -> None:
    wait.is_connected = True
    for now_s in (110.0, 112.5, 115.0):
        wait.told(state(0), now_s)
    assert wait.text(5, 0.0, 115.0) == "5 actions with the farm, which has had no workers for 5 s"
    assert wait.workerless_s(116.0) == 6.0

    wait.told(state(1), 117.0)

    assert wait.workerless_s(118.0) == 0.0
    assert wait.text(5, 0.0, 118.0) == "5 actions with the farm (2 leased, 3 queued, 1 workers)"
