"""Whether this worker can run an action, as far as it knows itself without asking its tools anew."""

from __future__ import annotations

from collections.abc import Mapping

from zbuild.model.action import ActionHeader
from zbuild.protocol.messages import EVALUABLE_PREFIXES, Hello


def unknown_properties(header: ActionHeader, platform: Mapping[str, str]) -> list[str]:
    """Those that the action requires, and that this worker has not been asked for yet."""
    return [name for name, _ in header.platform if name not in platform and name.startswith(EVALUABLE_PREFIXES)]


def is_fit(header: ActionHeader, hello: Hello, platform: Mapping[str, str]) -> bool:
    """Whether level, ceiling and all properties that are known are what the action requires."""
    return (
        header.sandbox == hello.sandbox
        and not header.capabilities.beyond(hello.ceiling)
        and all(
            platform.get(name) == value
            for name, value in header.platform
            if name in platform or not name.startswith(EVALUABLE_PREFIXES)
        )
    )
