"""``NINJA_STATUS``: the progress text before each command.

Placeholders: https://ninja-build.org/manual.html#_environment_variables, as of ninja 1.13.
"""

from __future__ import annotations

from collections import deque

from zbuild.errors import ManifestError

DEFAULT_FORMAT = "[%f/%t] "

_MIN_JUDGED_MS = 15_000
_MIN_JUDGED_SHARE = 0.05
_DISTRUSTED_RATIO = 10.0
"""When recorded durations are not believed: after 15 s and 5 % of the edges, if this build is 10 times
faster or slower than they say. ``RecalculateProgressPrediction`` in ninja's ``src/status_printer.cc``."""

_SECONDS_PER_HOUR = 3600


class Progress:
    """Counts what a build has done and writes it by a format.

    Times are ms since the build began. ``previous_ms`` is how long an edge took when it last ran,
    None when that is unknown.
    """

    def __init__(self, status_format: str, slots: int) -> None:
        """
        Args:
            status_format: the value of ``NINJA_STATUS``, or ``DEFAULT_FORMAT``.
            slots: how many commands run at once; ``%c`` is the rate over as many finished edges.

        Raises:
            ManifestError: the format has an unknown placeholder.
        """
        self._format = status_format
        self.started = 0
        self.finished = 0
        self.total = 0
        self.running = 0
        self._time_ms = 0
        self._busy_ms = 0
        self._known_total = 0
        self._known_left = 0
        self._known_total_ms = 0
        self._known_left_ms = 0
        self._recent_ends_ms: deque[int] = deque(maxlen=max(slots, 1))
        self._rate_of: int | None = None
        self._predicted_share = 0.0
        self._current_rate = -1.0
        # A bad format is to be known before anything runs; what this text noted of the rate is not to stay.
        self.text()
        self._recent_ends_ms.clear()
        self._rate_of = None

    def edge_added(self, previous_ms: int | None) -> None:
        """The plan got a command."""
        self._count_added(1, previous_ms)

    def edge_removed(self, previous_ms: int | None) -> None:
        """A restat took a command out of the plan."""
        self._count_added(-1, previous_ms)

    def _count_added(self, count: int, previous_ms: int | None) -> None:
        self.total += count
        if previous_ms is not None:
            self._known_total += count
            self._known_left += count
            self._known_total_ms += count * previous_ms
            self._known_left_ms += count * previous_ms

    def edge_started(self, now_ms: int) -> None:
        self.started += 1
        self.running += 1
        self._time_ms = now_ms
        self._predict()

    def edge_finished(self, now_ms: int, duration_ms: int, previous_ms: int | None) -> None:
        """The text of a finished edge still counts it as running: print it before the next change."""
        self.finished += 1
        self._time_ms = now_ms
        self._busy_ms += duration_ms
        if previous_ms is not None:
            self._known_left -= 1
            self._known_left_ms -= previous_ms
        self._predict()

    def edge_left(self) -> None:
        """The finished edge has been printed."""
        self.running -= 1

    def _predict(self) -> None:
        """Estimate which share of all command time is over."""
        self._predicted_share = 0.0
        is_trusting = self._known_left > 0 and self._known_left_ms > 0
        if is_trusting and self._time_ms >= _MIN_JUDGED_MS and self.finished >= _MIN_JUDGED_SHARE * self.total > 0:
            now, then = self._busy_ms / self.finished, self._known_total_ms / self._known_total
            is_trusting = max(now, then) < _DISTRUSTED_RATIO * min(now, then)
        known_left, known_left_ms = (self._known_left, self._known_left_ms) if is_trusting else (0, 0)
        known = self.finished + known_left
        if known == 0:
            return
        unknown = self.total - known
        left_ms = known_left_ms + unknown * (self._busy_ms + known_left_ms) / known
        if self._busy_ms + left_ms > 0:
            self._predicted_share = self._busy_ms / (self._busy_ms + left_ms)

    def text(self) -> str:
        """The format with its placeholders replaced.

        Raises:
            ManifestError: a placeholder is unknown.
        """
        head, *pieces = self._format.replace("%%", "%\0").split("%")
        written = [head]
        for piece in pieces:
            written += (self._value(piece[:1]), piece[1:])
        return "".join(written)

    def _value(self, placeholder: str) -> str:
        match placeholder:
            case "\0":
                return "%"
            case "s":
                return str(self.started)
            case "t":
                return str(self.total)
            case "r":
                return str(self.running)
            case "u":
                return str(self.total - self.started)
            case "f":
                return str(self.finished)
            case "p":
                return f"{100 * self.finished // self.total if self.total else 0:3d}%"
            case "P":
                return f"{int(100 * self._predicted_share):3d}%"
            case "o":
                return _rate(self.finished / (self._time_ms / 1000) if self._time_ms else -1.0)
            case "c":
                return _rate(self._recent_rate())
            case "e" | "E" | "w" | "W":
                return self._clock(placeholder)
        raise ManifestError(f"unknown placeholder '%{placeholder}' in $NINJA_STATUS")

    def _recent_rate(self) -> float:
        if self._rate_of != self.finished:
            self._rate_of = self.finished
            self._recent_ends_ms.append(self._time_ms)
            span_ms = self._recent_ends_ms[-1] - self._recent_ends_ms[0]
            if span_ms > 0:
                self._current_rate = len(self._recent_ends_ms) / (span_ms / 1000)
        return self._current_rate

    def _clock(self, placeholder: str) -> str:
        elapsed_s = self._time_ms / 1000
        left_s = -1.0
        if self._predicted_share:
            left_s = elapsed_s / self._predicted_share - elapsed_s
        shown_s = elapsed_s if placeholder in "ew" else left_s
        if shown_s < 0:
            return "?"
        if placeholder in "eE":
            return f"{shown_s:.3f}"
        minutes, seconds = divmod(int(shown_s), 60)
        if max(elapsed_s, left_s) >= _SECONDS_PER_HOUR:
            return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
        return f"{minutes:02d}:{seconds:02d}"


def _rate(per_s: float) -> str:
    return "?" if per_s < 0 else f"{per_s:.1f}"
