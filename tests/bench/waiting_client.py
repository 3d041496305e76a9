"""A real client process that has a farm run waiting actions, and knows how long they take, as a second build does.

Prints one JSON object: ``makespan_s`` from the first submission to the last result, ``stolen`` actions.

Usage: python -m tests.bench.waiting_client BROKER SALT SEED COUNT SHORTEST_S LONGEST_S uniform|logarithmic INPUTS
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from tests.bench.bare_client import run_all
from tests.bench.waiting_action import draw_waits, waiting_action
from zbuild.model.action import encode_action
from zbuild.protocol.messages import Submission


def main(broker: str, salt: str, waits: list[float], input_count: int) -> None:
    submissions = [
        Submission(*encode_action(waiting_action(number, salt, wait_s, input_count)), wait_s, wait_s)
        for number, wait_s in enumerate(waits)
    ]
    print(json.dumps(asdict(run_all(broker, submissions))))


if __name__ == "__main__":
    broker, salt, seed, count, shortest_s, longest_s, kind, inputs = sys.argv[1:]
    drawn = draw_waits(int(seed), int(count), float(shortest_s), float(longest_s), is_logarithmic=kind == "logarithmic")
    main(broker, salt, drawn, int(inputs))
