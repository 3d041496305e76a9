"""ninja's -l: nothing more is started while the machine is busy."""

from __future__ import annotations

import os


def is_overloaded(max_load: float, running: int) -> bool:
    """Whether to start nothing now. One command may always run, as with ninja. ``max_load`` 0 is no limit."""
    return max_load > 0 and running > 0 and os.getloadavg()[0] >= max_load
