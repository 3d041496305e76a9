"""Actions that wait instead of computing: how long is drawn from a seed, and stands in the action itself."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from random import Random

import gevent

from zbuild.digest import of_bytes
from zbuild.model.action import Action, ActionId, ActionResult, InputSpec, ResultStatus, decode_action
from zbuild.model.capabilities import Capabilities

INPUT_COUNT = 60
"""Headers of an ordinary C++ compile: its action takes 5 KB."""


def draw_waits(seed: int, count: int, shortest_s: float, longest_s: float, *, is_logarithmic: bool) -> list[float]:
    """``count`` waits in seconds, uniform between the two, or uniform in their logarithms."""
    random = Random(seed)
    if is_logarithmic:
        low, high = math.log(shortest_s), math.log(longest_s)
        return [math.exp(random.uniform(low, high)) for _ in range(count)]
    return [random.uniform(shortest_s, longest_s) for _ in range(count)]


def waiting_action(number: int, salt: str, wait_s: float, input_count: int) -> Action:
    """One like no other. The inputs are there for the size of its encoding: of all actions the same, never staged."""
    return Action(
        platform=(),
        sandbox="hermetic",
        capabilities=Capabilities(timeout_s=60.0),
        arguments=("/bin/sleep", repr(wait_s), str(number), salt),
        environment=(("LANG", "C.UTF-8"),),
        working_directory="/zb/src",
        writable_root="/zb/src",
        inputs=_inputs(input_count),
        directories=(),
        outputs=(),
    )


@functools.cache
def _inputs(count: int) -> tuple[InputSpec, ...]:
    numbers = range(count)
    return tuple(InputSpec(f"/zb/src/include/project/header{each:03}.h", of_bytes(b"%d" % each)) for each in numbers)


class WaitingAttempt:
    """Waits as long as its action says, times ``slowness``; nothing is staged and nothing made."""

    def __init__(self, body: bytes, slowness: float) -> None:
        self._wait_s = float(decode_action(body).arguments[1]) * slowness

    def prepare(self) -> None:
        """Nothing is staged."""

    def run(self, started: Callable[[int], None]) -> None:
        """A greenlet sleeps where a process would run."""
        del started
        gevent.sleep(self._wait_s)

    def collect(self) -> ActionResult:
        """Nothing was made."""
        return ActionResult(status=ResultStatus.SUCCESS)

    def discard(self) -> None:
        """Nothing is to be undone."""


class WaitingExecutor:
    """Begins attempts that wait. ``slowness``: how many times as long as the action says."""

    def __init__(self, slowness: float = 1.0) -> None:
        self._slowness = slowness

    def begin(self, action_id: ActionId, body: bytes, peer_blobs: str = "") -> WaitingAttempt:
        del action_id, peer_blobs
        return WaitingAttempt(body, self._slowness)
