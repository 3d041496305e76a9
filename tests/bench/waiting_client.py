"""A real client process that has a farm run waiting actions, and knows how long they take, as a second build does.

Prints one JSON object: ``makespan_s`` from the first submission to the last result, ``stolen`` actions.

Usage: python -m tests.bench.waiting_client BROKER SALT SEED COUNT SHORTEST_S LONGEST_S uniform|logarithmic INPUTS
"""

from __future__ import annotations

import json
import secrets
import sys
import time

from tests.bench.waiting_action import draw_waits, waiting_action
from zbuild.client.farm import ActionFinished, FarmCore
from zbuild.client.link import FarmLink
from zbuild.model.action import ResultStatus, encode_action
from zbuild.protocol.messages import PROTOCOL_VERSION, Hello, Role, Submission
from zbuild.transport.loop import Poller


def main(broker: str, salt: str, waits: list[float], input_count: int) -> None:
    hello = Hello(protocol_version=PROTOCOL_VERSION, role=Role.CLIENT, name="bench", incarnation=secrets.randbits(63))
    farm = FarmCore(hello, secrets.randbits(63), 50, time.monotonic())
    link = FarmLink(broker, farm, None)
    poller = Poller()
    link.register(poller)
    link.flush(time.monotonic())
    submissions = [
        Submission(*encode_action(waiting_action(number, salt, wait_s, input_count)), wait_s, wait_s)
        for number, wait_s in enumerate(waits)
    ]
    while not farm.is_welcome:
        poller.wait(0.1)
        link.pump(time.monotonic())
    began_s = time.monotonic()
    for submission in submissions:
        farm.submit(submission)
    link.flush(time.monotonic())
    remaining = len(waits)
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
    print(json.dumps({"began_s": began_s, "makespan_s": time.monotonic() - began_s, "stolen": stolen}))
    link.close()


if __name__ == "__main__":
    broker, salt, seed, count, shortest_s, longest_s, kind, inputs = sys.argv[1:]
    drawn = draw_waits(int(seed), int(count), float(shortest_s), float(longest_s), is_logarithmic=kind == "logarithmic")
    main(broker, salt, drawn, int(inputs))
