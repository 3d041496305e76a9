"""What a build did and where, as a file for trace viewers: Perfetto, speedscope, chrome://tracing.

The format is Google's Trace Event Format, in its JSON array form: one event a line, written as it happens, so that
the trace of a build that is killed can be read, too. One process of the trace is one worker, "here" is this machine,
and "cache" has the hits. An action lies where its result came: the clocks of workers are not ours. Within it are its
phases; an arrow leads from the worker that it was stolen from.
"""

from __future__ import annotations

import heapq
import json
from typing import Any, TextIO

from zbuild.client.remote_job import RemoteOutcome
from zbuild.errors import BadInput

_PHASES = ("fetch_s", "stage_s", "run_s", "collect_s", "upload_s")
_HERE = "here"
_CACHE = "cache"


class Trace:
    """
    Args:
        path: the file; one that exists is overwritten.
        began_s: the instant on the monotonic clock that is 0 in the trace.

    Raises:
        BadInput: the file cannot be written.
    """

    def __init__(self, path: str, began_s: float) -> None:
        try:
            self._file: TextIO = open(path, "w", encoding="utf-8")  # noqa: SIM115  # open for the whole build
        except OSError as error:
            raise BadInput(f"cannot write the trace {path}: {error.strerror}") from error
        self._path = path
        self._began_s = began_s
        self._file.write("[\n")
        self._processes: dict[str, int] = {}
        self._lanes: dict[str, list[tuple[float, int]]] = {}
        self._arrows = 0

    def remote(self, name: str, outcome: RemoteOutcome, now_s: float) -> None:
        """The farm has answered for an action."""
        result = outcome.result
        about = {"exit code": outcome.exit_code, "attempts": outcome.attempts, "error": outcome.error}
        if result is None or outcome.is_cached:
            self._event("i", _CACHE, 0, name, now_s, s="p", args=about)
            return
        phases = {phase: float(getattr(result.resources, phase)) for phase in _PHASES}
        start_s = now_s - sum(phases.values())
        lane = self._lane(result.worker, start_s, now_s)
        about |= {"stolen from": outcome.stolen_from, "peak memory": result.resources.peak_memory_bytes}
        self._event("X", result.worker, lane, name, start_s, dur=_microseconds(now_s - start_s), args=about)
        phase_s = start_s
        for phase, lasted_s in phases.items():
            self._event("X", result.worker, lane, phase.removesuffix("_s"), phase_s, dur=_microseconds(lasted_s))
            phase_s += lasted_s
        if outcome.stolen_from:
            self._arrows += 1
            self._event("s", outcome.stolen_from, 0, "stolen", start_s, id=self._arrows, cat="steal")
            self._event("f", result.worker, lane, "stolen", start_s, id=self._arrows, cat="steal", bp="e")

    def local(self, name: str, start_s: float, now_s: float, reason: str) -> None:
        """A command has ended that ran on this machine; instants on the monotonic clock."""
        lane = self._lane(_HERE, start_s, now_s)
        self._event("X", _HERE, lane, name, start_s, dur=_microseconds(now_s - start_s), args={"reason": reason})

    def close(self) -> None:
        """End the file. Closing twice is harmless.

        Raises:
            BadInput: it could not be written to the end.
        """
        if self._file.closed:
            return
        try:
            self._file.write("{}]\n")
            self._file.close()
        except OSError as error:
            raise BadInput(f"cannot write the trace {self._path}: {error.strerror}") from error

    def _lane(self, process: str, start_s: float, end_s: float) -> int:
        """The first row of a process on which nothing else was at the time."""
        lanes = self._lanes.setdefault(process, [])
        lane = heapq.heappop(lanes)[1] if lanes and lanes[0][0] <= start_s else len(lanes) + 1
        heapq.heappush(lanes, (end_s, lane))
        return lane

    def _event(self, kind: str, process: str, lane: int, name: str, at_s: float, **fields: Any) -> None:
        number = self._processes.get(process)
        if number is None:
            number = self._processes[process] = len(self._processes) + 1
            self._line({"ph": "M", "pid": number, "name": "process_name", "args": {"name": process}})
        at_us = _microseconds(at_s - self._began_s)
        self._line({"ph": kind, "pid": number, "tid": lane, "name": name, "ts": at_us, **fields})

    def _line(self, event: dict[str, Any]) -> None:
        self._file.write(json.dumps(event) + ",\n")


def _microseconds(time_s: float) -> int:
    return round(time_s * 1e6)
