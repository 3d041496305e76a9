"""The state machines: what is in a table happens, and everything else is our own bug and raised as such."""

from __future__ import annotations

import enum
import itertools
from typing import Any

import pytest

from zbuild.client.remote_job import JOB_TABLE, JobEvent, JobState
from zbuild.coordinator.action_record import ACTION_TABLE, ActionEvent, ActionState
from zbuild.coordinator.health import HEALTH_TABLE, HealthEvent, HealthState
from zbuild.errors import IllegalTransition
from zbuild.fsm import TransitionTable
from zbuild.worker.lease import LEASE_TABLE, LeaseEvent, LeaseState
from zbuild.worker.thief import THIEF_TABLE, ThiefEvent, ThiefState

TABLES: list[tuple[TransitionTable[Any, Any], type[enum.Enum], type[enum.Enum], int]] = [
    (ACTION_TABLE, ActionState, ActionEvent, 7),
    (HEALTH_TABLE, HealthState, HealthEvent, 10),
    (LEASE_TABLE, LeaseState, LeaseEvent, 16),
    (THIEF_TABLE, ThiefState, ThiefEvent, 4),
    (JOB_TABLE, JobState, JobEvent, 8),
]
"""(table, its states, its events, how many rows it has)."""

ENDLESS: list[TransitionTable[Any, Any]] = [HEALTH_TABLE, THIEF_TABLE]
"""Those of what lives as long as the process."""

NAMES = [table.name for table, *_ in TABLES]


@pytest.mark.parametrize(("table", "states", "events", "rows"), TABLES, ids=NAMES)
def test_every_pair_is_a_row_or_illegal(
    table: TransitionTable[Any, Any], states: type[enum.Enum], events: type[enum.Enum], rows: int
) -> None:
    legal = 0
    for state, event in itertools.product(states, events):
        if (state, event) in table.transitions:
            legal += 1
            assert isinstance(table.after(state, event), states)
        else:
            with pytest.raises(IllegalTransition, match=table.name):
                table.after(state, event)
    assert legal == rows == len(table.transitions)


@pytest.mark.parametrize(
    ("table", "states", "events", "rows"),
    [each for each in TABLES if each[0] not in ENDLESS],
    ids=[table.name for table, *_ in TABLES if table not in ENDLESS],
)
def test_the_last_state_has_no_way_out_and_every_other_reaches_it(
    table: TransitionTable[Any, Any], states: type[enum.Enum], events: type[enum.Enum], rows: int
) -> None:
    last = list(states)[-1]
    assert not [state for state, _ in table.transitions if state is last]
    reaches = {last}
    for _ in range(rows):
        reaches |= {state for (state, _), following in table.transitions.items() if following in reaches}
    assert reaches == set(states)
    assert {event for _, event in table.transitions} == set(events), "an event that nothing takes is none"


@pytest.mark.parametrize(
    ("table", "states", "events"),
    [(HEALTH_TABLE, HealthState, HealthEvent), (THIEF_TABLE, ThiefState, ThiefEvent)],
    ids=["health", "thief"],
)
def test_every_state_is_left_again_for_the_first(
    table: TransitionTable[Any, Any], states: type[enum.Enum], events: type[enum.Enum]
) -> None:
    """No worker is out of favour for good, and none waits for a peer for good."""
    reaches = {next(iter(states))}
    for _ in table.transitions:
        reaches |= {state for (state, _), following in table.transitions.items() if following in reaches}
    assert reaches == set(states)
    assert {event for _, event in table.transitions} == set(events)
