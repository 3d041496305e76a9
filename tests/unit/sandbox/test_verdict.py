"""The words in which a limit is told, and the processors that a command gets."""

from __future__ import annotations

from collections import Counter

import pytest

from zbuild.limits import MIB
from zbuild.sandbox.confinement import least_used
from zbuild.sandbox.spawn_protocol import Limits
from zbuild.sandbox.verdict import Consumption, exceeded, output_exceeded

LIMITS = Limits(memory_bytes=512 * MIB, processes=64, disk_bytes=100 * MIB, private_bytes=10 * MIB)


@pytest.mark.parametrize(
    ("used", "verdict"),
    [
        (Consumption(), ""),
        (Consumption(memory_bytes=512 * MIB, processes=64, disk_bytes=99 * MIB), ""),
        (Consumption(kills=1, memory_bytes=511 * MIB), "memory limit 512 MiB exceeded, peak 511 MiB"),
        (Consumption(memory_bytes=600 * MIB), "memory limit 512 MiB exceeded, peak 600 MiB"),
        (Consumption(processes=65), "process limit 64 exceeded"),
        (Consumption(refusals=1), "process limit 64 exceeded"),
        (Consumption(disk_bytes=100 * MIB), "disk limit 100 MiB exceeded, 100 MiB written"),
        (Consumption(files=500_000), ""),
        (Consumption(files=500_001), "file limit 500000 exceeded"),
        (
            Consumption(is_too_deep=True),
            "depth limit 64 exceeded: directories with several in them, one inside the other",
        ),
        (Consumption(full="/tmp"), "disk limit 10 MiB exceeded in /tmp"),
    ],
)
def test_the_limit_is_named_with_its_figure(used: Consumption, verdict: str) -> None:
    assert exceeded(LIMITS, used) == verdict


def test_without_bounds_nothing_is_exceeded() -> None:
    used = Consumption(
        memory_bytes=2**50, processes=10**6, disk_bytes=2**50, kills=1, refusals=1, full="/tmp", files=10**9
    )
    assert exceeded(Limits(), used) == ""


def test_too_much_output_is_named_with_its_stream() -> None:
    assert output_exceeded(64 * MIB, "stderr") == "output limit 64 MiB exceeded on stderr"


def test_commands_with_few_processors_are_spread_over_all() -> None:
    users = Counter[int]()
    chosen = []
    for _ in range(4):
        chosen.append(least_used((3, 1, 2), 1, users))
        users.update(chosen[-1])
    assert chosen == [{1}, {2}, {3}, {1}]


@pytest.mark.parametrize("count", [0, 3, 8])
def test_as_many_processors_as_there_are_need_no_choice(count: int) -> None:
    assert least_used((0, 1, 2), count, Counter()) == frozenset()
