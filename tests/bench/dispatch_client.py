"""A real client process that has a farm run no-op actions.

Prints the seconds from the first submission to the last result.

Usage: python -m tests.bench.dispatch_client BROKER COUNT SALT
"""

from __future__ import annotations

import secrets
import sys
import time

from zbuild.client.farm import ActionFinished, FarmCore
from zbuild.client.link import FarmLink
from zbuild.model.action import Action, ResultStatus, encode_action
from zbuild.model.capabilities import Capabilities
from zbuild.protocol.messages import PROTOCOL_VERSION, Hello, Role, Submission
from zbuild.transport.loop import Poller


def no_op(number: int, salt: str) -> Action:
    """An action like no other: nothing is to come from the cache, and nothing is to be joined."""
    return Action(
        platform=(),
        sandbox="hermetic",
        capabilities=Capabilities(timeout_s=1.0),
        arguments=("/bin/true", str(number), salt),
        environment=(("LANG", "C.UTF-8"),),
        working_directory="/zb/src",
        writable_root="/zb/src",
        inputs=(),
        directories=(),
        outputs=(),
    )


def main(broker: str, count: int, salt: str) -> None:
    hello = Hello(protocol_version=PROTOCOL_VERSION, role=Role.CLIENT, name="bench", incarnation=secrets.randbits(63))
    farm = FarmCore(hello, secrets.randbits(63), 50, time.monotonic())
    link = FarmLink(broker, farm, None)
    poller = Poller()
    link.register(poller)
    link.flush(time.monotonic())
    submissions = [
        Submission(*encode_action(no_op(number, salt)), weight_s=1.0, expected_s=0.0005) for number in range(count)
    ]
    while not farm.is_welcome:
        poller.wait(0.1)
        link.pump(time.monotonic())
    began_s = time.perf_counter()
    for submission in submissions:
        farm.submit(submission)
    link.flush(time.monotonic())
    remaining = count
    while remaining:
        poller.wait(1.0)
        for event in link.pump(time.monotonic()):
            if isinstance(event, ActionFinished):
                if event.finished.result.status is not ResultStatus.SUCCESS or event.finished.is_cached:
                    raise SystemExit(f"an action was not executed: {event.finished}")
                remaining -= 1
        link.flush(time.monotonic())
    print(time.perf_counter() - began_s)
    link.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
