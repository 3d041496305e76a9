"""The registry of scenarios."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from chaos.arena import Arena

Play = Callable[[Arena], None]


@dataclass(frozen=True)
class Scenario:
    """One kind of trouble.

    Attributes:
        play: starts a farm, inflicts the trouble, and checks; its docstring says what really happens.
        needs: capabilities of tests/capabilities.py.
        timeout_s: a run that takes longer is stuck.
        is_alone: nothing runs beside it, because it compares durations.
    """

    name: str
    play: Play
    needs: tuple[str, ...] = ()
    timeout_s: float = 600.0
    is_alone: bool = False

    @property
    def about(self) -> str:
        """The first line of the docstring."""
        return (self.play.__doc__ or "").strip().splitlines()[0]


SCENARIOS: dict[str, Scenario] = {}


def scenario(name: str, *needs: str, timeout_s: float = 600.0, is_alone: bool = False) -> Callable[[Play], Play]:
    """Register a function as the scenario ``name``."""

    def register(play: Play) -> Play:
        SCENARIOS[name] = Scenario(name, play, ("bubblewrap", "ninja", *needs), timeout_s, is_alone)
        return play

    return register


def load() -> dict[str, Scenario]:
    """All scenarios of chaos/scenarios."""
    import chaos.scenarios

    for module in pkgutil.iter_modules(chaos.scenarios.__path__):
        importlib.import_module(f"chaos.scenarios.{module.name}")
    return SCENARIOS
