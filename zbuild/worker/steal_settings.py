"""How a worker steals, as conf/worker.toml has it."""

from __future__ import annotations

from dataclasses import dataclass

from zbuild.worker.steal_strategy import StealStrategy


@dataclass(frozen=True)
class StealSettings:
    """The seed's StealConfig with its defaults.

    Attributes:
        timeout_s: an attempt that is not answered by then has failed; the answer may still come.
        retry_backoff_s: before the next attempt after a failed one, doubled with each further one, with jitter.
        max_retries: attempts after the first before the worker waits longer.
        min_local_queue: a worker with a free slot steals while fewer leases than this wait.
        threshold: the largest share of what can be stolen from it that a victim gives away at once.
    """

    is_enabled: bool = True
    strategy: StealStrategy = StealStrategy.POWER_OF_TWO
    timeout_s: float = 0.1
    retry_backoff_s: float = 0.05
    max_retries: int = 3
    min_local_queue: int = 2
    threshold: float = 0.5
