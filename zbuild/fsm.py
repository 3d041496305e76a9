"""State machines as tables: ``(state, event) -> state``, and nothing else is legal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from zbuild.errors import IllegalTransition

State = TypeVar("State")
Event = TypeVar("Event")


class TransitionTable(Generic[State, Event]):
    """The whole behaviour of one machine, as data that tests and diagrams can read."""

    def __init__(self, name: str, transitions: Mapping[tuple[State, Event], State]) -> None:
        self.name = name
        self.transitions = dict(transitions)

    def after(self, state: State, event: Event) -> State:
        """The state that follows.

        Raises:
            IllegalTransition: the table has no such row.
        """
        following = self.transitions.get((state, event))
        if following is None:
            raise IllegalTransition(f"{self.name}: no transition from {state} on {event}")
        return following
