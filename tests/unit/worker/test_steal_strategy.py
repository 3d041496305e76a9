"""The five strategies as functions, and when the adaptive one changes its mind."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from zbuild.limits import ADAPTIVE_SHARE, ADAPTIVE_WINDOW
from zbuild.worker.steal_strategy import (
    CHOOSERS,
    Load,
    StealStrategy,
    StrategySwitch,
    choose_least_loaded,
    choose_most_loaded,
    choose_power_of_two,
    choose_random,
)

PEERS = (1, 2, 3, 4)
LOADS = {1: Load(3, 0.5), 2: Load(9, 0.9), 3: Load(9, 0.1), 4: Load(1, 0.0)}
ROUNDS = 4000


def test_the_score_is_the_seed_s() -> None:
    assert Load(3, 0.5).score == 3 * 10 - 0.5 * 5


def test_least_and_most_loaded_go_by_score() -> None:
    """Of two equal queues the worker that is less loaded is the better victim: it has the queue because of bad luck."""
    assert choose_most_loaded(PEERS, LOADS, Random(0)) == 3
    assert choose_least_loaded(PEERS, LOADS, Random(0)) == 4


def test_equal_scores_are_settled_the_same_way_each_time() -> None:
    loads = dict.fromkeys(PEERS, Load(1, 0.0))
    assert {choose_most_loaded(PEERS, loads, Random(seed)) for seed in range(20)} == {4}
    assert {choose_least_loaded(PEERS, loads, Random(seed)) for seed in range(20)} == {1}


def test_random_chooses_all_alike() -> None:
    chance = Random(1)
    counts = Counter(choose_random(PEERS, LOADS, chance) for _ in range(ROUNDS))
    expected = ROUNDS / len(PEERS)
    chi_squared = sum((counts[peer] - expected) ** 2 / expected for peer in PEERS)
    assert chi_squared < 16.3, "three degrees of freedom: one in a thousand seeds"


def test_power_of_two_takes_the_better_of_two_different_ones() -> None:
    """The best of four is one of two drawn half of the time, the second best in a third, the worst never wins."""
    chance = Random(1)
    counts = Counter(choose_power_of_two(PEERS, LOADS, chance) for _ in range(ROUNDS))
    assert counts[4] == 0
    for peer, share in ((3, 1 / 2), (2, 1 / 3), (1, 1 / 6)):
        assert abs(counts[peer] / ROUNDS - share) < 0.03


@pytest.mark.parametrize("strategy", CHOOSERS)
def test_with_one_peer_there_is_no_choice(strategy: StealStrategy) -> None:
    assert CHOOSERS[strategy]((7,), {7: Load(0, 1.0)}, Random(0)) == 7


@pytest.mark.parametrize("strategy", CHOOSERS)
def test_the_last_number_that_chance_can_give_is_no_peer_too_many(strategy: StealStrategy) -> None:
    class Highest(Random):
        """The largest number that Random gives."""

        def random(self) -> float:
            return 1.0 - 2**-53

    assert CHOOSERS[strategy](PEERS, LOADS, Highest()) in PEERS


@pytest.mark.parametrize("strategy", CHOOSERS)
def test_a_strategy_of_its_own_does_not_change(strategy: StealStrategy) -> None:
    switch = StrategySwitch(strategy)
    for _ in range(100):
        switch.ended(is_success=False)
    assert switch.current is strategy


def current(switch: StrategySwitch) -> StealStrategy:
    return switch.current


def test_adaptive_goes_to_the_most_loaded_while_it_fails() -> None:
    switch = StrategySwitch(StealStrategy.ADAPTIVE)
    needed = int(ADAPTIVE_SHARE * ADAPTIVE_WINDOW)
    for _ in range(needed):
        switch.ended(is_success=True)
    for _ in range(ADAPTIVE_WINDOW - needed):
        assert current(switch) is StealStrategy.POWER_OF_TWO
        switch.ended(is_success=False)
    assert current(switch) is StealStrategy.POWER_OF_TWO, "exactly the share is enough"
    switch.ended(is_success=False)
    assert current(switch) is StealStrategy.MOST_LOADED, "the oldest success is out of the window"
    for _ in range(needed):
        switch.ended(is_success=True)
    assert current(switch) is StealStrategy.POWER_OF_TWO


def test_adaptive_does_not_judge_before_it_has_a_window_full() -> None:
    switch = StrategySwitch(StealStrategy.ADAPTIVE)
    for _ in range(ADAPTIVE_WINDOW - 1):
        switch.ended(is_success=False)
    assert current(switch) is StealStrategy.POWER_OF_TWO
