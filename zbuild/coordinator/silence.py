"""When a silent worker counts as lost: phi accrual, between a lower and an upper bound.

N. Hayashibara et al., "The phi accrual failure detector", SRDS 2004. Phi is minus the decimal logarithm
of the chance that a report comes later than it already is: ``-log10(1 - CDF)``.
"""

from __future__ import annotations

import math
import statistics
from collections import deque

from zbuild.limits import (
    REPORT_INTERVAL_S,
    SILENCE_DEVIATION_S,
    SILENCE_MIN_S,
    SILENCE_PHI,
    SILENCE_SAMPLES,
    SILENCE_WINDOW,
)


class SilenceDetector:
    """Learns how regularly one worker reports.

    Args:
        bound_s: silence after which it is lost however irregular it has been.
    """

    def __init__(self, bound_s: float, now_s: float) -> None:
        self._bound_s = bound_s
        self._last_s = now_s
        self._intervals: deque[float] = deque(maxlen=SILENCE_WINDOW)

    def reported(self, now_s: float) -> None:
        self._intervals.append(now_s - self._last_s)
        self._last_s = now_s

    def is_lost(self, silence_s: float) -> bool:
        """Whether nothing at all having come for so long means that the worker is gone."""
        if silence_s <= min(SILENCE_MIN_S, self._bound_s):
            return False
        return silence_s > self._bound_s or self.phi(silence_s) > SILENCE_PHI

    def phi(self, silence_s: float) -> float:
        """How improbable it is that the worker is merely late; 0.0 until enough is known of it."""
        if len(self._intervals) < SILENCE_SAMPLES:
            return 0.0
        mean_s = max(REPORT_INTERVAL_S, statistics.fmean(self._intervals))
        deviation_s = max(SILENCE_DEVIATION_S, statistics.pstdev(self._intervals))
        is_later = 0.5 * math.erfc((silence_s - mean_s) / (deviation_s * math.sqrt(2.0)))
        return -math.log10(is_later) if is_later > 0.0 else math.inf
