"""A client without a build: it has a farm run actions, and takes the time."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from zbuild.client.farm import ActionFinished, FarmCore
from zbuild.client.link import FarmLink
from zbuild.model.action import ResultStatus
from zbuild.protocol.messages import PROTOCOL_VERSION, Hello, Role, Submission
from zbuild.transport.loop import Poller


@dataclass(frozen=True)
class Makespan:
    """From the first submission to the last result.

    Attributes:
        began_s: on the monotonic clock.
        stolen: actions that a worker has taken from another.
    """

    began_s: float
    makespan_s: float
    stolen: int


def run_all(broker: str, submissions: Sequence[Submission]) -> Makespan:
    """Have the farm at ``broker`` run all of them.

    Raises:
        SystemExit: one was not executed, or not with success.
    """
    hello = Hello(protocol_version=PROTOCOL_VERSION, role=Role.CLIENT, name="bench", incarnation=secrets.randbits(63))
    farm = FarmCore(hello, secrets.randbits(63), 50, time.monotonic())
    link = FarmLink(broker, farm, None)
    poller = Poller()
    link.register(poller)
    link.flush(time.monotonic())
    while not farm.is_welcome:
        poller.wait(0.1)
        link.pump(time.monotonic())
    began_s = time.monotonic()
    for submission in submissions:
        farm.submit(submission)
    link.flush(time.monotonic())
    remaining = len(submissions)
    stolen = 0
    while remaining:
        poller.wait(1.0)
        for event in link.pump(time.monotonic()):
            if isinstance(event, ActionFinished):
                if event.finished.result.status is not ResultStatus.SUCCESS or event.finished.is_cached:
                    raise SystemExit(f"an action was not executed: {event.finished}")
                remaining -= 1
                stolen += bool(event.finished.stolen_from)
        link.flush(time.monotonic())
    makespan_s = time.monotonic() - began_s
    link.close()
    return Makespan(began_s, makespan_s, stolen)
