"""What a simulation ends with when an invariant does not hold."""

from __future__ import annotations

from zbuild.model.action import ActionId


class Violation(Exception):
    """An invariant does not hold. ``action`` is the one that it is about, if it is about one."""

    def __init__(self, text: str, action: ActionId | None = None) -> None:
        super().__init__(text)
        self.action = action
